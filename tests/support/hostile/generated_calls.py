"""Schemathesis against the served OpenAPI document: it generates the calls."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import schemathesis
from schemathesis import Case, HookContext, Response
from schemathesis.auths import AuthContext
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import Failure
from schemathesis.engine import Status, events, from_schema
from schemathesis.openapi.checks import RejectedPositiveData, UnsupportedMethodResponse

from support.service.harness import Deployment
from support.service.http_api import URL, HttpApi
from support.service.linked import open_session, stored_user

# Calls that schemathesis reports, but that are refused on purpose: they match the
# document, and are refused for their meaning. For each operation the codes of such
# refusals; every other answer with status 400 is a failure.
REFUSED_FOR_THEIR_MEANING: Mapping[str, frozenset[str]] = {
    # The credential of another provider than the path's (a body's schema cannot depend
    # on the path); an API key, a second address, or an eleventh identity to link.
    "link_login": frozenset({"BadRequest", "InvalidParameter", "InternalServerError"}),
    # The last identity, or the anonymous one.
    "profile_unlink": frozenset({"InvalidParameter"}),
    # Tokens of mails that were never sent.
    "userpass_confirm": frozenset({"UserpassTokenInvalid"}),
    "userpass_reset": frozenset({"UserpassTokenInvalid"}),
    "userpass_confirm_send": frozenset({"UserAlreadyConfirmed"}),
    # These calls never succeed.
    "userpass_confirm_call": frozenset({"BadRequest"}),
    "userpass_reset_call": frozenset({"BadRequest"}),
    # The 21st key.
    "api_keys_create": frozenset({"InvalidParameter"}),
}

# These calls end the session of their token, so each has its own user.
ENDS_ITS_SESSION = frozenset({"logout", "profile_delete"})

_TOKENS = {"accessToken": "access_token", "refreshToken": "refresh_token"}


@dataclass
class Tally:
    """The calls that were made, and their results."""

    calls: Counter[str] = field(default_factory=Counter)
    successes: Counter[str] = field(default_factory=Counter)
    checks: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def add(self, event: events.ScenarioFinished) -> None:
        recorder = event.recorder
        labels = {id_: n.value.operation.label for id_, n in recorder.cases.items()}
        self.calls.update(labels.values())
        self.successes.update(
            labels[id_]
            for id_, interaction in recorder.interactions.items()
            if (response := interaction.response) is not None
            and response.status_code == 200
            # Not calls with another method: OPTIONS is good everywhere.
            and response.request.method == labels[id_].partition(" ")[0]
        )
        for id_, nodes in recorder.checks.items():
            for node in nodes:
                self.checks[node.name] += 1
                if node.status is not Status.SUCCESS:
                    self.failures.append(_told(labels[id_], node))


def _told(label: str, node: Any) -> str:
    told = node.failure_info
    if told is None:
        return f"{label}: {node.name}: {node.status}"
    return f"{label}: {node.name}: {told.failure.message}\n{told.code_sample}"


@dataclass(frozen=True)
class Plan:
    """The number of calls, and their content.

    Args:
        seed: A run with the same seed makes the same calls.
        examples: Random calls of each operation, both valid and invalid ones.
        is_thorough: Whether to try all limits one after another, undocumented methods
            and sequences of calls as well.
        words: Likely values by the place of a parameter, such as `body.email`.
    """

    seed: int
    examples: int
    is_thorough: bool
    words: Mapping[str, list[str]]

    def configuration(self) -> SchemathesisConfig:
        # In a fixed order: some words are new in each run, and the seed picks by index.
        any_word = list(
            dict.fromkeys(w for words in self.words.values() for w in words)
        )
        only_if_thorough = {"enabled": self.is_thorough}
        return SchemathesisConfig.from_dict(
            {
                "seed": self.seed,
                "continue-on-failure": True,
                "generation": {
                    "max-examples": self.examples,
                    "database": "none",
                    "no-shrink": True,
                    # For places without a name: in an alternative of a schema.
                    "dictionaries": {
                        "string": {"dictionary": "any", "probability": 0.3}
                    },
                },
                "phases": {
                    "coverage": only_if_thorough,
                    "stateful": only_if_thorough,
                },
                # It would read words from this package that a client cannot know.
                "analysis": {"constants": {"enabled": False}},
                "dictionaries": {
                    "any": {"values": any_word},
                    **{place: {"values": each} for place, each in self.words.items()},
                },
                "parameters": {
                    place: {"dictionary": place, "probability": 0.8}
                    for place in self.words
                },
            }
        )


def call_all(
    service: Deployment, session: Mapping[str, str], plan: Plan, tally: Tally
) -> None:
    """Call all operations with all checks, and add the results to the tally.

    Args:
        session: The answer to the login of a permanent user.
    """
    api = HttpApi(service)
    with api.in_place_of_the_network():
        schema = schemathesis.openapi.from_url(
            f"{URL}/openapi.json", config=plan.configuration()
        )
        schema.hook(filter_failure)
        schema.auth(refresh_interval=None)(_tokens(service, session))
        for event in from_schema(schema).execute():
            match event:
                case events.ScenarioFinished():
                    tally.add(event)
                case events.NonFatalError(label=label, value=error):
                    tally.failures.append(f"{label}: {error!r}")
                case events.FatalError(exception=error):
                    raise error
    tally.failures += api.undocumented


def filter_failure(
    context: HookContext, failure: Failure, case: Case[Any], response: Response
) -> bool:
    """Tell schemathesis whether a finding is a failure."""
    if isinstance(failure, UnsupportedMethodResponse):
        # It wants 405. API Gateway matches method and path together, and its only other
        # route is `$default`, for which the contract has 404. The document's
        # description says so.
        return not _is_refusal(response, 404, {"NotFound"})
    if isinstance(failure, RejectedPositiveData):
        operation = case.operation.definition.raw["operationId"]
        codes = REFUSED_FOR_THEIR_MEANING.get(operation, frozenset())
        return not _is_refusal(response, 400, codes)
    return True


def _is_refusal(
    response: Response, status: int, codes: frozenset[str] | set[str]
) -> bool:
    return response.status_code == status and response.json()["error_code"] in codes


def _tokens(service: Deployment, session: Mapping[str, str]) -> type:
    opened = dict(session)

    class Tokens:
        def get(self, case: Case[Any], context: AuthContext) -> str | None:
            operation = context.operation.definition.raw
            schemes = {name for each in operation["security"] for name in each}
            if not schemes:
                return None
            (kind,) = (_TOKENS[scheme] for scheme in schemes)
            if operation["operationId"] in ENDS_ITS_SESSION:
                token: str = service.log_in()[kind]
                return token
            # After a call that links the address, all its logins are this user's, and
            # the 32nd ends the session.
            if not _is_alive(service, opened):
                opened.update(
                    open_session(service, opened["user_id"], "custom-token", "ada")
                )
            return opened[kind]

        def set(self, case: Case[Any], data: str | None, context: AuthContext) -> None:
            if data is not None:
                case.headers["Authorization"] = f"Bearer {data}"

    return Tokens


def _is_alive(service: Deployment, opened: Mapping[str, str]) -> bool:
    tokens, now = service.services.tokens, service.now
    session_id = tokens.read_refresh_token(opened["refresh_token"], now).session_id
    return session_id in stored_user(service, opened["user_id"]).sessions
