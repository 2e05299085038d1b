"""The `anonauth` command. No handler imports it, and the bundle leaves it out."""
