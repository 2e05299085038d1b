"""Tokens that the service signs, and the keys that it signs them with."""

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import jwt

from anonauth.domain.encoding import hash_token_id
from anonauth.domain.expiry import expiry_after
from anonauth.domain.identities import Identity
from anonauth.domain.providers import ANONYMOUS
from anonauth.domain.users import Device, Session, User
from anonauth.errors import InvalidSession
from anonauth.tokens import Tokens
from support.forgery.key_server import changed
from support.service.harness import APP
from support.service.rings import RingInMemory

NOW = datetime(2026, 3, 10, 12, 0, 0, 500_000, tzinfo=UTC)
BASE_URL = "https://auth.example.com"
SESSION = Session(
    id="5" * 24,
    token_hash=hash_token_id("jti"),
    provider=ANONYMOUS,
    created_at=NOW,
    used_day=NOW.date(),
    device=Device("d" * 24),
)
USER = User(
    app=APP,
    id="a" * 24,
    anonymous=True,
    version=1,
    created_at=NOW,
    last_active_day=NOW.date(),
    expires_at=expiry_after(NOW),
    sessions={SESSION.id: SESSION},
    identities=(Identity("i" * 24 + "-" + "x" * 24, ANONYMOUS),),
)
# SDKs read tokens like this, without verifying them.
decode = partial(jwt.decode, options={"verify_signature": False})


class OwnTokens:
    """A key ring, its tokens, and copies of them that are signed again."""

    def __init__(self) -> None:
        ring = RingInMemory()
        ring.rotate(NOW)
        self.rings = ring.rings
        self.ring = ring.open()
        self.tokens = Tokens(
            self.ring, app_ids=frozenset({APP}), access_lifetime=timedelta(minutes=30)
        )
        self.access_kid, self.private = self.ring.access_signing_key(NOW)
        self.refresh_kid, self.shared = self.ring.refresh_signing_key(NOW)

    def access(self) -> str:
        return self.tokens.access_token(USER, SESSION, base_url=BASE_URL, now=NOW)

    def refresh(self, jti: str = "jti") -> str:
        return self.tokens.refresh_token(USER, SESSION, jti=jti, now=NOW)

    def takes_access(self, token: str) -> bool:
        """Tell whether an access token is accepted; `InvalidSession` refuses it."""
        try:
            self.tokens.read_access_token(token, NOW)
        except InvalidSession:
            return False
        return True

    def takes_refresh(self, token: str) -> bool:
        """Tell whether a refresh token is accepted; `InvalidSession` refuses it."""
        try:
            self.tokens.read_refresh_token(token, NOW)
        except InvalidSession:
            return False
        return True

    def resign_access(self, **changes: Any) -> str:
        claims = changed(decode(self.access()), changes)
        return jwt.encode(
            claims, self.private, "RS256", headers={"kid": self.access_kid}
        )

    def resign_refresh(self, **changes: Any) -> str:
        claims = changed(decode(self.refresh()), changes)
        return jwt.encode(
            claims, self.shared, "HS256", headers={"kid": self.refresh_kid}
        )
