"""The mails of e-mail and password accounts: all their text is here."""

from dataclasses import dataclass
from urllib.parse import urlencode


@dataclass(frozen=True, slots=True)
class Mail:
    """A plain text mail."""

    subject: str
    text: str


def confirmation_mail(url: str, *, token: str, token_id: str) -> Mail:
    """Return the mail that asks whether an address is its registrant's.

    It warns: by opening the link, the address's owner would open an account whose
    password somebody else has chosen.

    Args:
        url: The app's own page, as configured.
    """
    return Mail(
        "Confirm your e-mail address",
        f"""\
This e-mail address was registered for a new account. To confirm that it was you, open

{_link(url, token, token_id)}

within 30 minutes.

If you did not register, do not open the link: whoever registered would get in with
their password. Nothing happens if you ignore this mail.
""",
    )


def reset_mail(url: str, *, token: str, token_id: str) -> Mail:
    """Return the mail with which a new password can be set."""
    return Mail(
        "Set a new password",
        f"""\
Somebody asked for a new password for the account with this e-mail address. If it was
you, open

{_link(url, token, token_id)}

within 30 minutes and choose one. You will be signed out everywhere else.

If it was not you, ignore this mail: the password stays as it is. Give the link to
nobody.
""",
    )


def _link(url: str, token: str, token_id: str) -> str:
    # By hand: urllib.parse would rewrite links of apps (`myapp:///confirm`).
    page, mark, fragment = url.partition("#")
    joint = "&" if "?" in page else "?"
    query = urlencode({"token": token, "tokenId": token_id})
    return f"{page}{joint}{query}{mark}{fragment}"
