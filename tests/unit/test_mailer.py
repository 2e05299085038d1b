"""SES, on moto: what is sent, and that any failure is ours."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.ses.models import ses_backends

from anonauth.errors import MailRefused, MailUnavailable
from anonauth.mailer import SesMailer
from support.service.harness import Clients
from support.service.wire import FAULTS, Fault

SENDER = "App <no-reply@app.example>"
MAIL = {"sender": SENDER, "subject": "Gr\u00fc\u00dfe", "text": "Zeile \u2603\n"}
REGION = "eu-central-1"


@pytest.fixture
def client(clients: Clients) -> Any:
    client = boto3.client("sesv2")
    clients.wire.attach(client)
    return client


@pytest.fixture
def sent(moto: None) -> Iterator[list[Any]]:
    """The mails that SES has taken."""
    backend = ses_backends[DEFAULT_ACCOUNT_ID][REGION]
    backend.reset()  # a service that another test has started may have sent some
    backend.verify_email_identity("no-reply@app.example")
    yield backend.sent_messages
    backend.reset()


def test_given_a_mail_when_sent_then_ses_has_it(client: Any, sent: list[Any]) -> None:
    SesMailer(lambda: client).send(recipient="Ada@example.com", **MAIL)

    (mail,) = sent
    assert mail.source == SENDER
    assert mail.destinations["ToAddresses"] == ["Ada@example.com"]
    assert (mail.subject, mail.body) == (MAIL["subject"], MAIL["text"])


def test_given_a_domain_of_other_letters_when_sent_then_ses_gets_ascii(
    client: Any, sent: list[Any]
) -> None:
    SesMailer(lambda: client).send(recipient="ada@b\u00fccher.example", **MAIL)

    (mail,) = sent
    assert mail.destinations["ToAddresses"] == ["ada@xn--bcher-kva.example"]


def test_given_no_mail_yet_when_made_then_no_client_is() -> None:
    def connect() -> Any:
        raise AssertionError

    SesMailer(connect)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_given_ses_is_failing_when_sending_then_mail_is_unavailable(
    client: Any, clients: Clients, sent: list[Any], fault: Fault
) -> None:
    clients.wire.always = fault

    with pytest.raises(MailUnavailable) as caught:
        SesMailer(lambda: client).send(recipient="ada@example.com", **MAIL)

    assert caught.value.__cause__ is not None
    # Only what SES itself has refused was not sent for sure.
    refused = fault.__name__ in {"throttled", "transaction_conflict"}
    assert isinstance(caught.value, MailRefused) is refused


def test_given_a_sender_that_is_not_verified_when_sending_then_it_is_unavailable(
    client: Any, sent: list[Any]
) -> None:
    mail = MAIL | {"sender": "stranger@elsewhere.example"}

    with pytest.raises(MailRefused):
        SesMailer(lambda: client).send(recipient="ada@example.com", **mail)

    assert sent == []
