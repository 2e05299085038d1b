"""`anonauth keys`."""
