"""The other door: the `anonauth` command. No handler imports anything of it."""

import sys


def main() -> None:
    """Run the command; the entry point of the package.

    Ends the process with one of `options.EXIT_CODES`.
    """
    try:
        from anonauth.cli.commands import app  # noqa: PLC0415
    except ModuleNotFoundError as exc:
        if (exc.name or "").startswith("anonauth"):
            raise
        sys.exit(f"anonauth: {exc.name} is missing; pip install 'anonauth[cli]'")
    from anonauth.cli.problem import Problem  # noqa: PLC0415

    try:
        app()
    except Problem as exc:
        sys.exit(f"anonauth: {exc}")
