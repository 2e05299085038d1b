"""Good tokens, changed at random: by bits, characters, segments, claims and headers."""

import base64
import json
import random
from collections.abc import Callable, Sequence
from typing import Any

from support.forgery.bad_tokens import encoded

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_STRANGE = "=+/. \t\n\x00~,:;\"'{}[]%&?#*\\\x7f\u00e9\u00a0\u200b\uff21"
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**63, 10**30, 0.5, float("nan"), "", "x"),
    *([], {}, ["x"], {"x": 1}, "none", "HS256", "RS256", "access", "refresh", "admin"),
)


class Mutations:
    """Draws mutations of some good tokens of one kind, without end.

    A mutation is never one of the good tokens, but may mean the same.
    """

    def __init__(self, good: Sequence[str], dice: random.Random) -> None:
        self._good = good
        self._dice = dice

    def draw(self) -> tuple[str, str]:
        """Return a mutation's name, and the token."""
        while True:
            token = self._dice.choice(self._good)
            how = self._dice.choice(_WAYS)
            changed = how(token, self._dice, self._good)
            if changed not in self._good:
                return how.__name__.removeprefix("_"), changed


_Way = Callable[[str, random.Random, Sequence[str]], str]


def _bit_of_the_text(token: str, dice: random.Random, _: Sequence[str]) -> str:
    at = dice.randrange(len(token))
    return _put(token, at, chr(ord(token[at]) ^ 1 << dice.randrange(7)))


def _bits_of_a_segment(token: str, dice: random.Random, _: Sequence[str]) -> str:
    def flip(data: bytearray) -> None:
        for _ in range(dice.choice((1, 1, 1, 2, 8))):
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)

    return _with_bytes(token, dice, flip)


def _bytes_of_a_segment(token: str, dice: random.Random, _: Sequence[str]) -> str:
    def swap(data: bytearray) -> None:
        one, other = (dice.randrange(len(data)) for _ in range(2))
        data[one], data[other] = data[other], data[one]

    return _with_bytes(token, dice, swap)


def _length_of_a_segment(token: str, dice: random.Random, _: Sequence[str]) -> str:
    def cut_or_fill(data: bytearray) -> None:
        at = dice.choice((0, len(data), dice.randrange(len(data))))
        if dice.random() < 0.5:
            del data[at : at + dice.randint(1, 4)]
        else:
            data[at:at] = dice.choice((b"\x00", b"\xff", b" ", dice.randbytes(3)))

    return _with_bytes(token, dice, cut_or_fill)


def _character(token: str, dice: random.Random, _: Sequence[str]) -> str:
    return _put(token, dice.randrange(len(token)), dice.choice(_ALPHABET))


def _last_character(token: str, dice: random.Random, _: Sequence[str]) -> str:
    """The signature's last bits carry no information, so others decode the same."""
    ends = [at - 1 for at, each in enumerate(token + ".") if each == "."]
    at = dice.choice(ends)
    nearby = _ALPHABET.index(token[at]) ^ dice.randint(1, 3)
    return _put(token, at, _ALPHABET[nearby])


def _strange_character(token: str, dice: random.Random, _: Sequence[str]) -> str:
    at, strange = dice.randint(0, len(token)), dice.choice(_STRANGE)
    return token[:at] + strange + token[at + dice.randint(0, 1) :]


def _other_alphabet(token: str, dice: random.Random, _: Sequence[str]) -> str:
    other = token.translate({ord("-"): "+", ord("_"): "/"})
    if other != token:
        return other
    return _put(token, dice.randrange(len(token)), dice.choice("+/"))  # not base64url


def _padding(token: str, dice: random.Random, _: Sequence[str]) -> str:
    parts = token.split(".")
    at = dice.randrange(3)
    parts[at] += "=" * dice.choice((1, 2, 3, 4, -len(parts[at]) % 4 or 1))
    return ".".join(parts)


def _case(token: str, dice: random.Random, _: Sequence[str]) -> str:
    at = dice.randrange(len(token))
    return _put(token, at, token[at].swapcase())


def _neighbours(token: str, dice: random.Random, _: Sequence[str]) -> str:
    at = dice.randrange(len(token) - 1)
    return token[:at] + token[at + 1] + token[at] + token[at + 2 :]


def _cut(token: str, dice: random.Random, _: Sequence[str]) -> str:
    at = dice.randrange(len(token))
    return dice.choice((token[:at], token[at + 1 :], token[:at] + token[at + 1 :]))


def _doubled(token: str, dice: random.Random, _: Sequence[str]) -> str:
    at = dice.randrange(len(token))
    return token[:at] + token[at : at + dice.randint(1, 60)] + token[at:]


def _segments(token: str, dice: random.Random, good: Sequence[str]) -> str:
    mine, others = token.split("."), dice.choice(good).split(".")
    at = dice.randrange(4)
    if at == 3:
        dice.shuffle(mine)
    else:
        mine[at] = others[dice.choice((at, at, at, dice.randrange(3)))]
    return ".".join(mine)


def _header(token: str, dice: random.Random, _: Sequence[str]) -> str:
    names = ("alg", "typ", "kid", "crit", "b64", "zip", "jwk", "jku", "x5c", "cty")
    return _with_json(token, 0, dice, names)


def _claims(token: str, dice: random.Random, _: Sequence[str]) -> str:
    return _with_json(token, 1, dice, ())


_WAYS: tuple[_Way, ...] = (
    _bit_of_the_text,
    _bits_of_a_segment,
    _bytes_of_a_segment,
    _length_of_a_segment,
    _character,
    _last_character,
    _strange_character,
    _other_alphabet,
    _padding,
    _case,
    _neighbours,
    _cut,
    _doubled,
    _segments,
    _header,
    _claims,
)

WAYS = len(_WAYS)


def _put(token: str, at: int, character: str) -> str:
    return token[:at] + character + token[at + 1 :]


def _with_bytes(
    token: str, dice: random.Random, change: Callable[[bytearray], None]
) -> str:
    parts = token.split(".")
    at = dice.randrange(3)
    data = bytearray(_decoded(parts[at]))
    change(data)
    parts[at] = encoded(bytes(data))
    return ".".join(parts)


def _with_json(token: str, at: int, dice: random.Random, more: Sequence[str]) -> str:
    """Edit an object under the old signature, or only write it differently."""
    parts = token.split(".")
    value: dict[str, Any] = json.loads(_decoded(parts[at]))
    names = [*value, *more]
    match dice.randrange(4):
        case 0:
            value[dice.choice(names)] = dice.choice(_VALUES)
        case 1:
            value.pop(dice.choice(names), None)
        case 2:
            one, other = (dice.choice(list(value)) for _ in range(2))
            value[one], value[other] = value[other], value[one]
        case 3:
            shuffled = list(value.items())
            dice.shuffle(shuffled)
            value = dict(shuffled)
    separators = dice.choice(((",", ":"), (", ", ": ")))
    parts[at] = encoded(json.dumps(value, separators=separators).encode())
    return ".".join(parts)


def _decoded(segment: str) -> bytes:
    return base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
