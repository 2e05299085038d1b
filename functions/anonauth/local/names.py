"""Names that the command's help shows. It imports nothing, so that help is fast."""

ENVIRONMENT_FILE = "env.local.json"
"""File in `events/` with the functions' variables, for `sam local invoke`."""
