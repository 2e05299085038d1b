"""Says that the bundle was built for another processor than the function has.

Such a bundle cannot load its compiled modules, nor the handlers that need them. What is
imported here is plain Python.
"""

import os
import platform
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Never

from anonauth.handlers._cloudformation import Refused, answer_custom_resource

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

_BUILT_FOR = Path(__file__).parents[1] / "built-for"
"""A file of the bundle. The Makefile writes its `PLATFORM` there."""

_WORDS = {"aarch64": "arm64"}
"""What Linux calls a processor, and what the template's `Architecture` calls it."""


class WrongArchitecture(Refused):
    """The bundle was built for another processor. The text says what to do."""


def explain(failure: ImportError) -> None:
    """Give Lambda a handler that explains the failure, if the processor is its cause.

    The handler takes the place of the function's module, which cannot be imported.
    CloudFormation then gets an answer at once, where it would wait for three minutes.

    Raises:
        ImportError: The failure has another cause.
    """
    place = os.environ.get("_HANDLER")
    reason = wrong_architecture(platform.machine())
    if place is None or reason is None:
        raise failure
    module, _, name = place.rpartition(".")
    stand_in = ModuleType(module)
    setattr(stand_in, name, _handler_that_says(reason))
    sys.modules[module] = stand_in


def wrong_architecture(machine: str, built_for: Path = _BUILT_FOR) -> str | None:
    """Return what is wrong on this machine, None if the bundle was built for it.

    Args:
        machine: In Linux's words.
        built_for: Outside a bundle the file is missing, and nothing is wrong.
    """
    built = built_for.read_text().strip() if built_for.exists() else machine
    if built == machine:
        return None
    of_bundle, of_function = (_WORDS.get(each, each) for each in (built, machine))
    return (
        f"The bundle was built for {of_bundle}, and the function runs on "
        f"{of_function}. Build with PLATFORM={of_function} sam build, or deploy with "
        f"Architecture={of_bundle}."
    )


def _handler_that_says(reason: str) -> Any:
    def refuse() -> Never:
        raise WrongArchitecture(reason)

    def handler(event: Any, context: "LambdaContext") -> Any:
        if isinstance(event, dict) and "ResponseURL" in event:
            return answer_custom_resource(event, context, refuse, pause=time.sleep)
        refuse()

    return handler
