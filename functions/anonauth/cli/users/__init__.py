"""`anonauth users`."""
