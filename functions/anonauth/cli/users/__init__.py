"""`anonauth users`: find, delete and export users."""
