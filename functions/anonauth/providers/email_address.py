"""E-mail addresses: which are the same, and which can be registered."""

import unicodedata

from anonauth.errors import BadRequest


class EmailSyntax:
    """`EmailAddresses`; syntax by the email-validator library."""

    def normalise(self, address: str) -> str:
        """Return the form that an account is found by: NFC and lower case.

        Takes no library, so that a login imports none: `check` lets nothing be
        registered that the library would write otherwise.
        """
        composed = unicodedata.normalize("NFC", address)
        return unicodedata.normalize("NFC", composed.lower())

    def check(self, address: str) -> str:
        """Return the normal form of an address that accounts can be registered with.

        Syntax only, the network is not asked: the confirm mail shows whether the
        address exists. What stands before the `@` is ASCII, since SES takes nothing
        else (Amazon SES API v2, "Destination"). A domain may have other letters, but
        only one spelling: full-width letters, ligatures and Punycode are refused, as
        is white space around the address.

        Raises:
            BadRequest: With the text that the SDKs' tests look for (contract §4).
        """
        normal = self.normalise(address)
        as_the_library_writes_it, _ = _validate(address)
        if self.normalise(as_the_library_writes_it) != normal:
            raise BadRequest("email invalid")
        return normal


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
