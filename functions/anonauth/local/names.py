"""Names that the command's help shows. This module imports nothing, so help is fast."""

ENVIRONMENT_FILE = "env.local.json"
"""In `events/`: the functions' variables, as `sam local invoke` takes them."""
