"""Imports the real parser only when something has to be parsed.

The SDK parses timestamps in responses, and the expiry of credentials from a file.
"""

from typing import Any


def parse(*args: Any, **kwargs: Any) -> Any:
    """Call `dateutil.parser.parse`."""
    from dateutil.parser import _parser  # noqa: PLC0415 - 3 ms of a cold start

    return _parser.parse(*args, **kwargs)
