"""`anonauth events`."""
