"""E-mail addresses: which are the same, and which can be registered."""

import unicodedata

from anonauth.errors import BadRequest

_LONGEST_LABEL = 63  # characters in ASCII


class EmailSyntax:
    """`EmailAddresses`; syntax by the email-validator library."""

    def normalise(self, address: str) -> str:
        """Return the form that an account is found by: NFC and lower case.

        Blanks around an address are not a part of it. A domain has its letters, not
        their Punycode, which is what browsers send (`type=email`; WHATWG HTML, "valid
        e-mail address", knows ASCII only).

        Takes no library, so that a login imports none: `check` lets nothing be
        registered that the library would write otherwise.
        """
        name, at, domain = _fold(address.strip()).rpartition("@")
        return name + at + ".".join(map(_to_letters, domain.split(".")))

    def mailbox(self, address: str) -> str:
        """Return the normal form of the address whose owner reads what is sent there.

        Without what stands behind a `+` (RFC 5233), and without dots, of which Gmail
        takes no notice. Only for limits: elsewhere that may be another person.
        """
        name, at, domain = self.normalise(address).rpartition("@")
        plain = name.partition("+")[0].replace(".", "")
        return (plain or name) + at + domain

    def check(self, address: str) -> str:
        """Return the normal form of an address that accounts can be registered with.

        Syntax only, the network is not asked: the confirm mail shows whether the
        address exists. What stands before the `@` is ASCII, since SES takes nothing
        else (Amazon SES API v2, "Destination"). A domain may have other letters, but
        only one spelling beside its Punycode: full-width letters and ligatures are
        refused.

        Raises:
            BadRequest: With the text that the SDKs' tests look for (client-api.md §4).
        """
        normal = self.normalise(address)
        as_the_library_writes_it, _ = _validate(address.strip())
        if self.normalise(as_the_library_writes_it) != normal:
            raise BadRequest("email invalid")
        return normal


def _fold(text: str) -> str:
    composed = unicodedata.normalize("NFC", text)
    return unicodedata.normalize("NFC", composed.lower())


def _to_letters(label: str) -> str:
    """Return what a label in Punycode (`xn--…`) stands for; any other as it is."""
    # Of more than 63 it is none (RFC 1035 §2.3.4), and decoding takes its square.
    if not label.startswith("xn--") or len(label) > _LONGEST_LABEL:
        return label
    try:
        letters = label.removeprefix("xn--").encode("ascii").decode("punycode")
        is_the_one_spelling = letters.encode("punycode").decode() == label[4:]
    except UnicodeError:
        return label
    # Else one domain would have two names here, of which DNS knows one at most.
    is_sound = (
        is_the_one_spelling and not letters.isascii() and _fold(letters) == letters
    )
    return letters if is_sound else label


def to_ascii(address: str) -> str:
    """Return an address that `check` has passed as SES takes it: domain in Punycode."""
    _, ascii_form = _validate(address)
    return ascii_form


def _validate(address: str) -> tuple[str, str]:
    # 55 ms of a cold start, which a login does without.
    from email_validator import EmailNotValidError, validate_email  # noqa: PLC0415

    try:
        valid = validate_email(
            address,
            allow_smtputf8=False,
            check_deliverability=False,
            # Takes `.test` (RFC 2606 §2) as it takes any other domain without mail.
            test_environment=True,
        )
    except EmailNotValidError as exc:
        raise BadRequest("email invalid") from exc
    assert valid.ascii_email is not None  # noqa: S101 - for the type  # nosec B101
    return valid.normalized, valid.ascii_email
