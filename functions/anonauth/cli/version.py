"""The version of the code that runs."""

import json
from pathlib import Path


def code_version() -> str:
    """Return the version, such as `1.0.0`, from the document that the service serves.

    The metadata of the installed package may be older than the code: an editable
    installation keeps what it had when it was made.
    """
    document = json.loads((Path(__file__).parents[1] / "openapi.json").read_bytes())
    version: str = document["info"]["version"]
    return version
