"""`anonauth stats`: count users."""
