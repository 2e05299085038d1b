"""Reading the settings document from AWS Systems Manager (SSM), and caching it."""

import functools
import logging
from collections.abc import Callable, Collection
from datetime import datetime
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from anonauth.cached_copy import CachedCopy
from anonauth.errors import SettingsUnavailable
from anonauth.provider_settings.document import (
    DocumentError,
    parse,
    references,
    resolve,
)
from anonauth.provider_settings.schema import SettingsDocument

if TYPE_CHECKING:
    from mypy_boto3_ssm import SSMClient

_BATCH = 10  # names in one GetParameters

# A logger of the standard library, whose records Lambda logs like our own. It serves
# when the previous copy is kept: no error to the client is logged with the cause then.
_logger = logging.getLogger(__name__)


class SettingsSource:
    """The settings document in an SSM parameter, and the secrets below it.

    Args:
        connect: Makes the client on first use.
        parameter: Name of the parameter, a SecureString. If it is empty, no app has a
            provider and nothing is read.
        allow_private: As for `parse`.
        only: As for `parse`. The faults and missing secrets of other providers do not
            matter then.
    """

    def __init__(
        self,
        connect: "Callable[[], SSMClient]",
        parameter: str,
        *,
        allow_private: bool = False,
        only: str | None = None,
    ) -> None:
        self._connect = connect
        self._parameter = parameter
        self._allow_private = allow_private
        self._only = only
        self._empty = SettingsDocument()
        self._copy: CachedCopy[SettingsDocument] | None = None

    def document(self, now: datetime) -> SettingsDocument:
        """Return the document with its secrets in clear.

        If it cannot be read again, or is no longer valid, the previous copy stays in
        use and the log says why.

        Raises:
            SettingsUnavailable: The document cannot be used, and there is no copy.
        """
        if not self._parameter:
            return self._empty
        if self._copy is None or self._copy.is_due(now):
            self._copy = self._reload(now)
        return self._copy.value

    def _reload(self, now: datetime) -> CachedCopy[SettingsDocument]:
        try:
            return CachedCopy(self._read(), now)
        except (BotoCoreError, ClientError, DocumentError) as exc:
            detail = _detail(exc)
            if self._copy is None:
                raise SettingsUnavailable(detail=detail) from exc
        _logger.error("the settings document is out of date: %s", detail)
        return self._copy.kept(now)

    def _read(self) -> SettingsDocument:
        answer = self._client.get_parameter(Name=self._parameter, WithDecryption=True)
        document = parse(
            answer["Parameter"]["Value"],
            allow_private=self._allow_private,
            only=self._only,
        )
        secrets = self._secrets(set(references(document).values()))
        return resolve(document, secrets, allow_private=self._allow_private)

    def _secrets(self, names: Collection[str]) -> dict[str, str]:
        prefix = f"{self._parameter}/"
        found = {}
        wanted = [prefix + name for name in sorted(names)]
        for start in range(0, len(wanted), _BATCH):
            answer = self._client.get_parameters(
                Names=wanted[start : start + _BATCH], WithDecryption=True
            )
            for parameter in answer["Parameters"]:
                found[parameter["Name"].removeprefix(prefix)] = parameter["Value"]
        return found

    @functools.cached_property
    def _client(self) -> "SSMClient":
        return self._connect()


def _detail(exc: Exception) -> str:
    if isinstance(exc, DocumentError):
        return str(exc)
    if isinstance(exc, ClientError):
        return f"SSM: {exc.response['Error']['Code']}"
    return f"SSM: {type(exc).__name__}"
