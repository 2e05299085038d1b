"""Mutation testing: `.venv/bin/python tests/mutation [PART...]`; see README.md here."""

import importlib
import sys
from pathlib import Path

if __name__ == "__main__":
    # Python has put this directory there; the tests' own modules are one level above.
    sys.path[0] = str(Path(__file__).parents[1])
    sys.exit(importlib.import_module("mutation.command").main())
