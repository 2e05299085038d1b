"""The modules that are mutated, and the tests that must notice each mutation.

Only the fast tests of a module run: a reader would look for the check there, and a
mutant then takes a second.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """A file of `functions/anonauth`, its tests in `tests/unit`, and a bar in %."""

    file: str
    tests: tuple[str, ...]
    bar: int = 90


def _use_case(module: str, *tests: str) -> tuple[str, Part]:
    return f"usecases/{module}", Part(f"usecases/{module}.py", tests)


def _domain(module: str, *tests: str) -> tuple[str, Part]:
    return f"domain/{module}", Part(f"domain/{module}.py", tests)


def _store(module: str, *tests: str) -> tuple[str, Part]:
    return f"store/{module}", Part(f"store/{module}.py", tests, bar=100)


PARTS: Mapping[str, Part] = {
    "tokens": Part("tokens.py", ("test_tokens.py",), bar=100),
    "cached_copy": Part(
        "cached_copy.py", ("test_keys.py", "provider_settings/test_ssm.py")
    ),
    "backoff": Part("backoff.py", ("store/test_store.py",)),
    "keys": Part("keys.py", ("test_keys.py", "usecases/test_key_ring.py"), bar=100),
    **dict(
        [
            _store("conditions", "store/test_store.py"),
            _store("users", "store/test_store.py"),
            _store("identities", "store/test_store.py"),
            _store("accounts", "store/test_store.py"),
            _store("api_keys", "store/test_store.py"),
            _store("expiring", "store/test_expiring.py", "store/test_store.py"),
            _store("login_keys", "store/test_store.py", "usecases/test_login_keys.py"),
            _store("merges", "store/test_store.py", "usecases/test_merge.py"),
            _store("ring", "store/test_store.py"),
            _store("table", "store/test_store.py"),
            _store(
                "items",
                "store/test_store.py",
                "usecases/test_operator.py",
                "usecases/test_events.py",
            ),
            _store("scans", "store/test_store.py", "usecases/test_operator.py"),
            _store("overview", "store/test_store.py"),
            _store("restoring", "store/test_restoring.py", "store/test_store.py"),
            _store(
                "changes",
                "usecases/test_events.py",
                "store/test_expiring.py",
                "store/test_store.py",
            ),
        ]
    ),
    **dict(
        [
            _domain("users", "domain/test_users.py", "store/test_store.py"),
            _domain("identities", "domain/test_identities.py", "store/test_store.py"),
            _domain("expiry", "domain/test_encoding.py", "domain/test_expiry.py"),
            _domain("signing_keys", "domain/test_signing_keys.py", "test_keys.py"),
            _domain("events", "usecases/test_expiring.py"),
            _domain("budgets", "domain/test_budgets.py", "store/test_store.py"),
            _domain("claims", "test_tokens.py"),
            _domain("mail_texts", "usecases/test_mails.py"),
            _domain("encoding", "domain/test_encoding.py"),
            _domain("restoring", "domain/test_restoring.py"),
        ]
    ),
    **dict(
        [
            _use_case(
                "_authenticate",
                "usecases/test_session.py",
                "usecases/test_profile.py",
                "usecases/test_link.py",
                "usecases/test_provider_login.py",
                "service/test_takeover.py",
            ),
            _use_case(
                "_event_detail", "usecases/test_events.py", "usecases/test_expiring.py"
            ),
            _use_case("_retry", "usecases/test_giving_up.py"),
            _use_case("account_mail", "usecases/test_mails.py"),
            _use_case("admission", "usecases/test_admission.py"),
            _use_case(
                "api_keys", "usecases/test_api_keys.py", "usecases/test_giving_up.py"
            ),
            _use_case("discovery", "usecases/test_discovery.py"),
            _use_case("expiring", "usecases/test_expiring.py"),
            _use_case(
                "key_ring",
                "test_keys.py",
                "test_metrics.py",
                "usecases/test_key_ring.py",
                "usecases/test_giving_up.py",
            ),
            _use_case(
                "events",
                "usecases/test_events.py",
                "usecases/test_merge.py",
                "test_metrics.py",
                "service/test_lost_users.py",
            ),
            _use_case(
                "credential", "usecases/test_link.py", "usecases/test_provider_login.py"
            ),
            _use_case(
                "link",
                "usecases/test_link.py",
                "service/test_takeover.py",
                "service/test_lost_users.py",
                "usecases/test_giving_up.py",
            ),
            _use_case(
                "provider_login",
                "usecases/test_provider_login.py",
                "usecases/test_merge.py",
                "usecases/test_link.py",
                "usecases/test_giving_up.py",
                "service/test_lost_users.py",
            ),
            _use_case(
                "login",
                "usecases/test_login.py",
                "usecases/test_login_keys.py",
                "usecases/test_admission.py",
            ),
            _use_case("merge", "usecases/test_merge.py"),
            _use_case("logout", "usecases/test_logout.py"),
            _use_case(
                "sessions", "usecases/test_sessions.py", "handlers/test_authorizer.py"
            ),
            _use_case(
                "operator", "usecases/test_operator.py", "usecases/test_giving_up.py"
            ),
            _use_case("profile", "usecases/test_profile.py"),
            _use_case("restoring", "usecases/test_restoring.py"),
            _use_case(
                "delete", "usecases/test_profile.py", "usecases/test_giving_up.py"
            ),
            _use_case(
                "unlink", "usecases/test_unlink.py", "usecases/test_giving_up.py"
            ),
            _use_case(
                "session", "usecases/test_session.py", "usecases/test_giving_up.py"
            ),
            _use_case(
                "userpass",
                "usecases/test_register.py",
                "usecases/test_confirm.py",
                "usecases/test_reset.py",
                "usecases/test_userpass_calls.py",
                "usecases/test_mails.py",
                "usecases/test_giving_up.py",
                "service/test_lost_users.py",
            ),
        ]
    ),
}


def parts_named(name: str) -> list[str]:
    """Return the parts of a module or package."""
    return [part for part in PARTS if part == name or part.startswith(f"{name}/")]
