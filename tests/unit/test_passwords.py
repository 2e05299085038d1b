"""argon2id: parameters, the cost of unknown users, and damaged hashes."""

import bcrypt
import pytest
from argon2 import Type, extract_parameters
from argon2.exceptions import InvalidHashError, VerificationError

from anonauth.passwords import Argon2Passwords

PASSWORD = "correct horse battery staple"


@pytest.fixture
def passwords() -> Argon2Passwords:
    """With the least that argon2 takes."""
    return Argon2Passwords(memory_cost=8, time_cost=1)


def test_given_todays_parameters_when_hashing_then_owasps_with_16_and_32_bytes() -> (
    None
):
    made = Argon2Passwords().hash(PASSWORD)

    assert made.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert Argon2Passwords().verify(PASSWORD, made)
    parameters = extract_parameters(made)
    assert parameters.type is Type.ID
    assert (parameters.salt_len, parameters.hash_len) == (16, 32)


def test_given_one_password_when_hashed_twice_then_the_salts_differ(
    passwords: Argon2Passwords,
) -> None:
    assert passwords.hash(PASSWORD) != passwords.hash(PASSWORD)


@pytest.mark.parametrize(
    ("given", "right"),
    [
        pytest.param(PASSWORD, True, id="the same"),
        pytest.param(PASSWORD + " ", False, id="white space after it"),
        pytest.param(PASSWORD.upper(), False, id="other case"),
        pytest.param(PASSWORD[:-1], False, id="a beginning"),
        pytest.param("", False, id="empty"),
        pytest.param("x" * 16_000, False, id="as long as a body"),
    ],
)
def test_given_a_hash_when_verifying_then_only_that_password_is_right(
    passwords: Argon2Passwords, given: str, right: bool
) -> None:
    made = passwords.hash(PASSWORD)

    assert passwords.verify(given, made) is right


COMPOSED, DECOMPOSED = "p\u00e4ssword", "pa\u0308ssword"


@pytest.mark.parametrize(
    ("chosen", "typed", "right"),
    [
        pytest.param(COMPOSED, DECOMPOSED, True, id="NFC, then NFD"),
        pytest.param(DECOMPOSED, COMPOSED, True, id="NFD, then NFC"),
        pytest.param(DECOMPOSED, DECOMPOSED, True, id="NFD twice"),
        pytest.param("\u212bngstrom", "\u00c5ngstrom", True, id="Angstrom sign"),
        pytest.param(COMPOSED, "password", False, id="no accent"),
        pytest.param("\ufb01nder", "finder", False, id="a ligature is no two letters"),
        pytest.param("\u00b2\u00b2\u00b2", "222", False, id="superscripts"),
    ],
)
def test_given_a_letter_in_two_forms_when_verifying_then_it_is_one_password(
    passwords: Argon2Passwords, chosen: str, typed: str, right: bool
) -> None:
    """A phone sends `ä` as one character, and a Mac's file dialog as two."""
    made = passwords.hash(chosen)

    assert passwords.verify(typed, made) is right


@pytest.mark.parametrize(
    ("marks", "is_normal"),
    [pytest.param(512, True, id="512"), pytest.param(513, False, id="513")],
)
def test_given_more_marks_than_any_password_has_when_normalised_then_they_stay(
    passwords: Argon2Passwords, marks: int, is_normal: bool
) -> None:
    """To sort 16,000 of them takes three times as long as argon2."""
    text = ("\u0301\u0327" * marks)[:marks]

    assert (passwords.normalise(text) != text) is is_normal


def test_given_no_such_user_when_verifying_then_argon2_runs_with_the_same_parameters(
    passwords: Argon2Passwords, verified: list[str]
) -> None:
    made = passwords.hash(PASSWORD)

    assert passwords.verify(PASSWORD, None) is False
    assert passwords.verify(PASSWORD, made) is True

    nobodys, somebodys = map(extract_parameters, verified)
    assert nobodys == somebodys


def test_given_no_such_user_when_verifying_then_it_is_the_same_hash_as_before(
    passwords: Argon2Passwords, verified: list[str]
) -> None:
    passwords.verify(PASSWORD, None)
    passwords.verify(PASSWORD, None)
    Argon2Passwords(memory_cost=8, time_cost=1).verify(PASSWORD, None)

    first, second, of_another_environment = verified
    assert first == second
    assert first != of_another_environment


LONG = "correct horse battery staple " * 3  # 87 bytes, of which bcrypt reads 72


@pytest.mark.parametrize("kind", ["2a", "2b", "2y"])
@pytest.mark.parametrize(
    ("chosen", "typed", "right"),
    [
        pytest.param(PASSWORD, PASSWORD, True, id="the same"),
        pytest.param(PASSWORD, PASSWORD + " ", False, id="white space after it"),
        pytest.param(PASSWORD, "", False, id="empty"),
        pytest.param(DECOMPOSED, DECOMPOSED, True, id="NFD, as it was hashed"),
        pytest.param(LONG, LONG, True, id="87 bytes"),
        pytest.param(LONG, LONG[:72] + "x", True, id="other after 72 bytes"),
        pytest.param(LONG, LONG[:71] + "x", False, id="other before"),
        pytest.param(PASSWORD, "x" * 16_000, False, id="as long as a body"),
    ],
)
def test_given_a_hash_by_bcrypt_when_verifying_then_only_its_password_is_right(
    passwords: Argon2Passwords, kind: str, chosen: str, typed: str, right: bool
) -> None:
    made = bcrypt.hashpw(chosen.encode()[:72], bcrypt.gensalt(4)).decode()
    made = made.replace("2b", kind, 1)

    assert passwords.verify(typed, made) is right
    assert passwords.is_outdated(made)


# Published pairs of two other programs: crypt_blowfish, and jBCrypt.
@pytest.mark.parametrize(
    ("password", "made"),
    [
        ("U*U", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"),
        ("abc", "$2a$06$If6bvum7DFjUnE9p2uDeDu0YHzrHM6tf.iqN8.yx.jNN1ILEf7h0i"),
    ],
)
def test_given_a_published_hash_by_bcrypt_when_verifying_then_it_is_right(
    passwords: Argon2Passwords, password: str, made: str
) -> None:
    assert passwords.verify(password, made)


def test_given_a_damaged_hash_by_bcrypt_when_verifying_then_it_is_no_wrong_password(
    passwords: Argon2Passwords,
) -> None:
    for damaged in ("$2b$04$", "$2b$99$" + "a" * 53, "$2b$04$" + "!" * 53):
        with pytest.raises(ValueError, match="salt"):
            passwords.verify(PASSWORD, damaged)


def test_given_a_damaged_hash_when_verifying_then_it_is_not_a_wrong_password(
    passwords: Argon2Passwords,
) -> None:
    made = passwords.hash(PASSWORD)

    for damaged in ("", "plain text", made[:-10] + "!" * 10, made[: len(made) // 2]):
        with pytest.raises((InvalidHashError, VerificationError)) as caught:
            passwords.verify(PASSWORD, damaged)
        assert "mismatch" not in type(caught.value).__name__.lower()


@pytest.mark.parametrize(
    ("memory_cost", "time_cost", "outdated"),
    [
        pytest.param(8, 1, False, id="today's"),
        pytest.param(16, 1, True, id="other memory"),
        pytest.param(8, 2, True, id="other time"),
    ],
)
def test_given_a_hash_when_asked_then_it_is_outdated_if_parameters_differ(
    passwords: Argon2Passwords, memory_cost: int, time_cost: int, outdated: bool
) -> None:
    other = Argon2Passwords(memory_cost=memory_cost, time_cost=time_cost)

    assert passwords.is_outdated(other.hash(PASSWORD)) is outdated
