"""The entry point of the `anonauth` command. No handler imports it."""

import sys

# ruff: noqa: PLC0415 - Ctrl-C during an import up here would print a traceback


def main() -> None:
    """Run the command. This is the entry point of the package.

    It ends the process with one of `options.EXIT_CODES`, after Ctrl-C too.
    """
    try:
        _run()
    except KeyboardInterrupt:
        sys.exit(130)


def _run() -> None:
    import os
    import signal

    from anonauth.cli import streams
    from anonauth.local.command_error import CommandError

    streams.prepare_streams()
    if os.environ.get("NO_COLOR") or not sys.stdout.isatty():
        # Typer's own variable. Without it Typer prints colours in CI services.
        os.environ["_TYPER_FORCE_DISABLE_TERMINAL"] = "1"
    try:
        try:
            _command()
        finally:
            if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
                # The work is over, so another Ctrl-C may end the process at once.
                signal.signal(signal.SIGINT, signal.SIG_DFL)
            sys.stdout.flush()
    except CommandError as exc:
        sys.exit(f"anonauth: {exc}")


def _command() -> None:
    import os
    import signal

    raises = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if raises:
        # Python drops an exception in a callback of a weak reference, and imports have
        # many of them. So Ctrl-C ends the process here, where nothing was done yet.
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    try:
        from anonauth.cli.commands import app
    except ModuleNotFoundError as exc:
        if (exc.name or "").startswith("anonauth"):
            raise
        sys.exit(f"anonauth: {exc.name} is missing; pip install 'anonauth[cli]'")
    finally:
        if raises:
            signal.signal(signal.SIGINT, signal.default_int_handler)
    app()
