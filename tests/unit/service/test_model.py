"""The service compared with its model, in random runs of everything clients can do.

`MODEL_RUNS=3000 MODEL_SEED=7` makes more runs, and other ones. A failure names its
seed, and prints the shortest story that Hypothesis finds. `MODEL_FAULTS=all` puts more
faults into the service for the model to see.
"""

import os
from collections.abc import Callable
from types import FunctionType
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from anonauth.domain.expiry import expiry_after
from anonauth.domain.users import Session, User, user_after_merge
from anonauth.providers.custom_token import CustomToken
from anonauth.providers.local_userpass import LocalUserpass
from anonauth.store import Store
from anonauth.tokens import _check_expiry
from anonauth.usecases._authenticate import (
    Authenticator,
    _is_before_link,
    _require_fresh,
    refuse_api_key,
)
from anonauth.usecases.credential import require_room
from anonauth.usecases.link import IdentityLinking, _check_owner
from anonauth.usecases.logout import Logout
from anonauth.usecases.unlink import IdentityUnlinking, _find_identity
from support.hostile.faults import replace_line
from support.model.machine import Machine
from support.model.stage import Stage
from support.service.harness import Deployment

STEPS = 50
MOST_RUNS_TO_SEE_A_FAULT = 300  # most are seen in ten
# fmt: off
FAULTS = [
    pytest.param(User.is_expired, "self.expires_at <= now", "False", id="dead let in"),
    pytest.param(
        Authenticator._read_access, "user.live_session(claims.session_id, now)",
        "next(iter(user.sessions.values()), None)", id="any session will do",
    ),
    pytest.param(
        Store.record_activity, "UserItem.expires_at.set(expires_at),", "",
        id="expiry not pushed",
    ),
    pytest.param(
        Store.link_identity, "UserItem.ttl.remove(),", "", id="link keeps the TTL"
    ),
    pytest.param(
        Store._bind, "condition=unclaimed", "condition=None", id="identity stolen"
    ),
    pytest.param(
        IdentityLinking.link, "user.app != request.app", "False",
        id="token of another app",
    ),
    pytest.param(
        Store.delete_user,
        "self._delete_records(transaction, user, user.usable_identities())", "pass",
        id="identities outlive their user",
    ),
    pytest.param(
        Store.end_session, "session_is_there & is_anonymous", "session_is_there",
        id="logout deletes permanent users",
    ),
    pytest.param(
        Logout.log_out_everywhere,
        "self.users.end_sessions(user.app, user.id, now) is not None",
        "self.users.end_session(claims, now)", id="everywhere is only here",
    ),
    pytest.param(
        Store.absorb_guest, "self._release_mark(transaction, user, dropped, now)",
        "pass", id="a former id falls off and is marked for good",
    ),
]
MORE_FAULTS = [
    pytest.param(
        User.is_expired, "self.expires_at <= now", "self.expires_at < now",
        id="alive in the second after",
    ),
    pytest.param(expiry_after, " + _GRACE", "", id="dead an hour early"),
    pytest.param(Session.is_expired, "<= now", "< now", id="session a second late"),
    pytest.param(
        Store.create_user_once, "condition=unused | over", "condition=None",
        id="a login key makes two guests",
    ),
    pytest.param(
        Store.create_user_once, "OnceItem.expires_at <= now",
        "OnceItem.expires_at < now", id="a login key a second too long",
    ),
    pytest.param(
        user_after_merge, "len(former) > MOST_FORMER_IDS",
        "len(former) >= MOST_FORMER_IDS", id="a former id is let go, and listed",
    ),
    pytest.param(
        user_after_merge, "former[-MOST_FORMER_IDS:]", "former[:MOST_FORMER_IDS]",
        id="the newest former id falls off",
    ),
    pytest.param(
        _is_before_link, "claims.anonymous and not user.anonymous", "False",
        id="a guest's token as good as a permanent user's",
    ),
    pytest.param(
        _require_fresh, "claims.issued_at + FRESH_FOR <= now", "False",
        id="an old token deletes and links",
    ),
    pytest.param(
        _require_fresh, "<= now", "< now", id="a token young for a second more"
    ),
    pytest.param(
        refuse_api_key, "session.provider == API_KEY", "False",
        id="a key changes its user",
    ),
    pytest.param(
        _check_expiry, '_seconds(claims, "exp") + skew <= at', "False",
        id="old access token",
    ),
    pytest.param(
        Store.record_activity, "expires_at + SWEEP_DELAY", "expires_at",
        id="no day before the TTL",
    ),
    pytest.param(
        _check_owner, "record.user_id not in {None, user.id}", "False",
        id="address of another user",
    ),
    pytest.param(
        require_room, ">= MOST_IDENTITIES", "> MOST_IDENTITIES", id="eleven identities"
    ),
    pytest.param(
        CustomToken.verify, "claims.check_audience(settings.audience or (self._app,))",
        "pass", id="JWT for another app",
    ),
    pytest.param(
        LocalUserpass.verify, "record.knows(networks[0])", "False",
        id="known networks are locked out",
    ),
    pytest.param(
        LocalUserpass.verify, "failed.number >= self._limits.consecutive", "False",
        id="guesses without end",
    ),
    pytest.param(
        User.sessions_to_end, "max(len(of_keys) + by_key - MOST_API_KEY_SESSIONS, 0)",
        "0", id="sessions of API keys without end",
    ),
    pytest.param(
        IdentityUnlinking.unlink, "user.usable_identities() == [identity]", "False",
        id="last identity unlinked",
    ),
    pytest.param(
        _find_identity, "len(found) > 1", "False", id="one issuer's for another's"
    ),
]
# fmt: on
if os.environ.get("MODEL_FAULTS") == "all":
    FAULTS += MORE_FAULTS


def play(stage: Stage, runs: int, phases: tuple[Phase, ...], dice: int) -> None:
    """Play runs, the same ones each time for a seed.

    Raises:
        AssertionError: Something was not as the model told it.
    """
    machine = cast("type[RuleBasedStateMachine]", lambda: Machine(stage))
    run_state_machine_as_test(
        seed(dice)(machine),
        settings=settings(
            max_examples=runs,
            stateful_step_count=STEPS,
            phases=phases,
            database=None,
            deadline=None,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.fixture
def stage(service: Deployment, sent: list[Any]) -> Stage:
    return Stage(service, sent)


def test_given_some_lives_when_lived_then_each_answer_is_as_the_model_says(
    stage: Stage,
) -> None:
    play(stage, 2, (Phase.generate,), dice=1)

    assert stage.runs >= 2


@pytest.mark.long
def test_given_many_lives_when_lived_then_each_answer_is_as_the_model_says(
    stage: Stage, record_property: Callable[[str, object], None]
) -> None:
    dice = int(os.environ.get("MODEL_SEED", "1"))
    runs = int(os.environ.get("MODEL_RUNS", "300"))
    record_property("seed", f"MODEL_SEED={dice}, {runs} runs of {STEPS} steps")

    play(stage, runs, (Phase.generate, Phase.shrink), dice)

    record_property("figures", stage.figures())
    stage.assert_not_vacuous()


@pytest.mark.long
@pytest.mark.parametrize(("function", "line", "instead"), FAULTS)
def test_given_a_service_with_a_fault_when_played_then_the_model_sees_it(
    function: FunctionType,
    line: str,
    instead: str,
    stage: Stage,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    replace_line(monkeypatch, function, line, instead)

    with pytest.raises(AssertionError):
        play(stage, MOST_RUNS_TO_SEE_A_FAULT, (Phase.generate,), dice=1)

    record_property("figures", f"{function.__qualname__}: seen in run {stage.runs}")
