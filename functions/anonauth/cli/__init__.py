"""The `anonauth` command. Neither a handler nor the bundle has it."""
