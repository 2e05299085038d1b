"""Restoring users from a backup, for an operator."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from anonauth.domain.identities import IdentityRecord
from anonauth.domain.restoring import (
    LiveState,
    RecordName,
    RestorePlan,
    RestoreRules,
    UserName,
    plan_restore,
    record_names,
)
from anonauth.domain.users import OwnedIdentity, User
from anonauth.ports import RecordSource, RestoreStore
from anonauth.usecases._retry import decisions


def find_lost(
    live: RestoreStore, owners: Iterable[OwnedIdentity]
) -> dict[UserName, list[RecordName]]:
    """Return the users that identities name but the table does not have.

    Returns:
        The names of the records that name each of them.
    """
    named: dict[UserName, list[RecordName]] = {}
    for each in owners:
        record = (each.app, each.provider, each.key)
        named.setdefault((each.app, each.user_id), []).append(record)
    there = live.get_users(named.keys())
    return {user: records for user, records in named.items() if user not in there}


@dataclass(frozen=True, slots=True)
class UserRestore:
    """Brings the users of a backup back to the live table.

    Args:
        backup: Has the records of the users to restore.
        lost: Result of `find_lost` on the live table.
        now: Aware UTC time of the restore, in whole seconds. Users that are restored
            keep it.
    """

    backup: RecordSource
    live: RestoreStore
    rules: RestoreRules
    lost: Mapping[UserName, Sequence[RecordName]]
    now: datetime

    def plan(self, users: Sequence[User]) -> list[tuple[User, RestorePlan]]:
        """Return each user of the backup and what is to become of it.

        Args:
            users: Users of the backup, whole.

        Raises:
            StoreUnavailable: Nothing was written. Repeat.
        """
        names = [(user.app, user.id) for user in users]
        merges = self.rules.merges
        former = [(u.app, each) for u in users for each in merges.former_ids(u)]
        there = self.live.get_users({*names, *former})
        missing = [user for user in users if (user.app, user.id) not in there]
        gone = self.live.marks_of(missing)
        wanted = {
            name: self._wanted_records(user, there.get(name))
            for name, user in zip(names, users, strict=True)
        }
        of_all = {record for of_user in wanted.values() for record in of_user}
        live = self.live.get_records(of_all)
        # A live record that has expired is replaced, too.
        needed = [r for r in of_all if _is_missing(live, r, self.now)]
        backup = self.backup.get_records(needed)
        plans: list[tuple[User, RestorePlan]] = []
        for name, user in zip(names, users, strict=True):
            state = LiveState(
                is_there=name in there,
                user=there.get(name),
                is_gone=name in gone,
                records={r: live[r] for r in wanted[name] if r in live},
                guests=[i for i in merges.former_ids(user) if (user.app, i) in there],
            )
            plan = plan_restore(user, backup, state, self.rules, self.now)
            plans.append((user, plan))
        return plans

    def carry_out(self, old: User, plan: RestorePlan) -> RestorePlan:
        """Write what a plan says, in one transaction, and return what became of it.

        If the live table has changed since the plan was made, another plan is made.
        The call can be repeated.

        Raises:
            StoreUnavailable: The user may be restored or not. Repeat.
        """
        for _ in decisions():
            if self._write(plan):
                break
            ((_, again),) = self.plan([old])
            if again.outcome == "present" and self._has_written(plan, again.user):
                break  # our own write, whose reply was lost
            plan = again
        return plan

    def _write(self, plan: RestorePlan) -> bool:
        if plan.user is None or plan.outcome == "present":
            return True
        if plan.outcome == "completed":
            return self.live.restore_records(plan.user, plan.records, self.now)
        return self.live.restore_user(plan.user, plan.records, plan.kept, self.now)

    def _has_written(self, plan: RestorePlan, user: User | None) -> bool:
        if plan.outcome == "completed" or user is None or plan.user is None:
            return False
        # A login that made the lost user again has another time of creation.
        restored_at = None if self.rules.tells_created else self.now
        made = (user.restored_at, user.created_at)
        return made == (restored_at, plan.user.created_at)

    def _wanted_records(self, old: User, there: User | None) -> list[RecordName]:
        if there is not None:
            return record_names(there)
        return [*record_names(old), *self.lost.get((old.app, old.id), ())]


def _is_missing(
    live: Mapping[RecordName, IdentityRecord | None], name: RecordName, now: datetime
) -> bool:
    if name not in live:
        return True
    record = live[name]
    return record is not None and record.is_expired(now)
