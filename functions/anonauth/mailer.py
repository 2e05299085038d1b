"""Sending mail with Amazon SES, API v2."""

import functools
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from anonauth.email_addresses import to_ascii
from anonauth.errors import MailRefused, MailUnavailable

if TYPE_CHECKING:
    from mypy_boto3_sesv2 import SESV2Client

_SERVER_ERRORS = HTTPStatus.INTERNAL_SERVER_ERROR


class SesMailer:
    """`Mailer` that sends with Amazon SES.

    Args:
        connect: Makes the client on first use, because most requests send no mail.
    """

    def __init__(self, connect: "Callable[[], SESV2Client]") -> None:
        self._connect = connect

    def send(self, *, sender: str, recipient: str, subject: str, text: str) -> None:
        """Send one plain text mail.

        Args:
            sender: An address that SES has verified, with or without a name.
            recipient: A registered address.

        Raises:
            MailRefused: SES refused the mail: the sender is not verified, the account
                is in the sandbox, a quota is spent, or SES throttles. None of these is
                the client's fault.
            MailUnavailable: SES did not answer. The mail may have been sent.
        """
        try:
            self._client.send_email(
                FromEmailAddress=sender,
                Destination={"ToAddresses": [to_ascii(recipient)]},
                Content={
                    "Simple": {
                        "Subject": {"Data": subject, "Charset": "UTF-8"},
                        "Body": {"Text": {"Data": text, "Charset": "UTF-8"}},
                    }
                },
            )
        except ClientError as exc:
            # An example is MessageRejected: the operator has to verify the sender.
            code = exc.response["Error"]["Code"]
            status = exc.response["ResponseMetadata"]["HTTPStatusCode"]
            refused = HTTPStatus.BAD_REQUEST <= status < _SERVER_ERRORS
            raise (MailRefused if refused else MailUnavailable)(detail=code) from exc
        except BotoCoreError as exc:
            raise MailUnavailable from exc

    @functools.cached_property
    def _client(self) -> "SESV2Client":
        return self._connect()
