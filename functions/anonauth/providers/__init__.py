"""Identity providers: turn a credential into a verified identity, or refuse it."""
