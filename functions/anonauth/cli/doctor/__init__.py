"""`anonauth doctor`: check a deployment."""
