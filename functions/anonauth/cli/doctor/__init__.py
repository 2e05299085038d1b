"""`anonauth doctor`."""
