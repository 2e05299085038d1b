"""The service and the AWS that it needs, on this machine. Not in the bundle."""
