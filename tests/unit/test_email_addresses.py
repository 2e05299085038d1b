"""Which addresses can be registered, and which are one and the same."""

import pytest

from anonauth.email_addresses import EmailSyntax, to_ascii
from anonauth.errors import BadRequest

LABEL = "b" * 60
LONGEST = "a" * 64 + "@" + ".".join([LABEL, LABEL, "c" * 60, "de.com"])

ADDRESSES = EmailSyntax()


@pytest.mark.parametrize(
    ("address", "normal"),
    [
        pytest.param("ada@example.com", "ada@example.com", id="plain"),
        pytest.param("Ada.Byron@Example.COM", "ada.byron@example.com", id="capitals"),
        pytest.param("ada+app@example.com", "ada+app@example.com", id="tag"),
        pytest.param("o'hara@example.com", "o'hara@example.com", id="apostrophe"),
        pytest.param("a@b.de", "a@b.de", id="short"),
        pytest.param("ada@b\u00fccher.example", "ada@b\u00fccher.example", id="NFC"),
        pytest.param("ada@bu\u0308cher.example", "ada@b\u00fccher.example", id="NFD"),
        pytest.param(
            "ada@B\u00dcCHER.example", "ada@b\u00fccher.example", id="other letters"
        ),
        pytest.param("ada@app.test", "ada@app.test", id="domain for tests"),
        pytest.param(" ada@example.com", "ada@example.com", id="space before"),
        pytest.param("ada@example.com ", "ada@example.com", id="space after"),
        pytest.param("ada@example.com\r\n", "ada@example.com", id="line end"),
        pytest.param(
            "\u00a0ada@example.com\u3000", "ada@example.com", id="wide blanks"
        ),
        pytest.param(
            "ada@xn--bcher-kva.example", "ada@b\u00fccher.example", id="Punycode"
        ),
        pytest.param(
            "Ada@XN--BCHER-KVA.Example",
            "ada@b\u00fccher.example",
            id="Punycode in capitals",
        ),
        pytest.param(
            "ada@shop.xn--bcher-kva.xn--p1ai",
            "ada@shop.b\u00fccher.\u0440\u0444",
            id="Punycode in several labels",
        ),
        pytest.param(
            "ada@xn--strae-oqa.example", "ada@stra\u00dfe.example", id="sharp s"
        ),
    ],
)
def test_given_an_address_when_checked_then_its_normal_form(
    address: str, normal: str
) -> None:
    assert ADDRESSES.check(address) == normal
    assert ADDRESSES.normalise(address) == normal
    assert ADDRESSES.normalise(normal) == normal


@pytest.mark.parametrize(
    "address",
    [
        pytest.param("", id="empty"),
        pytest.param(" ", id="white space"),
        pytest.param("@", id="at sign"),
        pytest.param("ada", id="no at sign"),
        pytest.param("@example.com", id="nobody"),
        pytest.param("ada@", id="nowhere"),
        pytest.param("ada@@example.com", id="two at signs"),
        pytest.param("ada@localhost", id="no dot"),
        pytest.param("ada@host.local", id="local network"),
        pytest.param("ada@192.0.2.1", id="IP address"),
        pytest.param("ada@[192.0.2.1]", id="address literal"),
        pytest.param("ada@example.com\r\nBcc: eve@example.com", id="header injection"),
        pytest.param("ada@example.com,eve@example.com", id="two addresses"),
        pytest.param("Ada <ada@example.com>", id="with a name"),
        pytest.param('"ada b"@example.com', id="quoted"),
        pytest.param("ada..b@example.com", id="two dots"),
        pytest.param(".ada@example.com", id="dot first"),
        pytest.param("ada@-example.com", id="hyphen first"),
        pytest.param("ada@ex_ample.com", id="underscore"),
        pytest.param("ada@example.com.", id="dot last"),
        pytest.param("\u00e4da@example.com", id="letters SES does not take"),
        pytest.param("\u0430da@example.com", id="Cyrillic letter before the at sign"),
        pytest.param("\u212ata@example.com", id="Kelvin sign before the at sign"),
        pytest.param("ada@\uff45xample.com", id="full-width letter"),
        pytest.param("ada@example\uff0ecom", id="full-width dot"),
        pytest.param("ada@\ufb01nd.com", id="ligature"),
        pytest.param("ada@exam\u200dple.com", id="invisible character"),
        pytest.param("ada@xn--.example", id="Punycode of nothing"),
        pytest.param("ada@xn--abc-.example", id="Punycode of ASCII"),
        pytest.param("ada@xn--99999999.example", id="no Punycode"),
        pytest.param("ada@xn--b\u00fccher-kva.example", id="Punycode with letters"),
        pytest.param("ada@xn--bcher-2pa.example", id="Punycode of a capital"),
        pytest.param("ada@xn--bucher-xyd.example", id="Punycode of NFD"),
        pytest.param("ada@xn--" + "a" * 60 + ".example", id="Punycode of 64"),
        pytest.param("ada @example.com", id="space within"),
        pytest.param("ada@ example.com", id="space after the at sign"),
        pytest.param("ada@\u2603.example", id="symbol"),
        pytest.param("a" * 5000 + "@example.com", id="overlong"),
        pytest.param("a" + LONGEST, id="255 characters"),
    ],
)
def test_given_no_address_when_checked_then_refused(address: str) -> None:
    with pytest.raises(BadRequest) as caught:
        ADDRESSES.check(address)

    assert str(caught.value) == "email invalid"
    ADDRESSES.normalise(address)  # a login looks for it all the same


@pytest.mark.parametrize(
    "label",
    [
        pytest.param("xn--bcher-2pa", id="of a capital"),
        pytest.param("xn--bucher-xyd", id="of NFD"),
        pytest.param("xn--abc-", id="of ASCII"),
        pytest.param("xn--" + "a" * 60, id="of 64 characters"),
        pytest.param("xn--99999999", id="of nothing"),
    ],
)
def test_given_punycode_that_is_none_when_normalised_then_it_stays(label: str) -> None:
    """Or two domains could become one."""
    assert ADDRESSES.normalise(f"ada@{label}.example") == f"ada@{label}.example"


def test_given_254_characters_when_checked_then_taken() -> None:
    assert len(LONGEST) == 254
    assert ADDRESSES.check(LONGEST) == LONGEST


@pytest.mark.parametrize(
    ("address", "sent_to"),
    [
        pytest.param("Ada@example.com", "Ada@example.com", id="case is kept"),
        pytest.param(
            "ada@b\u00fccher.example", "ada@xn--bcher-kva.example", id="Punycode"
        ),
        pytest.param(
            "ada@xn--bcher-kva.example", "ada@xn--bcher-kva.example", id="as it is"
        ),
    ],
)
def test_given_an_address_when_mail_is_sent_then_to_its_ascii_form(
    address: str, sent_to: str
) -> None:
    assert to_ascii(address) == sent_to
