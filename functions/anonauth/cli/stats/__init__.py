"""`anonauth stats`."""
