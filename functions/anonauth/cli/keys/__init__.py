"""`anonauth keys`: list, rotate and revoke signing keys."""
