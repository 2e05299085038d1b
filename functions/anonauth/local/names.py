"""Names that several modules share. This module imports nothing, so help is fast."""

ENVIRONMENT_FILE = "env.local.json"
"""In `events/`: the functions' variables, as `sam local invoke` takes them."""

CUSTOM_RESOURCE_PATH = "/_local/custom-resource"
"""Where the port of the built-in AWS takes the answer of a custom resource."""
