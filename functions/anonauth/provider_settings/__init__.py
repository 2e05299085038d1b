"""The settings of the identity providers: one JSON document, kept in SSM."""
