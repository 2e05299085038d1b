"""E-mail addresses: which of them are the same, and which can be registered."""

import unicodedata

from anonauth.errors import BadRequest

_LONGEST_LABEL = 63  # characters in ASCII


class EmailSyntax:
    """`EmailAddresses`; the email-validator library checks the syntax."""

    def normalise(self, address: str) -> str:
        """Return the form that an account is found by: NFC and lower case.

        Blanks around an address are removed. A domain is written in its letters, not
        in the Punycode that browsers send (`type=email`; WHATWG HTML, "valid e-mail
        address", knows ASCII only).

        No library is needed, so a login imports none. `check` refuses to register an
        address that the library would write otherwise.
        """
        name, at, domain = _fold(address.strip()).rpartition("@")
        return name + at + ".".join(map(_to_letters, domain.split(".")))

    def mailbox(self, address: str) -> str:
        """Return the normal form of the address whose owner reads the mail.

        The part behind a `+` is dropped (RFC 5233), and so are dots, which Gmail
        ignores. For limits only: elsewhere the result may be another person's address.
        """
        name, at, domain = self.normalise(address).rpartition("@")
        plain = name.partition("+")[0].replace(".", "")
        return (plain or name) + at + domain

    def check(self, address: str) -> str:
        """Return the normal form of an address that an account can be registered with.

        Only the syntax is checked, without asking the network: the confirm mail shows
        whether the address exists. The part before the `@` is ASCII, since SES takes
        nothing else (Amazon SES API v2, "Destination"). A domain may have other
        letters, but only one spelling beside its Punycode: full-width letters and
        ligatures are refused.

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
    """Return a Punycode label (`xn--…`) in its letters, any other label unchanged."""
    # No label is longer than 63 (RFC 1035 §2.3.4), and decoding takes quadratic time.
    if not label.startswith("xn--") or len(label) > _LONGEST_LABEL:
        return label
    try:
        letters = label.removeprefix("xn--").encode("ascii").decode("punycode")
        is_the_one_spelling = letters.encode("punycode").decode() == label[4:]
    except UnicodeError:
        return label
    # Otherwise a domain would have two names here, and DNS knows at most one of them.
    is_sound = (
        is_the_one_spelling and not letters.isascii() and _fold(letters) == letters
    )
    return letters if is_sound else label


def to_ascii(address: str) -> str:
    """Return an address that has passed `check` in SES's form: domain in Punycode."""
    _, ascii_form = _validate(address)
    return ascii_form


def _validate(address: str) -> tuple[str, str]:
    # Costs 2 ms of a cold start, which a login avoids.
    from email_validator import EmailNotValidError, validate_email  # noqa: PLC0415

    try:
        valid = validate_email(
            address,
            allow_smtputf8=False,
            check_deliverability=False,
            # Accept `.test` (RFC 2606 §2), like any other domain without mail.
            test_environment=True,
        )
    except EmailNotValidError as exc:
        raise BadRequest("email invalid") from exc
    assert valid.ascii_email is not None  # noqa: S101 - for the type  # nosec B101
    return valid.normalized, valid.ascii_email
