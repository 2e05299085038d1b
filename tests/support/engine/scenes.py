"""Rounds directed at one condition of the store, which decides the race.

Most are rounds of the mix with their own plan. The others concern what the mix does not
touch: accounts without a user, API keys, budgets, limits.
"""

import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

from anonauth.domain.budgets import Counter
from anonauth.domain.encoding import identity_key
from anonauth.domain.events import ExpiryScan
from anonauth.domain.identities import Identity, IdentityRecord
from anonauth.domain.providers import USERPASS
from anonauth.errors import (
    ApiKeyNameTaken,
    ApiKeyNotFound,
    AuthError,
    LoginKeySpent,
    NoSuchSession,
    SessionNotFound,
)
from anonauth.store import Store
from anonauth.usecases.login import OpenedSession
from support.contracts.store_contract import (
    APP,
    DAY,
    NOW,
    SECOND,
    a_permanent_user,
    a_session,
)
from support.engine.accounts import (
    NEW,
    OLD,
    Outbox,
    a_mail_token,
    accounts_of,
    an_account,
    by_password,
    reset,
)
from support.engine.mix import CUSTOM, LONG_AGO, Mix, Plan, coming_late
from support.engine.oracle import assert_explained
from support.engine.racing import (
    CALLERS,
    Service,
    a_subject,
    assert_items_whole,
    counted_updates,
    race,
    refusals,
)


@dataclass(frozen=True)
class Stage:
    """The surroundings of a scene."""

    service: Service
    mix: Mix
    dice: random.Random


Scene = Callable[[Stage], None]
"""Plays one round, and fails if its outcome is not allowed."""

Calls = list[Callable[[], object]]


def plays(plan: Plan) -> Scene:
    """Return the scene that plays a round of the mix by this plan."""

    def scene(stage: Stage) -> None:
        played = stage.mix.play(plan, stage.dice)
        assert_explained(played, stage.service.items())

    return scene


def one_day_one_write(stage: Stage) -> None:
    guest = stage.service.log_in()
    with counted_updates(stage.service.store) as statuses:
        race(*[partial(stage.service.refresh, guest, NOW + DAY)] * CALLERS)
    assert statuses.count(200) == 1, statuses


def log_in_by_one_key(stage: Stage) -> None:
    """Tabs that start at once, or a request that is repeated: one guest."""
    service = stage.service
    log_in = partial(service.log_in, login_key=secrets.token_urlsafe(32))
    outcomes = race(*[log_in] * CALLERS)
    assert refusals(outcomes) == []
    opened = [cast("OpenedSession", each) for each in outcomes]
    assert len({(each.user.id, each.session.id) for each in opened}) == 1, opened
    assert len(service.items("USER#")) == len(service.items("ONCE#")) == 1
    for each in opened:
        assert isinstance(service.refresh(each, NOW), str)
    assert_items_whole(service.items())


def log_in_late_by_one_key(stage: Stage, *, end: str) -> None:
    """Duplicates of a login while its guest is ended: it does not come back."""
    service = stage.service
    key = secrets.token_urlsafe(32)
    first = service.log_in(login_key=key)
    ends: dict[str, Callable[[], object]] = {
        "log out": partial(service.log_out, first, NOW),
        "delete": partial(service.delete, first, NOW),
    }
    log_in = partial(service.log_in, login_key=key)
    calls: Calls = [coming_late(service, stage.dice.choice((0, 0, 1, 2)), log_in)] * (
        CALLERS - 1
    )
    ended, *outcomes = race(ends[end], *calls)
    assert ended is None
    for each in outcomes:
        if isinstance(each, AuthError):
            assert type(each) is LoginKeySpent, outcomes
        else:
            assert cast("OpenedSession", each).session.id == first.session.id
    assert service.items("USER#") == []
    assert_items_whole(service.items())


def log_in_by_one_key_as_it_ends(stage: Stage) -> None:
    """Clocks differ on whether the day of the key is over: one more guest at most."""
    service = stage.service
    key = secrets.token_urlsafe(32)
    first = service.log_in(NOW, login_key=key)
    over = NOW + DAY
    calls: Calls = [
        partial(service.log_in, now, login_key=key)
        for now in (over, over - SECOND) * (CALLERS // 2)
    ]
    outcomes = race(*calls)
    assert refusals(outcomes) == []
    ids = [cast("OpenedSession", each).user.id for each in outcomes]
    (second,) = set(ids) - {first.user.id}
    assert ids[::2] == [second] * (CALLERS // 2), ids
    assert len(service.items("USER#")) == 2
    assert_items_whole(service.items())


def log_out_by_a_clock_ahead(stage: Stage) -> None:
    """The first call finds an expired guest, the second a guest just refreshed."""
    service = stage.service
    guest = service.log_in(LONG_AGO)
    end = guest.user.expires_at
    assert end is not None
    calls: Calls = [partial(service.log_out, guest, end)] * (CALLERS - 1)
    race(*calls, partial(service.refresh, guest, end - SECOND))
    assert_items_whole(service.items())


def end_the_sessions_of_each_other(stage: Stage) -> None:
    """Two devices end each other and are used; each session ends once, or never."""
    service, credential = stage.service, {"token": a_subject()}
    one, other = (service.log_in_by(CUSTOM, credential) for _ in range(2))
    ends: Calls = [partial(service.end, one, other.session.id)] * 3
    ends += [partial(service.end, other, one.session.id)] * 3
    outcomes = race(
        *ends, *[partial(service.refresh, each, NOW + DAY) for each in (one, other)]
    )
    ended = [outcomes[:3].count(None), outcomes[3:6].count(None)]
    assert max(ended) == 1, outcomes
    refused = {type(refusal) for refusal in refusals(outcomes)}
    assert refused <= {NoSuchSession, SessionNotFound}, outcomes
    user = service.store.get_user(APP, one.user.id)
    assert user is not None
    left = {s.id for s, by in ((other.session, 0), (one.session, 1)) if not ended[by]}
    assert set(user.sessions) == left, outcomes
    assert_items_whole(service.items())


def come_back_to_a_lost_user(stage: Stage) -> None:
    """All its identities log in at once: one makes it again, and none is left out."""
    service = stage.service
    subjects = [a_subject() for _ in range(3)]
    guest = service.log_in()
    for subject in subjects:
        service.link(guest, CUSTOM, {"token": subject})
    item = service.item(guest)
    assert item is not None
    service.drop([item])
    log_ins = [partial(service.log_in_by, CUSTOM, {"token": each}) for each in subjects]
    calls: Calls = [*log_ins, *log_ins, *log_ins[:2]]
    outcomes = race(*calls)
    assert refusals(outcomes) == []
    after = service.store.get_user(APP, guest.user.id)
    assert after is not None
    assert sorted(i.id for i in after.identities) == sorted(subjects)
    opened = {cast("OpenedSession", each).session.id for each in outcomes}
    assert set(after.sessions) == opened
    assert_items_whole(service.items())


def log_in_at_the_limit(
    stage: Stage, *, sessions: int, logins: int = 4, guests: int = 0
) -> None:
    """All log in to a user with this many sessions; there are never more than 32.

    The `guests` are brought along, each by a login more.
    """
    subject = a_subject()
    entry = Identity(subject, CUSTOM, identity_key(subject))
    open_before = [
        replace(
            a_session(expires_at=NOW + 60 * DAY),
            provider=CUSTOM,
            identity_key=entry.key,
        )
        for _ in range(sessions)
    ]
    user = replace(a_permanent_user(*open_before), identities=(entry,))
    service = stage.service
    verified = service.find(APP, CUSTOM)
    assert verified is not None
    identity = verified.verify({"token": subject}, network="", now=NOW)
    assert service.store.create_linked_user(user, identity, NOW)
    log_in = partial(service.log_in_by, CUSTOM, {"token": subject})
    merges = [partial(log_in, guest=service.log_in()) for _ in range(guests)]
    race(*merges, *[log_in] * logins)
    assert_items_whole(service.items())


def display_data_of_a_deleted_user(stage: Stage) -> None:
    """A login brings new data of an identity; its user is deleted meanwhile."""
    service = stage.service
    subject = a_subject()
    opened = service.log_in_by(CUSTOM, {"token": subject})
    news = {"token": subject, "name": "Ada"}
    calls: Calls = [partial(service.delete, opened, NOW)]
    race(partial(service.log_in_by, CUSTOM, news), *calls)
    assert_items_whole(service.items())


def make_api_keys_of_one_name(stage: Stage) -> None:
    service = stage.service
    opened = service.log_in_by(CUSTOM, {"token": a_subject()})
    outcomes = race(*[partial(service.create_api_key, opened, "ci", NOW)] * 4)
    refused = [type(refusal) for refusal in refusals(outcomes)]
    assert refused == [ApiKeyNameTaken] * 3, outcomes
    assert_items_whole(service.items())


def _key_calls(service: Service) -> tuple[Callable[[], object], Callable[[], object]]:
    """Make a key; return the calls that delete it and disable it."""
    opened = service.log_in_by(CUSTOM, {"token": a_subject()})
    key, _ = service.create_api_key(opened, "ci", NOW)
    return (
        partial(service.delete_api_key, opened, key.id),
        partial(service.disable_api_key, opened, key.id),
    )


def delete_one_api_key(stage: Stage) -> None:
    delete, _ = _key_calls(stage.service)
    outcomes = race(*[delete] * 4)
    refused = [type(refusal) for refusal in refusals(outcomes)]
    assert refused == [ApiKeyNotFound] * 3, outcomes
    assert_items_whole(stage.service.items())


def disable_a_key_while_it_is_deleted(stage: Stage) -> None:
    delete, disable = _key_calls(stage.service)
    deleted, *disabled = race(delete, *[disable] * 3)
    assert deleted is None
    assert {type(refusal) for refusal in refusals(disabled)} <= {ApiKeyNotFound}
    assert_items_whole(stage.service.items())


def spend_a_budget(stage: Stage) -> None:
    counter = Counter(a_subject(), 3, NOW + DAY)
    spent = race(*[partial(stage.service.store.spend, counter)] * CALLERS)
    assert spent.count(True) == 3, spent


def give_a_budget_back(stage: Stage) -> None:
    counter = Counter(a_subject(), 3, NOW + DAY)
    assert stage.service.store.spend(counter)
    race(*[partial(stage.service.store.give_back, counter)] * CALLERS)
    (item,) = stage.service.items(f"RATE#{counter.name}")
    assert int(item["number"]["N"]) == 0, item


@dataclass(frozen=True)
class Pausing:
    """A store for a reset that waits for some reads before its second write."""

    service: Service
    reads: int

    def __getattr__(self, name: str) -> Any:
        return getattr(self.service.store, name)

    def reset_password(self, *args: Any, **kwargs: Any) -> bool:
        """Wait as long as other callers need to log in and to make a key."""
        write = partial(self.service.store.reset_password, *args, **kwargs)
        done: Any = coming_late(self.service, self.reads, write)()
        return bool(done)


def make_api_keys_between_the_writes_of_a_reset(stage: Stage) -> None:
    """An intruder has lost its sessions, opens new ones and makes keys with them."""
    service = stage.service
    token, kept = a_mail_token()
    address = Address(an_account(service, reset=kept), token)
    credential = by_password(address.email)
    opened = service.log_in_by(USERPASS, credential)
    name = iter(range(1000))

    def get_in_again() -> None:
        for _ in range(4):
            again = service.log_in_by(USERPASS, credential)
            service.create_api_key(again, f"key-{next(name)}", NOW)

    pausing = Pausing(service, stage.dice.choice((4, 6, 8, 10)))
    accounts = replace(accounts_of(service), store=cast("Store", pausing))
    calls: Calls = [get_in_again] * 3
    was_reset, *_ = race(
        partial(reset, service, address.record.key, token, accounts), *calls
    )
    assert was_reset is None
    user = service.store.get_user(APP, opened.user.id)
    assert user is not None
    assert (user.sessions, user.api_keys) == ({}, {})
    assert_items_whole(service.items())


@dataclass(frozen=True)
class Address:
    """A registered address, and the token of the mail that was sent to it."""

    record: IdentityRecord
    token: str

    @property
    def email(self) -> str:
        return str(self.record.data["email"])


def _a_pending_address(service: Service) -> Address:
    token, kept = a_mail_token()
    return Address(an_account(service, state="pending", confirmation=kept), token)


def _confirm(service: Service, address: Address) -> Callable[[], object]:
    return partial(
        accounts_of(service).confirm,
        token=address.token,
        token_id=address.record.key,
        now=NOW,
    )


def _register(service: Service, address: Address, password: str) -> Calls:
    return [
        partial(
            accounts_of(service).register,
            email=address.email,
            password=password,
            network="",
            now=NOW,
        )
    ]


def register_one_address(stage: Stage) -> None:
    """Each registration sees all earlier ones: each is a version, and contested."""
    service = stage.service
    address = _a_pending_address(service)
    calls: Calls = []
    for password in (OLD, OLD, NEW, "newer"):
        calls += _register(service, address, password)
    outcomes = race(*calls)
    assert refusals(outcomes) == []
    record = service.record(USERPASS, address.email)
    assert record is not None
    assert record.version == 1 + len(calls), record
    assert record.contested


def register_while_it_is_confirmed(stage: Stage) -> None:
    """One of the two is first, and then the other is refused."""
    service = stage.service
    address = _a_pending_address(service)
    confirm = _confirm(service, address)
    calls: Calls = [coming_late(service, reads, confirm) for reads in (0, 1, 2, 3)]
    calls = calls[stage.dice.choice((0, 1, 2)) :]
    *confirmed, registered = race(*calls, *_register(service, address, NEW))
    is_registered = not isinstance(registered, AuthError)
    expected = len(calls) if is_registered else 0
    assert len(refusals(confirmed)) == expected, confirmed
    record = service.record(USERPASS, address.email)
    assert record is not None
    assert record.password_hash == (NEW if is_registered else OLD)
    assert_items_whole(service.items())


def resend_while_it_is_confirmed(stage: Stage) -> None:
    """A token that was replaced confirms nothing."""
    service = stage.service
    address = _a_pending_address(service)
    resend = partial(
        accounts_of(service).resend_confirmation,
        email=address.email,
        network="",
        now=NOW,
    )
    calls: Calls = [resend] * 3
    *resent, confirmed = race(*calls, _confirm(service, address))
    is_confirmed = not isinstance(confirmed, AuthError)
    assert len(refusals(resent)) == (3 if is_confirmed else 0), (resent, confirmed)


def confirm_while_it_is_bound(stage: Stage) -> None:
    """A mail is opened twice, by a scanner and its reader, who logs in meanwhile."""
    service = stage.service
    address = _a_pending_address(service)
    confirm = _confirm(service, address)
    confirm()
    log_in = partial(service.log_in_by, USERPASS, by_password(address.email))
    calls: Calls = [log_in] * 2
    outcomes = race(*calls, *[confirm] * (CALLERS - 2))
    assert refusals(outcomes) == []
    assert_items_whole(service.items())


def ask_for_a_reset_while_one_is_done(stage: Stage) -> None:
    """The latest mail counts, unless its account no longer exists."""
    service = stage.service
    token, kept = a_mail_token()
    address = Address(an_account(service, reset=kept), token)
    outbox = Outbox()
    ask = partial(
        accounts_of(service, outbox).send_reset,
        email=address.email,
        network="",
        now=NOW,
    )
    use = partial(reset, service, address.record.key, token)
    calls: Calls = [coming_late(service, reads, use) for reads in (0, 1, 1, 2)]
    asked, *_ = race(ask, *calls)
    assert asked is None
    reset(service, address.record.key, outbox.tokens[-1])
    assert_items_whole(service.items())


def ask_for_a_reset_of_a_deleted_user(stage: Stage) -> None:
    service = stage.service
    email = an_account(service).data["email"]
    opened = service.log_in_by(USERPASS, by_password(email))
    ask = partial(accounts_of(service).send_reset, email=email, network="", now=NOW)
    calls: Calls = [ask] * 3
    race(partial(service.delete, opened, NOW), *calls)
    assert_items_whole(service.items())


def hash_anew_while_it_is_reset(stage: Stage) -> None:
    """A login that hashes the old password again must not bring it back."""
    service = stage.service
    token, kept = a_mail_token()
    record = an_account(service, reset=kept)
    renew = partial(service.store.replace_password_hash, record, OLD)
    calls: Calls = [coming_late(service, reads, renew) for reads in (0, 1, 2, 3)]
    race(partial(reset, service, record.key, token), *calls)
    after = service.record(USERPASS, record.data["email"])
    assert after is not None
    assert after.password_hash == NEW


def note_a_network_while_it_is_reset(stage: Stage) -> None:
    """A login with the old password must not leave its network behind."""
    service = stage.service
    token, kept = a_mail_token()
    record = an_account(service, reset=kept)
    note = partial(service.store.remember_networks, record, {"theirs": NOW.date()})
    calls: Calls = [coming_late(service, reads, note) for reads in (0, 1, 2, 3)]
    race(partial(reset, service, record.key, token), *calls)
    after = service.record(USERPASS, record.data["email"])
    assert after is not None
    assert after.networks == {}


def save_one_scan(stage: Stage) -> None:
    """Two runs of a schedule: one of them gets the remaining segments."""
    store = stage.service.store
    for version in (1, 2):
        scan = ExpiryScan(version, None, NOW.date(), {0: ""})
        saved = race(*[partial(store.save_expiry_scan, scan)] * CALLERS)
        assert saved.count(True) == 1, saved
