"""Texts of the mails that e-mail and password accounts send."""

from dataclasses import dataclass
from urllib.parse import urlencode


@dataclass(frozen=True, slots=True)
class Mail:
    """A plain text mail."""

    subject: str
    text: str


def confirmation_mail(url: str, *, token: str, token_id: str) -> Mail:
    """Return the mail by which the owner of an address confirms a registration.

    It warns owners who did not register. By opening the link they would confirm an
    account whose password somebody else has chosen.

    Args:
        url: The app's own page, as configured.
    """
    return Mail(
        "Confirm your e-mail address",
        f"""\
This e-mail address was registered for a new account. To confirm that it was you, open

{_link(url, token, token_id)}

within 30 minutes.

If you did not register, do not open the link. Otherwise the person who registered
could sign in with their password. Nothing happens if you ignore this mail.
""",
    )


def reset_mail(url: str, *, token: str, token_id: str) -> Mail:
    """Return the mail by which the owner of an address sets a new password."""
    return Mail(
        "Set a new password",
        f"""\
Somebody asked for a new password for the account with this e-mail address. If it was
you, open

{_link(url, token, token_id)}

within 30 minutes and choose one. You will be signed out everywhere else.

If it was not you, ignore this mail: the password stays as it is. Do not give the link
to anyone.
""",
    )


def _link(url: str, token: str, token_id: str) -> str:
    # Built by hand, since urllib.parse would rewrite links of apps, such as
    # `myapp:///confirm`.
    page, mark, fragment = url.partition("#")
    joint = "&" if "?" in page else "?"
    query = urlencode({"token": token, "tokenId": token_id})
    return f"{page}{joint}{query}{mark}{fragment}"
