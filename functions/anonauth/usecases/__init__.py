"""What the service does. Dependencies and `now` are arguments."""
