"""The results of commands that ran in this process."""

import json
from typing import Any

from typer.testing import Result

from anonauth.local.command_error import CommandError


def problem(result: Result) -> str:
    """Return the line that the command ends with when it fails."""
    assert isinstance(result.exception, CommandError), result
    assert result.exit_code == 1
    assert result.stdout == ""
    line = str(result.exception)
    assert "\n" not in line
    return line


def printed(result: Result) -> Any:
    """Return the JSON that the command printed."""
    assert result.exit_code == 0, result
    return json.loads(result.stdout)
