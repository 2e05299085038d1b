"""The mails of e-mail and password accounts: their rate limits, and sending them."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from anonauth.domain.budgets import Budget, Counter
from anonauth.domain.encoding import identity_key
from anonauth.domain.identities import IdentityRecord
from anonauth.domain.mail_texts import Mail, confirmation_mail, reset_mail
from anonauth.errors import BudgetSpent, MailRefused, Unavailable
from anonauth.ports import BudgetStore, EmailAddresses, Mailer
from anonauth.usecases.admission import NetworkBudget

MAIL_WINDOW = timedelta(hours=1)
"""The mails to one mailbox are counted within this time."""

MailKind = Literal["mail-confirm", "mail-reset"]
"""A kind of mail, as the name of its counter begins."""


@dataclass(frozen=True, slots=True)
class Postage:
    """The counters of a mail, or the reason why it must not be sent to its mailbox."""

    counters: tuple[Counter, ...] = ()
    refusal: BudgetSpent | None = None

    def require(self) -> None:
        """Raise the refusal, if there is one."""
        if self.refusal is not None:
            raise self.refusal


@dataclass(frozen=True, slots=True)
class AccountMail:
    """Sends the mails of one app's accounts, and limits their number.

    Args:
        sender: Address that the mails come from.
        confirm_url: The app's own page for confirmations.
        reset_url: The app's own page for new passwords.
        per_hour: Mails of one kind to one mailbox within `MAIL_WINDOW`. Each kind has
            its own limit: requests for resets of an address must not keep its owner
            from registering.
        per_network: Limits the mails that one network asks for. Each of them may go to
            another mailbox. None for any number, as for an operator's tool.
    """

    app: str
    sender: str
    confirm_url: str
    reset_url: str
    per_hour: int
    per_network: NetworkBudget | None
    budgets: BudgetStore
    addresses: EmailAddresses
    mailer: Mailer

    def spend(
        self,
        kind: MailKind,
        email: str,
        *,
        network: str,
        now: datetime,
        share: str = "",
    ) -> Postage:
        """Count one mail, for the network that asks and for the mailbox.

        Args:
            email: Address as typed.
            network: IP address of the client.
            share: Part of the mailbox's mails with a limit of its own.

        Returns:
            The counters. If the mailbox has had its mails, a refusal, and then nothing
            is counted.

        Raises:
            BudgetSpent: The network has reached its limit. Nothing was counted.
            KeysUnavailable, StoreUnavailable: The mail may have been counted.
        """
        # The network first: if it has reached its limit, it must not use up the mails
        # of a stranger.
        spent: tuple[Counter, ...] = ()
        if self.per_network is not None:
            spent = (self.per_network.spend(network, now),)
        mailbox = identity_key(self.addresses.mailbox(email))
        budget = Budget(kind, self.per_hour, MAIL_WINDOW)
        counter = budget.counter(self.app, mailbox, share, now=now)
        if not self.budgets.spend(counter):
            self._give_back(spent)
            return Postage(refusal=BudgetSpent.until(counter.ends_at, now))
        return Postage((*spent, counter))

    def send_confirmation(
        self, record: IdentityRecord, token: str, postage: Postage
    ) -> None:
        """Send the mail that confirms an address.

        Raises:
            MailRefused: The mail was not sent and is not counted.
            MailUnavailable: The mail may not have been sent.
        """
        mail = confirmation_mail(self.confirm_url, token=token, token_id=record.key)
        self._deliver(mail, record, postage)

    def send_reset(self, record: IdentityRecord, token: str, postage: Postage) -> None:
        """Send the mail that sets a new password. Raises as `send_confirmation`."""
        mail = reset_mail(self.reset_url, token=token, token_id=record.key)
        self._deliver(mail, record, postage)

    def _deliver(self, mail: Mail, record: IdentityRecord, postage: Postage) -> None:
        try:
            self.mailer.send(
                sender=self.sender,
                recipient=record.data["email"],
                subject=mail.subject,
                text=mail.text,
            )
        except MailRefused:
            # Otherwise no mail could be sent for an hour after SES is healthy
            # again.
            self._give_back(postage.counters)
            raise

    def _give_back(self, counters: Iterable[Counter]) -> None:
        for counter in counters:
            # If this fails, a network or mailbox has one mail less.
            with suppress(Unavailable):
                self.budgets.give_back(counter)
