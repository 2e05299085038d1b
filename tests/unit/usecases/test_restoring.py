"""`UserRestore` on a store in memory: what is read, and what a race changes."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

import pytest

from anonauth.domain.identities import IdentityRecord
from anonauth.domain.restoring import RestorePlan, RestoreRules
from anonauth.domain.users import OwnedIdentity, User
from anonauth.errors import StoreUnavailable
from anonauth.usecases.restoring import UserRestore, find_lost
from support.contracts.identity_contract import (
    a_foreign_identity,
    a_linked_user,
    a_stored_guest,
    a_user_with_account,
    an_api_key,
    lose,
    read,
)
from support.contracts.store_contract import APP, NOW, SECOND, only_session
from support.memory_store import MemoryStore


class Racing(MemoryStore):
    """A store in which something else happens just before a restore writes."""

    def __init__(self) -> None:
        super().__init__()
        self.before: list[Callable[[], object]] = []
        self.is_reply_lost = False

    def restore_user(
        self,
        user: User,
        records: Sequence[IdentityRecord],
        kept: Sequence[IdentityRecord],
        now: datetime,
    ) -> bool:
        if self.before:
            self.before.pop()()
        done = super().restore_user(user, records, kept, now)
        if self.is_reply_lost:
            self.is_reply_lost = False
            raise StoreUnavailable
        return done

    def restore_records(
        self, user: User, records: Sequence[IdentityRecord], now: datetime
    ) -> bool:
        if self.before:
            self.before.pop()()
        return super().restore_records(user, records, now)


@pytest.fixture
def live() -> Racing:
    return Racing()


def back_up(live: MemoryStore) -> MemoryStore:
    backup = MemoryStore()
    backup.users, backup.records = dict(live.users), dict(live.records)
    return backup


def restoring(
    backup: MemoryStore, live: MemoryStore, *owners: OwnedIdentity
) -> UserRestore:
    rules = RestoreRules(guests=True)
    return UserRestore(backup, live, rules, find_lost(live, owners), NOW)


def restore(backup: MemoryStore, live: MemoryStore) -> list[RestorePlan]:
    restore = restoring(backup, live, *live._owners())
    plans = restore.plan(list(backup.users.values()))
    return [restore.carry_out(old, plan) for old, plan in plans]


def test_given_lost_users_when_restored_then_each_has_its_records(
    live: Racing,
) -> None:
    guest = a_stored_guest(live)
    user, _ = a_user_with_account(live, a_foreign_identity())
    assert live.create_api_key(user, only_session(user), an_api_key(), NOW)
    user = read(live, user)
    gone = a_linked_user(live)
    backup = back_up(live)
    assert live.delete_user(gone, only_session(gone), NOW)
    lose(live, guest)
    lose(live, user)
    # One record is lost as well.
    name = next(name for name in live.records if name[1] == "custom-token")
    record = live.records.pop(name)

    told = restore(backup, live)

    assert [plan.outcome for plan in told] == ["restored_guest", "restored", "gone"]
    assert live.users == {
        (APP, guest.id): replace(guest, restored_at=NOW),
        (APP, user.id): replace(user, sessions={}, restored_at=NOW),
    }
    assert live.records[name] == record
    assert len(live.records) == 3


def test_given_owners_when_their_users_are_looked_for_then_the_lost_ones_are_told(
    live: Racing,
) -> None:
    there = a_linked_user(live)
    lost = a_linked_user(live, a_foreign_identity(), a_foreign_identity())
    lose(live, lost)
    owners = live._owners()

    assert find_lost(live, owners) == {
        (APP, lost.id): [
            (APP, each.provider, each.key) for each in lost.usable_identities()
        ]
    }
    assert find_lost(live, []) == {}
    assert read(live, there)


def test_given_a_record_that_names_a_lost_guest_when_restored_then_it_is_listed(
    live: Racing,
) -> None:
    identity = a_foreign_identity()
    user = a_linked_user(live, identity)
    backup = MemoryStore()
    guest = a_stored_guest(backup)
    guest = replace(guest, id=user.id)
    backup.users = {(APP, guest.id): guest}
    lose(live, user)

    (told,) = restore(backup, live)

    assert told.outcome == "restored"
    assert [i.key for i in read(live, user).usable_identities()] == [identity.key]


def test_given_a_live_user_when_its_record_is_lost_then_it_comes_back(
    live: Racing,
) -> None:
    user = a_linked_user(live)
    backup = back_up(live)
    records = dict(live.records)
    live.records.clear()

    (told,) = restore(backup, live)

    assert (told.outcome, live.records) == ("completed", records)
    assert read(live, user) == user


def test_given_an_expired_live_record_when_restored_then_the_backups_replaces_it(
    live: Racing,
) -> None:
    user = a_linked_user(live)
    backup = back_up(live)
    ((name, record),) = live.records.items()
    lose(live, user)
    live.records[name] = replace(record, state="pending", user_id=None, expires_at=NOW)

    (told,) = restore(backup, live)

    assert (told.outcome, live.records) == ("restored", {name: record})


def test_given_a_user_that_comes_back_by_itself_meanwhile_when_restored_then_it_stays(
    live: Racing,
) -> None:
    user = a_linked_user(live)
    backup = back_up(live)
    lose(live, user)
    again = replace(user, version=9)
    live.before = [lambda: live.create_user(again)]

    (told,) = restore(backup, live)

    assert told.outcome == "present"
    assert read(live, user) == again


def test_given_an_identity_taken_meanwhile_when_restored_then_it_is_decided_anew(
    live: Racing,
) -> None:
    first, second = a_foreign_identity(), a_foreign_identity()
    user = a_linked_user(live, first, second)
    backup = back_up(live)
    live.users.clear()
    live.records.clear()
    live.before = [lambda: a_linked_user(live, first)]

    (told,) = restore(backup, live)

    assert told.outcome == "restored"
    assert [conflict.reason for conflict in told.conflicts] == ["another user has it"]
    assert [i.key for i in read(live, user).usable_identities()] == [second.key]


def test_given_a_live_user_that_unlinks_meanwhile_when_restored_then_it_stays_so(
    live: Racing,
) -> None:
    user = a_linked_user(live)
    backup = back_up(live)
    live.records.clear()
    changed = replace(user, identities=user.identities[:1], version=user.version + 1)
    live.before = [lambda: live.users.update({(APP, user.id): changed})]

    (told,) = restore(backup, live)

    assert (told.outcome, live.records) == ("present", {})


def test_given_a_lost_reply_when_repeated_then_the_user_counts_as_restored(
    live: Racing,
) -> None:
    guest = a_stored_guest(live)
    backup = back_up(live)
    lose(live, guest)
    restore = restoring(backup, live)
    ((old, plan),) = restore.plan([guest])
    live.is_reply_lost = True
    with pytest.raises(StoreUnavailable):
        restore.carry_out(old, plan)

    assert restore.carry_out(old, plan) == plan
    # A run at another time finds a user that is there.
    later = replace(restore, now=NOW + SECOND)
    assert later.carry_out(old, plan).outcome == "present"


def test_given_a_lost_reply_when_a_new_user_is_repeated_then_it_counts_as_written(
    live: Racing,
) -> None:
    """Nothing in its item says that an operator wrote it."""
    user = a_linked_user(live)
    backup = back_up(live)
    live.users.clear()
    live.records.clear()
    restore = replace(restoring(backup, live), rules=RestoreRules(tells_created=True))
    ((old, plan),) = restore.plan([user])
    live.is_reply_lost = True
    with pytest.raises(StoreUnavailable):
        restore.carry_out(old, plan)

    assert restore.carry_out(old, plan) == plan
    # A user that a login has made under the id meanwhile is not the one of the plan.
    live.users[APP, user.id] = replace(
        read(live, user), created_at=NOW + SECOND, made_again="open"
    )
    assert restore.carry_out(old, plan).outcome == "present"


def test_given_somebody_faster_each_time_when_restored_then_it_gives_up(
    live: Racing,
) -> None:
    user = a_linked_user(live)
    backup = back_up(live)
    ((name, record),) = live.records.items()
    lose(live, user)

    def change() -> None:
        version = live.records[name].version + 1
        live.records[name] = replace(record, version=version)

    live.before = [change] * 9

    with pytest.raises(StoreUnavailable):
        restore(backup, live)

    assert live.users == {}
