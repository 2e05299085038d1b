"""The modules that are mutated, and the tests that have to notice it.

Only the fast ones that are about a module: what notices a change is then a test that
somebody would look for there, and a mutant takes a second.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """A file of `functions/anonauth`, tests of `tests/unit`, and a bar in percent."""

    file: str
    tests: tuple[str, ...]
    bar: int = 90


def _use_case(module: str, *tests: str) -> tuple[str, Part]:
    return f"usecases/{module}", Part(f"usecases/{module}.py", tests)


def _store(module: str, *tests: str) -> tuple[str, Part]:
    return f"store/{module}", Part(f"store/{module}.py", tests, bar=100)


PARTS: Mapping[str, Part] = {
    "tokens": Part("tokens.py", ("test_tokens.py",), bar=100),
    "keys": Part("keys.py", ("test_keys.py", "test_keys_function.py"), bar=100),
    **dict(
        [
            _store("conditions", "test_store.py"),
            _store("users", "test_store.py"),
            _store("identities", "test_store.py"),
            _store("accounts", "test_store.py"),
            _store("api_keys", "test_store.py"),
            _store("expiring", "test_expiring_store.py", "test_store.py"),
            _store("ring", "test_store.py"),
            _store("table", "test_store.py"),
            _store("items", "test_store.py", "test_operating.py", "test_lifecycle.py"),
            _store("scans", "test_store.py", "test_operating.py"),
            _store("overview", "test_store.py"),
            _store(
                "changes",
                "test_lifecycle.py",
                "test_expiring_store.py",
                "test_store.py",
            ),
        ]
    ),
    "domain": Part(
        "domain.py",
        ("test_domain.py", "test_keys.py", "test_expiring.py", "test_store.py"),
    ),
    **dict(
        [
            _use_case(
                "_authenticate",
                "test_session.py",
                "test_profile.py",
                "test_link.py",
                "test_takeover.py",
            ),
            _use_case("_event_detail", "test_lifecycle.py", "test_expiring.py"),
            _use_case("admission", "test_admission.py"),
            _use_case("api_keys", "test_apikeys.py", "test_giving_up.py"),
            _use_case("discovery", "test_discovery.py"),
            _use_case("expiring", "test_expiring.py"),
            _use_case("key_ring", "test_keys.py", "test_giving_up.py"),
            _use_case("events", "test_lifecycle.py"),
            _use_case("link", "test_link.py", "test_takeover.py", "test_giving_up.py"),
            _use_case("login", "test_login.py", "test_admission.py"),
            _use_case("logout", "test_logout.py"),
            _use_case("mail_texts", "test_userpass.py"),
            _use_case("operator", "test_operating.py", "test_giving_up.py"),
            _use_case(
                "profile", "test_profile.py", "test_unlink.py", "test_giving_up.py"
            ),
            _use_case("session", "test_session.py", "test_giving_up.py"),
            _use_case("userpass", "test_userpass.py", "test_giving_up.py"),
        ]
    ),
}


def parts_named(name: str) -> list[str]:
    """Return the parts that a module, or a package of them, is made of."""
    return [part for part in PARTS if part == name or part.startswith(f"{name}/")]
