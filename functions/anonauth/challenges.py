"""Challenges before an anonymous login: Turnstile, hCaptcha or reCAPTCHA.

All three use the same protocol: a form with `secret` and `response` is posted to a URL,
and the answer is JSON (Cloudflare, "Validate the token"; hCaptcha, "Verify the user
response server side"; Google, "Verifying the user's response").
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

# The three services' error codes for a mistake in the client's answer. Any other code
# means a mistake of ours, or of the service.
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
    """`Challenges` from the settings document.

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
    """`Challenge` that asks the service whether the answer is right."""

    def __init__(self, settings: ChallengeSettings, fetcher: "Fetcher") -> None:
        self._settings = settings
        self._fetcher = fetcher

    def verify(self, answer: str) -> None:
        """Return if the answer is right; see `Challenge`.

        The client's address is not sent: the three services work without it.
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
            # For example a wrong secret, which no client can fix.
            raise ProviderUnavailable(
                detail="the challenge service did not check the answer"
            )
        if reply.status != HTTPStatus.OK:
            raise ProviderUnavailable(
                detail="the challenge service sent an error status"
            )
        # An answer that was given on another page, or for another action.
        if settings.hostnames and not _is_one_of(body.get("hostname"), settings):
            raise ChallengeFailed
        if settings.action is not None and body.get("action") != settings.action:
            raise ChallengeFailed
        if settings.min_score is not None and _score(body) < settings.min_score:
            raise ChallengeFailed


def _is_one_of(host: object, settings: ChallengeSettings) -> bool:
    # Host names do not depend on case (RFC 4343).
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
    # Python's JSON also accepts NaN, which is not less than any number, and integers
    # that no float can hold.
    return float(score) if 0 <= score <= 1 else 0.0
