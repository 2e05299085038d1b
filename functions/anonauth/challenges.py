"""Challenges before an anonymous login: Turnstile, hCaptcha or reCAPTCHA.

The three speak the same protocol: a form with `secret` and `response` is posted to a
URL, and the answer is JSON (Cloudflare, "Validate the token"; hCaptcha, "Verify the
user response server side"; Google, "Verifying the user's response").
"""

import functools
from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from anonauth.errors import ChallengeFailed, ProviderUnavailable, SettingsUnavailable
from anonauth.provider_settings.schema import ChallengeSettings
from anonauth.provider_settings.ssm import SettingsSource

if TYPE_CHECKING:
    from anonauth.issuers.fetch import Fetcher

# What is wrong with the answer of a client, and not with us or the service, as the
# three name it.
_OF_THE_CLIENT = frozenset(
    {
        "already-seen-response",
        "browser-error",
        "expired-input-response",
        "invalid-input-response",
        "invalid-or-already-seen-response",
        "missing-input-response",
        "timeout-or-duplicate",
    }
)


class SettingsChallenges:
    """`Challenges`, by the settings document.

    Args:
        allow_private: As for `Fetcher`.
    """

    def __init__(self, source: SettingsSource, *, allow_private: bool = False) -> None:
        self._source = source
        self._allow_private = allow_private

    def find(self, app: str, now: datetime) -> "SiteVerify | None":
        """Return an app's challenge, None if it has none; see `Challenges`."""
        settings = self._source.document(now).app(app).challenge
        return None if settings is None else SiteVerify(settings, self._fetcher)

    @functools.cached_property
    def _fetcher(self) -> "Fetcher":
        from anonauth.issuers.fetch import Fetcher  # noqa: PLC0415

        return Fetcher(allow_private=self._allow_private)


class SiteVerify:
    """`Challenge`: asks the service that has set it."""

    def __init__(self, settings: ChallengeSettings, fetcher: "Fetcher") -> None:
        self._settings = settings
        self._fetcher = fetcher

    def verify(self, answer: str) -> None:
        """Return if the answer is right; see `Challenge`.

        The client's address is left out: the three services do without.
        """
        settings = self._settings
        if not isinstance(settings.secret, str):
            raise SettingsUnavailable(detail="the challenge's secret is a reference")
        reply = self._fetcher.post(
            settings.verify_url, {"secret": settings.secret, "response": answer}
        )
        body = reply.body
        if body.get("success") is False and _is_of_the_client(body):
            raise ChallengeFailed
        if body.get("success") is not True:
            # A wrong secret, say: no client can mend that.
            raise ProviderUnavailable(detail="challenge: not verified")
        if reply.status != HTTPStatus.OK:
            raise ProviderUnavailable(detail="challenge: status")
        # An answer that was given on another page, or to another question.
        if settings.hostnames and not _is_one_of(body.get("hostname"), settings):
            raise ChallengeFailed
        if settings.action is not None and body.get("action") != settings.action:
            raise ChallengeFailed
        if settings.min_score is not None and _score(body) < settings.min_score:
            raise ChallengeFailed


def _is_one_of(host: object, settings: ChallengeSettings) -> bool:
    # Names of hosts are the same in capitals (RFC 4343).
    names = {name.lower() for name in settings.hostnames}
    return isinstance(host, str) and host.lower() in names


def _is_of_the_client(body: Mapping[str, Any]) -> bool:
    codes = body.get("error-codes", [])  # optional, says Google
    if not isinstance(codes, list) or not all(isinstance(c, str) for c in codes):
        return False
    return _OF_THE_CLIENT.issuperset(codes)


def _score(body: Mapping[str, Any]) -> float:
    score = body.get("score")
    if not isinstance(score, int | float) or isinstance(score, bool):
        return 0.0
    # JSON as Python reads it has NaN too, which is not less than anything, and integers
    # that no float can hold.
    return float(score) if 0 <= score <= 1 else 0.0
