"""`anonauth events`: follow and replay events."""
