"""What the user of the command can put right."""


class Problem(Exception):
    """Ends the command with this one line on stderr and exit code 1."""
