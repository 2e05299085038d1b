"""The parser without its own imports until something is to be parsed.

The SDK asks it for instants in answers and for the expiry of credentials from a file.
"""

from typing import Any


def parse(*args: Any, **kwargs: Any) -> Any:
    """Do as `dateutil.parser.parse`."""
    from dateutil.parser import _parser  # noqa: PLC0415 - 3 ms of a cold start

    return _parser.parse(*args, **kwargs)
