"""Schemathesis against the served OpenAPI document: calls that it makes up itself."""

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

# What schemathesis calls wrong and is meant: calls that are as the document describes,
# and are refused for what they mean. By operation, the codes of such refusals; all
# others of status 400 are a failure.
REFUSED_FOR_THEIR_MEANING: Mapping[str, frozenset[str]] = {
    # The credential of another provider than the path's (no schema of a body can depend
    # on a path); an API key, a second address, or an eleventh identity to link.
    "link_login": frozenset({"BadRequest", "InvalidParameter", "InternalServerError"}),
    # The last identity, or the anonymous one.
    "profile_unlink": frozenset({"InvalidParameter"}),
    # Tokens of mails that were never sent.
    "userpass_confirm": frozenset({"UserpassTokenInvalid"}),
    "userpass_reset": frozenset({"UserpassTokenInvalid"}),
    "userpass_confirm_send": frozenset({"UserAlreadyConfirmed"}),
    # These never succeed.
    "userpass_confirm_call": frozenset({"BadRequest"}),
    "userpass_reset_call": frozenset({"BadRequest"}),
    # The 21st key.
    "api_keys_create": frozenset({"InvalidParameter"}),
}

# They end the session of their token, so each call has a user of its own.
ENDS_ITS_SESSION = frozenset({"logout", "profile_delete"})

_TOKENS = {"accessToken": "access_token", "refreshToken": "refresh_token"}


@dataclass
class Tally:
    """What was called, and what came of it."""

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
            # Not of a call by another method: OPTIONS is good everywhere.
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
    """How much is called, and with what.

    Args:
        seed: A run with the same seed makes the same calls.
        examples: Calls that each operation is sent at random, of either kind: those
            that are as the document says, and those that are not.
        is_thorough: Whether all limits are tried too, one after the other, methods that
            are not described, and sequences of calls.
        words: By the place of a parameter, such as `body.email`: what it often is.
    """

    seed: int
    examples: int
    is_thorough: bool
    words: Mapping[str, list[str]]

    def configuration(self) -> SchemathesisConfig:
        # In this order: some are new in each run, and the seed chooses by place.
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
                    # Where a place cannot be named: in an alternative of a schema.
                    "dictionaries": {
                        "string": {"dictionary": "any", "probability": 0.3}
                    },
                },
                "phases": {
                    "coverage": only_if_thorough,
                    "stateful": only_if_thorough,
                },
                # Of this package it would read the words that a client cannot know.
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
    """Call all operations with all checks, and add to the tally what came of it.

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
    """Tell schemathesis whether what it found is one."""
    if isinstance(failure, UnsupportedMethodResponse):
        # It wants 405. API Gateway matches method and path together and knows no other
        # route for it than `$default`, for which the contract has 404; the document's
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
            # A call that links the address makes all its logins those of this user,
            # and the 32nd ends the session.
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
