"""Project Wycheproof's vectors of JSON Web Signatures and Keys.

They are not part of this repository. If they do not lie beside its checkout, their
tests are skipped, on CI too.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import jwt
import pytest

from support.project.tools import ROOT

FOLDER = ROOT.parent / "shared" / "reference" / "wycheproof"

_FILES = ("json_web_signature_test.json", "json_web_key_test.json")


@dataclass(frozen=True)
class Vector:
    """A JWS, the keys to check it with, and whether it is valid.

    Args:
        file: `signature` or `key`.
        number: Its number within the file.
        about: Its group, and its defect.
        keys: JWKs, public ones if there is a public half.
        jws: Mostly in compact form.
    """

    file: str
    number: int
    about: str
    keys: tuple[dict[str, Any], ...]
    jws: str
    valid: bool

    @property
    def id(self) -> str:
        return f"{self.file} {self.number}"

    @property
    def name(self) -> str:
        return f"{self.id}, {self.about}"

    @property
    def said(self) -> str:
        """The algorithm that the JWS names, empty if it cannot be read."""
        try:
            return str(jwt.get_unverified_header(self.jws)["alg"])
        except jwt.PyJWTError:
            return ""


def vectors() -> list[Vector]:
    """Return all vectors, or skip the test."""
    if not FOLDER.is_dir():
        pytest.skip("needs Project Wycheproof's vectors beside the checkout")
    return _read()


@cache
def _read() -> list[Vector]:
    return [vector for name in _FILES for vector in _of_file(name)]


def _of_file(name: str) -> Iterator[Vector]:
    document = json.loads((FOLDER / name).read_text())
    for group in document["testGroups"]:
        keys = group.get("public") or group["private"]
        for test in group["tests"]:
            yield Vector(
                name.split("_")[2],
                test["tcId"],
                f"{group['comment']}: {test['comment']}",
                tuple(keys.get("keys", [keys])),
                test["jws"],
                test["result"] == "valid",
            )
