"""Writes each generated table into its page: `.venv/bin/python tests/support/project`.

A test of each table fails when its page is stale.
"""

import importlib
import sys
from pathlib import Path

_TABLES = ("endpoint_table", "route_table")

if __name__ == "__main__":
    # Python has put this directory there; `support` is two levels above.
    sys.path[0] = str(Path(__file__).parents[2])
    for name in _TABLES:
        importlib.import_module(f"support.project.{name}").write_table()
