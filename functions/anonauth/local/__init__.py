"""The service and the AWS it needs, on this machine. Not in the bundle."""
