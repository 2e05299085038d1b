"""Prints requirements.lock: each pin of requirements.txt with the hashes of its wheels.

The Makefile runs `python bundle/lock.py REPORT...`, with one report of `pip install
--report` for each machine that the bundle is built for. The lock has hashes and no
addresses. pip may fetch a wheel from anywhere: if its hash differs, the build stops.
"""

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def lines_of(pins: Iterable[str], reports: Iterable[dict[str, Any]]) -> list[str]:
    """Return the lines of the lock.

    Args:
        pins: `name==version`, as in requirements.txt.
        reports: Parsed reports of pip (pip documentation, "Installation Report").

    Raises:
        KeyError: No report has a wheel for one of the pins.
    """
    hashes: dict[str, set[str]] = {}
    for report in reports:
        for item in report["install"]:
            name = _normal(item["metadata"]["name"])
            pin = f"{name}=={item['metadata']['version']}"
            digest = item["download_info"]["archive_info"]["hashes"]["sha256"]
            hashes.setdefault(pin, set()).add(digest)
    lines = []
    for pin in pins:
        name, _, version = pin.partition("==")
        found = sorted(hashes[f"{_normal(name)}=={version}"])
        lines.append(" \\\n".join([pin, *(f"    --hash=sha256:{h}" for h in found)]))
    return lines


def pins_of(text: str) -> list[str]:
    """Return the pins of a requirements file, without hashes and comments."""
    return re.findall(r"^([\w.-]+==[\w.]+)", text, re.MULTILINE)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()  # PEP 503


if __name__ == "__main__":
    print(
        "# Made by `make -C functions lock` from requirements.txt. The Makefile builds"
    )
    print("# the bundle from these wheels, one for each machine, and from no other.")
    texts = [Path(name).read_text() for name in sys.argv[1:]]
    pins = pins_of((Path(__file__).parents[1] / "requirements.txt").read_text())
    print("\n".join(lines_of(pins, map(json.loads, texts))))
