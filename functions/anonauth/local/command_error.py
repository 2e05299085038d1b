"""The error that ends the command with a message for its user."""


class CommandError(Exception):
    """A problem that the user can fix: one line on stderr, and exit code 1."""
