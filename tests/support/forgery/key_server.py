"""A real HTTP or HTTPS server on loopback, and issuers that publish keys on it."""

import json
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Asked:
    """A request as the server received it."""

    method: str
    path: str
    query: Mapping[str, str]
    form: Mapping[str, str]
    headers: Mapping[str, str]


@dataclass
class Answer:
    """The server's answer; `body` is JSON unless it is bytes already."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


def changed(original: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy with the changes; `...` leaves a member out."""
    merged = {**original, **changes}
    return {name: value for name, value in merged.items() if value is not ...}


def unlimited(_network: str, _now: datetime) -> AbstractContextManager[None]:
    """Allow any number of requests to a provider."""
    return nullcontext()


Raw = Callable[[Callable[[bytes], None]], None]
"""An answer that writes its own bytes, at its own speed."""


class KeyServer:
    """Answers by path: 404 to unknown paths, 503 to all while it is `down`."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.answers: dict[str, Answer | Raw] = {}
        self.asked: list[Asked] = []
        self.down = False
        self.hung_up = threading.Event()
        self.stopped = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port: int = self._server.server_address[1]
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def publish(self, path: str, body: Any) -> str:
        """Serve a JSON document and return its URL."""
        self.answers[path] = Answer(body)
        return self.url + path

    def count(self, path: str) -> int:
        return sum(asked.path == path for asked in self.asked)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer({})

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                self._answer(dict(parse_qsl(self.rfile.read(length).decode())))

            def log_message(self, *_: object) -> None:
                pass

            def _answer(self, form: Mapping[str, str]) -> None:
                parts = urlsplit(self.path)
                server.asked.append(
                    Asked(
                        self.command,
                        parts.path,
                        dict(parse_qsl(parts.query)),
                        form,
                        dict(self.headers.items()),
                    )
                )
                answer = server.answers.get(parts.path, Answer({}, 404))
                if server.down:
                    answer = Answer({}, 503)
                if isinstance(answer, Answer):
                    self._send(answer)
                    return
                try:
                    answer(self._write)
                except OSError:
                    server.hung_up.set()
                self.close_connection = True

            def _write(self, data: bytes) -> None:
                self.wfile.write(data)
                self.wfile.flush()

            def _send(self, answer: Answer) -> None:
                body = answer.body
                if not isinstance(body, bytes):
                    body = json.dumps(body).encode()
                self.send_response(answer.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

        class Quiet(Handler):
            def handle(self) -> None:
                try:
                    super().handle()
                except OSError:  # the client has left, or refused our certificate
                    self.close_connection = True

            def finish(self) -> None:
                with suppress(OSError):
                    super().finish()

        return Quiet


class Signer:
    """A key pair of an issuer, for one algorithm."""

    def __init__(self, algorithm: str = "RS256", kid: str | None = "key-1") -> None:
        self.algorithm = algorithm
        self.kid = kid
        self.private: Any = _generate(algorithm)

    def jwk(self, **changes: Any) -> dict[str, Any]:
        """Return the public JWK; `...` leaves a member out."""
        members: dict[str, Any] = jwt.get_algorithm_by_name(self.algorithm).to_jwk(
            self.private.public_key(), as_dict=True
        )
        members.pop("key_ops", None)
        named = members | {"kid": self.kid, "use": "sig", "alg": self.algorithm}
        return changed(named, changes)

    @property
    def pem(self) -> str:
        public: bytes = self.private.public_key().public_bytes(
            Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
        )
        return public.decode()

    def sign(self, claims: Mapping[str, Any], **headers: Any) -> str:
        """Sign claims; headers beyond `alg`, `typ` and `kid` can be set or left out."""
        named = changed({"kid": self.kid}, headers)
        return jwt.encode(
            dict(claims), self.private, headers.get("alg", self.algorithm), named
        )


def _generate(algorithm: str) -> Any:
    if algorithm.startswith("ES"):
        curves: dict[str, ec.EllipticCurve] = {
            "ES256": ec.SECP256R1(),
            "ES384": ec.SECP384R1(),
            "ES512": ec.SECP521R1(),
        }
        return ec.generate_private_key(curves[algorithm])
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def tls_contexts(
    names: Iterable[str], folder: Path
) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return the contexts of a server with these names, and of a client trusting it.

    The certificate authority exists only during this call.
    """
    now = datetime(2026, 1, 1, tzinfo=UTC)
    authority, leaf = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])

    def certificate(subject: x509.Name, key: Any) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=3650))
            .not_valid_after(now + timedelta(days=36500))
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(
                    authority.public_key()
                ),
                critical=False,
            )
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()),
                critical=False,
            )
        )

    root = (
        certificate(issuer, authority)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(certificates=True), critical=True)
        .sign(authority, hashes.SHA256())
    )
    served = (
        certificate(x509.Name([]), leaf)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name) for name in names]),
            critical=True,
        )
        .add_extension(_usage(certificates=False), critical=True)
        .sign(authority, hashes.SHA256())
    )
    file = folder / "server.pem"
    file.write_bytes(
        leaf.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + served.public_bytes(Encoding.PEM)
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file)
    client = ssl.create_default_context(cadata=root.public_bytes(Encoding.PEM).decode())
    return server, client


def _usage(*, certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certificates,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
