"""Users, identities and keys, and the rules about them. An import names its room."""
