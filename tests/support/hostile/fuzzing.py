"""Hostile input: a table of inputs that are hard to parse, and random changes."""

import copy
import json
import os
import random
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

SEED = "FUZZ_SEED"

LIMIT = 0.050
"""Seconds within which any parser has to finish with any input."""

Body = dict[str, Any]
Result = TypeVar("Result")


def new_seed() -> tuple[int, str]:
    """Return a seed, and the setting that repeats it."""
    seed = int(os.environ.get(SEED) or secrets.randbits(32))
    return seed, f"{SEED}={seed}"


def timely(
    act: Callable[[], Result], *, unless: Callable[[Result], bool] = lambda _: False
) -> Result:
    """Return the result of an action, and fail if it always takes longer than `LIMIT`.

    Processor time is measured, and the fastest of several runs counts, so other load on
    the machine neither excuses a slow parser nor fails a fast one.

    Args:
        unless: An exception that is not a refusal, after which time does not count.
    """
    least = float("inf")
    for _ in range(5):
        started = time.process_time()
        result = act()
        least = min(least, time.process_time() - started)
        if least < LIMIT or unless(result):
            return result
    raise AssertionError(f"{least * 1000:.0f} ms")


def _whole(text: bytes) -> Callable[[Body], bytes]:
    return lambda good: text


def _member(text: str | bytes) -> Callable[[Body], bytes]:
    """Return a good object with one more member."""
    raw = text.encode() if isinstance(text, str) else text
    return lambda good: (
        json.dumps(good)[:-1].encode() + (b"," if good else b"") + raw + b"}"
    )


def _twice(good: Body) -> bytes:
    """Return a good object that has every member twice."""
    said = json.dumps(good or {"a": 1})[1:-1]
    return f"{{{said},{said}}}".encode()


MEGABYTES = 4_500_000
"""The most bytes that reach a function: 6 MB of base64 (AWS, "Lambda quotas")."""

HOSTILE: dict[str, Callable[[Body], bytes]] = {
    "10,000 arrays": _whole(b"[" * 10_000),
    "10,000 arrays, closed": _whole(b"[" * 10_000 + b"]" * 10_000),
    "10,000 objects": _whole(b'{"a":' * 10_000),
    "10,000 objects, closed": _whole(b'{"a":' * 10_000 + b"1" + b"}" * 10_000),
    "3,000 objects": _member(b'"x":' + b'{"a":' * 3_000),
    "3,000 arrays in a member": _member(b'"x":' + b"[" * 3_000 + b"]" * 3_000),
    "20 arrays in a member": _member(b'"x":' + b"[" * 20 + b"]" * 20),
    "megabytes of arrays": _whole(b"[" * MEGABYTES),
    "megabytes of digits": _member(b'"x":' + b"9" * MEGABYTES),
    "megabytes of text": _member(b'"x":"' + b"a" * MEGABYTES + b'"'),
    "megabytes of escapes": _member(b'"x":"' + b"\\u0061" * (MEGABYTES // 6) + b'"'),
    "megabytes of names": _member(b'"x":1,' * (MEGABYTES // 6) + b'"x":1'),
    "all twice": _twice,
    "a name twice": _member('"x":1,"x":1'),
    "a name twice, spelled differently": _member('"x":1,"\\u0078":2'),
    "a name twice, deep inside": _member('"x":[{"y":{"a":1,"a":2}}]'),
    "a thousand names twice": _member(",".join(f'"{n % 500}":1' for n in range(1000))),
    "half a character": _member('"x":"\\ud800"'),
    "the other half": _member('"x":"\\udc00"'),
    "halves in the wrong order": _member('"x":"\\ude00\\ud83d"'),
    "half a character in a name": _member('"\\ud800":1'),
    "half a character, raw": _member(b'"x":"\xed\xa0\x80"'),
    "NUL": _member('"x":"\\u0000"'),
    "NUL in a name": _member('"a\\u0000":1'),
    "NUL, raw": _member(b'"x":"\0"'),
    "NULs": _whole(b"\0" * 1_000),
    "5,000 digits": _member('"x":' + "9" * 5_000),
    "5,000 digits, negative": _member('"x":-' + "9" * 5_000),
    "NaN": _member('"x":NaN'),
    "infinity": _member('"x":-Infinity'),
    "backslashes": _whole(b'{"x":"' + b"\\" * 8_001),
    "escapes cut off": _member('"x":"\\u12'),
    "text without an end": _whole(b'{"x":"' + b"a" * 8_000),
    "names only": _whole(b'{"x"' * 2_000),
    "commas": _whole(b"{" + b"," * 8_000 + b"}"),
    "not UTF-8": _member(b'"x":"\xff"'),
    "overlong UTF-8": _member(b'"x":"\xc0\xaf"'),
    "UTF-16": lambda good: json.dumps(good).encode("utf-16"),
    "UTF-32": lambda good: json.dumps(good).encode("utf-32"),
    "byte order mark": lambda good: b"\xef\xbb\xbf" + json.dumps(good).encode(),
    "compressed": _whole(b"\x1f\x8b\x08\x00" + b"\0" * 100),
    "a form": _whole(b"email=ada%40example.com&password=correct"),
    "XML": _whole(b'<!DOCTYPE a [<!ENTITY b "b">]><a>&b;</a>'),
    "a line feed": _whole(b"\n"),
    "blanks": _whole(b" \t\r\n"),
    "an array": lambda good: json.dumps([good]).encode(),
    "a number": _whole(b"1e999"),
    "null": _whole(b"null"),
}
"""From a good JSON object to texts that no request body may be.

A finding of a test with a random seed becomes an entry here, or an example beside the
code, so that every run tries it.
"""

VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 2**31, 2**53, 2**63, 10**400, -(10**400)),
    *(0.5, -0.0, 1e308, float("inf"), float("-inf"), float("nan")),
    *("", " ", "\0", "\n", "\ud800", "\udc00x", "\u202e", "\U0001f600", "e\u0301"),
    *("true", "null", "0", "-1", "9" * 400, "a" * 300, "a" * 9_000, "=" * 30, "A" * 43),
    *("a.b.c", "e30.e30.", "../..", "%00", "a@b", "a@" + "b." * 130 + "c", "@"),
    *("https://", "https://[", "https://a:99999/", "https://\ud800/", "http:a", "//a"),
    *("RS256", "none", "HS256", "EC", "RSA", "P-256", "sig", "-----BEGIN PUBLIC KEY"),
    *([], {}, [[]], [None], {"": None}, {"$oid": 5}, {"S": 1}, {"N": "x"}, {"M": []}),
    *(
        {"NULL": True},
        {"N": "1e999"},
        {"N": "9" * 60},
        {"L": [{"S": ""}]},
        {"ssm": "a"},
    ),
    json.loads('{"a":' * 20 + "1" + "}" * 20),
    json.loads("[" * 200 + "]" * 200),
    ["a"] * 200,
]
"""Replacements for a value: of every type, around limits, and from other formats."""

_PARTS: list[bytes] = [
    *(b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\0", b"\xff", b"\xed\xa0\x80"),
    *(b"\\u0000", b"\\ud800", b"1e999", b"NaN", b"-", b"." * 10, b"9" * 5_000, b" "),
    *(b"[" * 3_000, b'{"a":' * 3_000, b"null", b"//", b"=", b"%00"),
]


class Mutator:
    """Changes good input a little, at random."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)  # noqa: S311 - hostile, not secret

    def choice(self, among: list[Result]) -> Result:
        """Return one of these at random."""
        return self._dice.choice(among)

    def value(self, good: Any) -> Any:
        """Return a JSON value with one to three changes."""
        changed = [copy.deepcopy(good)]
        for _ in range(self._dice.randint(1, 3)):
            self._change(changed)
        return changed[0]

    def text(self, good: bytes) -> bytes:
        """Return a text with one to three changes, which may not be UTF-8."""
        changed = bytearray(good)
        for _ in range(self._dice.randint(1, 3)):
            start, end = sorted(self._dice.randint(0, len(changed)) for _ in range(2))
            end = min(end, start + 40)
            match self._dice.randrange(5):
                case 0:
                    del changed[start:end]
                case 1:
                    changed[end:end] = changed[start:end]
                case 2:
                    changed[start:start] = self._dice.choice(_PARTS)
                case 3:
                    del changed[start + 1 :]
                case _:
                    changed[start:end] = self._dice.randbytes(end - start)
        return bytes(changed)

    def _change(self, root: list[Any]) -> None:
        places = list(_places(root))
        holder, key = self._dice.choice(places)
        other_holder, other = self._dice.choice(places)
        match self._dice.randrange(8):
            case 0 if holder is not root:
                del holder[key]
            case 1 if isinstance(holder, dict):
                holder[str(self._dice.choice(VALUES))[:20]] = holder.pop(key)
            case 2:
                holder[key] = copy.deepcopy(other_holder[other])
            case 3:
                holder[key] = self._dice.choice(([holder[key]], {"a": holder[key]}))
            case 4 if isinstance(holder[key], str) and holder[key]:
                at = self._dice.randrange(len(holder[key]))
                some = chr(self._dice.choice((0, 32, 46, 65, 0x300, 0xD800, 0x1F600)))
                holder[key] = holder[key][:at] + some + holder[key][at + 1 :]
            case 5 if isinstance(holder, dict):
                holder[self._dice.choice(("x", "", "a\0"))] = self._value()
            case _:
                holder[key] = self._value()

    def _value(self) -> Any:
        return copy.deepcopy(self._dice.choice(VALUES))


def _places(holder: Any, levels: int = 12) -> Iterator[tuple[Any, Any]]:
    keys = holder.keys() if isinstance(holder, dict) else range(len(holder))
    for key in keys:
        yield holder, key
        if levels and isinstance(holder[key], dict | list):
            yield from _places(holder[key], levels - 1)
