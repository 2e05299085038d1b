"""Tokens that a forger would try, made systematically from one good token.

There are some hundreds of each kind, by name. No route may accept any of them.
"""

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from support.forgery.bad_tokens import (
    NOT_TOKENS,
    WRONG_TIMES,
    edited,
    encoded,
    hmac_signed,
    signed,
    unsigned,
)
from support.forgery.key_server import Signer

Named = Iterator[tuple[str, str]]
Object = dict[str, Any]

_ATTACKERS = rsa.generate_private_key(public_exponent=65537, key_size=2048)
_ATTACKERS_EC = ec.generate_private_key(ec.SECP256R1())
_EVIL = "https://evil.example/keys"


@dataclass(frozen=True)
class Target:
    """A good token, and the material that a forger may have beside it.

    Args:
        token: A good token of the kind that is forged.
        others: Good tokens: another user's of this kind, and this user's of other
            kinds.
        key: The key that signed the token; only an insider has it.
        other_key: Key id and key of tokens of another kind.
        public: The published key, whether or not this kind is checked with it.
        required: The claims that are checked, and whether each is a text or a time.
            None for a foreign issuer, whose claims its own provider's tests check.
    """

    token: str
    others: Mapping[str, str]
    key: RSAPrivateKey | bytes
    other_key: tuple[str, RSAPrivateKey | bytes]
    public: RSAPublicKey
    required: Mapping[str, str]

    @property
    def header(self) -> Object:
        return _json(self.token.split(".")[0])

    @property
    def claims(self) -> Object:
        return _json(self.token.split(".")[1])

    @property
    def signature(self) -> str:
        return self.token.split(".")[2]

    def under_old_signature(self, header: Any, claims: Any = None) -> str:
        """Return the token with another header or other claims, signature unchanged."""
        payload = self.token.split(".")[1] if claims is None else encoded(claims)
        return f"{encoded(header)}.{payload}.{self.signature}"

    def signed(self, claims: Any, **header: Any) -> str:
        """Return a token signed with the true key."""
        return signed(self.key, {**self.header, **header}, claims)


ACCESS_CLAIMS = dict.fromkeys(("typ", "aud", "iss", "sub", "sid"), "text") | {
    "exp": "time",
    "iat": "time",
}
REFRESH_CLAIMS = dict.fromkeys(
    ("typ", "aud", "iss", "sub", "baas_id", "jti"), "text"
) | {"exp": "time", "iat": "time"}


def of_issuer(signer: Signer, claims: Object, others: Mapping[str, str]) -> Target:
    """Return the target for a token of a foreign issuer with an RSA key.

    Args:
        signer: The issuer.
        claims: Claims of a good token.
        others: Good tokens of other kinds.
    """
    another = signer.sign({**claims, "sub": "another"})
    return Target(
        signer.sign(claims),
        {"": another, **others},
        key=signer.private,
        other_key=("key-2", b"k" * 32),
        public=signer.private.public_key(),
        required={},
    )


def forgeries(target: Target) -> dict[str, str]:
    """Return the forged tokens by name, without duplicates and without a good token.

    Each is refused before anything is read from the store.
    """
    made: dict[str, str] = {}
    for group in (*_GROUPS, _insiders) if target.required else _GROUPS:
        for name, token in group(target):
            assert name not in made, name
            assert token not in {target.token, *target.others.values()}, name
            made[name] = token
    made |= {f"token of another kind: {k}": t for k, t in target.others.items() if k}
    return made


def _no_tokens(target: Target) -> Named:
    yield from NOT_TOKENS.items()
    yield from {
        "empty": "",
        "null": "null",
        "undefined": "undefined",
        "false": "false",
        "object": "[object Object]",
        "like a token of a mail": "x" * 43,
        "like an API key": "k" * 64,
        "like a user id": target.claims["sub"],
        "huge": target.token + "x" * 9000,
        "many dots": "." * 5000,
        "not ASCII": "é" + target.token,
        "half a character": "\udc80" + target.token,
        "header of nothing": "e30.e30.",
        "number of many digits": f"{encoded(b'9' * 5000)}.e30.eA",
    }.items()
    deep = encoded(b'{"a":' * 3000 + b"1" + b"}" * 3000)
    yield "deep claims", f"{target.token.split('.')[0]}.{deep}.{target.signature}"


_ALGORITHMS: tuple[Any, ...] = (
    *("none", "None", "nOnE", "NONE", "none ", "", "null", "HS256", "HS384", "HS512"),
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"),
    *("ES256K", "EdDSA", "dir", "A256GCMKW", "RSA-OAEP", "rs256", "RS256\x00", "../x"),
    *(None, True, 0, 5, ["RS256"], ["none"], {}, {"alg": "none"}),
)


def _algorithms(target: Target) -> Named:
    """Change `alg`, which must match the key."""
    for alg in _ALGORITHMS:
        header = target.header | {"alg": alg}
        token = target.under_old_signature(header)
        head = token.rpartition(".")[0]
        yield f"alg {alg!r}", token
        yield f"alg {alg!r}, no signature", f"{head}."
        yield f"alg {alg!r}, signed by nobody", f"{head}.{encoded(bytes(256))}"
    bare = {k: v for k, v in target.header.items() if k != "alg"}
    yield "no alg", target.under_old_signature(bare)
    yield "no alg, no signature", unsigned(target.claims, **bare)
    yield "no kid, none", unsigned(target.claims, alg="none")


def _headers(target: Target) -> Named:
    """Add a header that names a forger's key, or asks for something else."""
    jwk = jwt.get_algorithm_by_name("RS256").to_jwk(
        _ATTACKERS.public_key(), as_dict=True
    )
    kid, other_kid = target.header["kid"], target.other_key[0]
    members: dict[str, Object] = {
        "jwk": {"jwk": jwk},
        "jwk, of our kid": {"jwk": {**jwk, "kid": kid}},
        "jwk a text": {"jwk": json.dumps(jwk)},
        "jwk oct": {"jwk": {"kty": "oct", "k": encoded(b"k" * 32), "kid": kid}},
        "jku": {"jku": _EVIL},
        "jku a file": {"jku": "file:///dev/null"},
        "jku of loopback": {"jku": "http://127.0.0.1/jwks.json"},
        "x5u": {"x5u": _EVIL},
        "x5c": {"x5c": [base64.b64encode(_der(_ATTACKERS.public_key())).decode()]},
        "x5c empty": {"x5c": []},
        "x5t": {"x5t": encoded(hashlib.sha1(b"x", usedforsecurity=False).digest())},
        "iss": {"iss": "https://evil.example"},
        "crit": {"crit": ["exp"], "exp": 1},
        "crit empty": {"crit": []},
        "crit a text": {"crit": "b64"},
        "crit of numbers": {"crit": [1]},
        "crit absent": {"crit": ["b64"]},
        "b64": {"b64": False},
        "b64, critical": {"b64": False, "crit": ["b64"]},
        "zip": {"zip": "DEF"},
        "JWE": {"enc": "A256GCM", "zip": "DEF"},
        "nested": {"cty": "JWT"},
        "typ JOSE+JSON": {"typ": "JOSE+JSON"},
        "typ a list": {"typ": ["at+jwt"]},
        "kid of another kind": {"kid": other_kid},
        **{f"kid {kid!r}": {"kid": kid} for kid in _KIDS},
        "kid in capitals": {"kid": kid.upper() + "X"},
        "kid and a blank": {"kid": f"{kid} "},
        "kid and NUL": {"kid": f"{kid}\x00"},
        "kid and a path": {"kid": f"../{kid}"},
        "kid in a list": {"kid": [kid]},
        "kid in an object": {"kid": {"kid": kid}},
    }
    for name, more in members.items():
        header = target.header | more
        yield f"{name}, old signature", target.under_old_signature(header)
        if header["kid"] is None:
            header.pop("kid")
        rs256 = header | {"alg": "RS256"}
        yield f"{name}, another RSA key", signed(_ATTACKERS, rs256, target.claims)
        by_hmac = header | {"alg": "HS256"}
        yield f"{name}, another secret", signed(b"k" * 32, by_hmac, target.claims)
    es256 = target.header | {"alg": "ES256"}
    yield "another EC key", signed(_ATTACKERS_EC, es256, target.claims)
    for alg in ("RS384", "RS512", "PS256", "PS512"):
        header = target.header | {"alg": alg}
        yield f"another RSA key, {alg}", signed(_ATTACKERS, header, target.claims)


_KIDS: tuple[Any, ...] = (
    *("", " ", "*", "unknown", "key-1", "null", "../../../../dev/null", "/dev/null"),
    *("..\\..\\windows\\win.ini", "file:///proc/self/environ", _EVIL, "KEY#ring"),
    *("' UNION SELECT 'k", '"} || {"', "$(id)", "`id`", "{{7*7}}", "a\x00b", "é"),
    *("x" * 5000, None, 0, 1, True, 1.5),
)


def _secrets(target: Target) -> Named:
    """Sign by HMAC with public knowledge (RFC 8725 §2.1)."""
    der, pem = _der(target.public), _pem(target.public)
    old_der = target.public.public_bytes(Encoding.DER, PublicFormat.PKCS1)
    old_pem = target.public.public_bytes(Encoding.PEM, PublicFormat.PKCS1)
    jwk = jwt.get_algorithm_by_name("RS256").to_jwk(target.public, as_dict=True)
    jwk.pop("key_ops", None)
    named = {"use": "sig", "alg": "RS256", "kid": target.header["kid"], **jwk}
    number = target.public.public_numbers().n
    secrets = {
        "PEM": pem,
        "PEM without its last line break": pem.rstrip(),
        "PEM with CRLF": pem.replace(b"\n", b"\r\n"),
        "PEM without its frame": b"".join(pem.splitlines()[1:-1]),
        "DER": der,
        "PKCS #1 PEM": old_pem,
        "PKCS #1 DER": old_der,
        "JWK": json.dumps(jwk).encode(),
        "JWK, compact": json.dumps(jwk, separators=(",", ":")).encode(),
        "JWK as published": json.dumps(named, separators=(",", ":")).encode(),
        "JWK Set": json.dumps({"keys": [named]}, separators=(",", ":")).encode(),
        "modulus": number.to_bytes(256, "big"),
        "modulus in base64url": jwk["n"].encode(),
        "kid": target.header["kid"].encode(),
        "user id": target.claims["sub"].encode(),
        "issuer": str(target.claims["iss"]).encode(),
        "nothing": b"",
        "zeros": bytes(32),
        "secret": b"secret",
        "null": b"null",
    }
    kids = {"its kid": target.header["kid"], "other kid": target.other_key[0]}
    for what, secret in secrets.items():
        for whose, kid in kids.items():
            token = hmac_signed(target.claims, secret, kid=kid)
            yield f"HS256 by {what}, {whose}", token
        for alg in ("HS384", "HS512"):
            token = hmac_signed(target.claims, secret, alg, kid=kids["its kid"])
            yield f"{alg} by {what}", token


def _claims(target: Target) -> Named:
    """Put other claims under the old signature."""
    for name, value in target.claims.items():
        rest = {k: v for k, v in target.claims.items() if k != name}
        yield f"edited: no {name}", _edited(target, rest)
        for what, wrong in (
            ("null", None),
            ("true", True),
            ("another", f"{value}0" if isinstance(value, str) else 2**40),
            ("in a list", [value]),
            ("NaN", float("nan")),
        ):
            changed = target.claims | {name: wrong}
            yield f"edited: {name} {what}", _edited(target, changed)
        # Parsers differ in which of two equal names they take (RFC 8725 §2.4).
        twice = json.dumps(target.claims)[:-1] + f', "{name}": "x"}}'
        yield f"edited: {name} twice", _edited(target, twice.encode())
    yield "edited: other subject", edited(target.token)
    yield "edited: admin", _edited(target, target.claims | {"admin": True})
    yield "edited: spaces only", _edited(target, target.claims)
    yield "edited: none", _edited(target, {})


def _signatures(target: Target) -> Named:
    """Keep the good header and claims, and alter the signature's text."""
    head, _, signature = target.token.rpartition(".")
    raw = _bytes(signature)
    count = len(signature)
    alike = chr(ord(signature[-1]) + 1)  # its last bits carry no information
    for name, wrong in {
        "missing": "",
        "one character": signature[:1],
        "half": signature[: count // 2],
        "cut by one": signature[:-1],
        "cut by two": signature[:-2],
        "cut by a group": signature[:-4],
        "without its first": signature[1:],
        "one more A": signature + "A",
        "a group more": signature + "AAAA",
        "twice": signature * 2,
        "backwards": signature[::-1],
        "zeros": encoded(bytes(len(raw))),
        "ones": encoded(b"\xff" * len(raw)),
        "a zero before": encoded(b"\x00" + raw),
        "a zero behind": encoded(raw + b"\x00"),
        "first bit": encoded(bytes([raw[0] ^ 0x80]) + raw[1:]),
        "last bit": encoded(raw[:-1] + bytes([raw[-1] ^ 1])),
        "unused bits": signature[:-1] + alike,
        "padded as base64": _padded(signature),
        "padded by one": signature + "=",
        "padded by two": signature + "==",
        "padded by three": signature + "===",
        "padding within": f"{signature[:8]}=={signature[8:]}",
        "hex": raw.hex(),
        "quoted": f'"{signature}"',
        "in capitals": signature.upper(),
        "its hash": encoded(hashlib.sha256(raw).digest()),
        "of the header alone": head.split(".")[0],
        "in the other alphabet": base64.b64encode(raw + b"\xff").decode(),
    }.items():
        yield f"signature: {name}", f"{head}.{wrong}"
    for name, other in target.others.items():
        named = name or "another's"
        yield f"signature of {named}", f"{head}.{other.rpartition('.')[2]}"
        mixed = [target.token.split("."), other.split(".")]
        yield (
            f"claims of {named}",
            f"{mixed[0][0]}.{mixed[1][1]}.{mixed[0][2]}",
        )


def _shapes(target: Target) -> Named:
    """Write the good token in other forms than the compact form (RFC 7515 §7.1)."""
    header, payload, signature = target.token.split(".")
    one = {"protected": header, "signature": signature}
    for name, shape in {
        "JSON, flattened": json.dumps({"payload": payload, **one}),
        "JSON, general": json.dumps({"payload": payload, "signatures": [one]}),
        "JSON, compact": json.dumps({"payload": payload, **one}, separators=(",", ":")),
        "JSON text": json.dumps(target.token),
        "in quotes": f"'{target.token}'",
        "in base64url": encoded(target.token.encode()),
        "nested": f"{header}.{encoded(target.token.encode())}.{signature}",
        "a segment before": f"x.{target.token}",
        "a segment behind": f"{target.token}.x",
        "a signature more": f"{target.token}.{signature}",
        "a dot before": f".{target.token}",
        "a dot behind": f"{target.token}.",
        "two dots": target.token.replace(".", "..", 1),
        "twice": f"{target.token}.{target.token}",
        "no payload": f"{header}..{signature}",
        "no header": f".{payload}.{signature}",
        "no signature's dot": f"{header}.{payload}",
        "segments turned": f"{signature}.{payload}.{header}",
        "payload first": f"{payload}.{header}.{signature}",
        "JWE of it": f"{header}.{signature}.{payload}.{signature}.{signature}",
        "SD-JWT of it": f"{target.token}~",
        "a DPoP scheme": f"DPoP {target.token}",
        "padded header": f"{header}==.{payload}.{signature}",
        "padded payload": f"{header}.{payload}=.{signature}",
        "dots in full width": target.token.replace(".", "\uff0e"),
        "dots escaped": target.token.replace(".", "%2E"),
        "letter in full width": chr(ord(target.token[0]) + 0xFEE0) + target.token[1:],
        "a look-alike": "\u0435" + target.token[1:],
    }.items():
        yield f"shape: {name}", shape
    for name, white in {
        "blank": " ",
        "tab": "\t",
        "line break": "\n",
        "CRLF": "\r\n",
        "NUL": "\x00",
        "no-break space": "\u00a0",
        "zero-width space": "\u200b",
        "byte order mark": "\ufeff",
        "soft hyphen": "\u00ad",
        "comma": ",",
    }.items():
        yield f"{name} in the header", header[:5] + white + target.token[5:]
        yield f"{name} after the header", f"{header}{white}.{payload}.{signature}"
        yield f"{name} before the claims", f"{header}.{white}{payload}.{signature}"
        yield f"{name} after the claims", f"{header}.{payload}{white}.{signature}"
        yield f"{name} before the signature", f"{header}.{payload}.{white}{signature}"
        yield (
            f"{name} in the signature",
            f"{target.token[:-5]}{white}{target.token[-5:]}",
        )


def _insiders(target: Target) -> Named:
    """Sign with the true key claims or a header that the service never signs.

    A time of issue in the future is not among them: that means a wrong clock of ours.
    """
    at = target.claims["iat"]
    for claim, form in target.required.items():
        value = target.claims[claim]
        rest = {k: v for k, v in target.claims.items() if k != claim}
        yield f"signed: no {claim}", target.signed(rest)
        wrong: Mapping[str, Any] = dict(WRONG_TIMES)
        if form == "text":
            wrong = {
                "null": None,
                "true": True,
                "number": 7,
                "fraction": 1.5,
                "list": [value],
                "object": {value: value},
                "empty list": [],
            }
        for what, bad in wrong.items():
            changed = target.claims | {claim: bad}
            yield f"signed: {claim} {what}", target.signed(changed)
    for claim in ("typ", "aud", "iss"):
        value = target.claims[claim]
        for what, other in (
            ("and a blank", value + " "),
            ("and NUL", value + "\x00"),
            ("in capitals", value.upper()),
            ("cut", value[:-1]),
            ("ID", "ID"),
        ):
            changed = target.claims | {claim: other}
            yield f"signed: {claim} {what}", target.signed(changed)
    for what, changes in {
        "expired a second ago": {"exp": at - 61},
        "expired just now": {"exp": at - 60},
        "expired at the epoch": {"exp": 0},
        "expired before it": {"exp": -1},
        "expired long before it": {"exp": -(10**400)},
        "expires in a fraction": {"exp": at + 900.5},
        "from a fraction": {"iat": at + 0.5},
    }.items():
        yield f"signed: {what}", target.signed(target.claims | changes)
    by_secret = isinstance(target.key, bytes)
    headers: dict[str, Object] = {
        "another alg": {"alg": "HS512" if by_secret else "RS512"},
        "a third alg": {"alg": "HS384" if by_secret else "PS256"},
        "other kid": {"kid": target.other_key[0]},
        "unknown kid": {"kid": "unknown"},
        "kid a number": {"kid": 1},
        "crit": {"crit": ["exp"], "exp": 1},
        "crit empty": {"crit": []},
        "b64": {"b64": False, "crit": ["b64"]},
        "b64 alone": {"b64": False},
    }
    for what, header in headers.items():
        yield f"signed: {what} in the header", target.signed(target.claims, **header)
    bare = {k: v for k, v in target.header.items() if k != "kid"}
    yield "signed: no kid", signed(target.key, bare, target.claims)
    for what, payload in {
        "a list": b"[]",
        "a text": b'"x"',
        "a number": b"7",
        "nothing": b"",
        "no JSON": b"{",
        "no UTF-8": b"\xff\xfe",
        "too deep": b'{"a":' * 3000 + b"1" + b"}" * 3000,
        "too many digits": b'{"exp":' + b"9" * 5000 + b"}",
    }.items():
        yield f"signed: {what}", target.signed(payload)
    kid, key = target.other_key
    alg = "HS256" if isinstance(key, bytes) else "RS256"
    for whose in (kid, target.header["kid"]):
        token = signed(key, target.header | {"alg": alg, "kid": whose}, target.claims)
        yield f"signed: by the key of another kind, kid {whose == kid}", token


_GROUPS = (
    _no_tokens,
    _algorithms,
    _headers,
    _secrets,
    _claims,
    _signatures,
    _shapes,
)


def _edited(target: Target, claims: Any) -> str:
    return target.under_old_signature(target.header, claims)


def _json(segment: str) -> Object:
    value: Object = json.loads(_bytes(segment))
    return value


def _bytes(segment: str) -> bytes:
    return base64.urlsafe_b64decode(_padded(segment))


def _padded(segment: str) -> str:
    return segment + "=" * (-len(segment) % 4)


def _der(key: RSAPublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _pem(key: RSAPublicKey) -> bytes:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
