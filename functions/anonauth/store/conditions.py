"""Conditions on writes that several methods of the store share (design.md §4)."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import reduce
from operator import and_

from pynamodb.expressions.condition import Condition, size

from anonauth.domain.users import MOST_SESSIONS, Session, User
from anonauth.store.items import IdentityItem, UserItem, epoch


def alive(now: datetime) -> Condition:
    """Require that the user exists, is active and has not expired."""
    active: Condition = UserItem.state == "active"
    permanent: Condition = UserItem.expires_at.does_not_exist()
    not_expired: Condition = UserItem.expires_at > now
    condition: Condition = active & (permanent | not_expired)
    return condition


def mine(session_id: str, token_hash: str, now: datetime) -> Condition:
    """Require that the session exists and has not expired."""
    session = UserItem.sessions[session_id]
    same_token: Condition = session["hash"] == token_hash
    unlimited: Condition = session["expires_at"].does_not_exist()
    not_expired: Condition = session["expires_at"] > epoch(now)
    condition: Condition = same_token & (unlimited | not_expired)
    return condition


def as_read(user: User, now: datetime) -> Condition:
    """Require that the user is alive, with the identities and keys that were read."""
    same_version: Condition = UserItem.version == user.version
    condition: Condition = alive(now) & same_version
    return condition


def asked_by(user: User, session: Session, now: datetime) -> Condition:
    """Require that the user is as it was read, and that the session is alive."""
    condition: Condition = as_read(user, now) & mine(
        session.id, session.token_hash, now
    )
    return condition


def record_in_time(now: datetime) -> Condition:
    """Require that the record of an identity exists and has not expired."""
    bound: Condition = IdentityItem.expires_at.does_not_exist()
    not_expired: Condition = IdentityItem.expires_at > now
    condition: Condition = IdentityItem.pk.exists() & (bound | not_expired)
    return condition


def room(ended: Sequence[Session]) -> Condition:
    """Require room for one more session once the `ended` sessions are dropped."""
    # Either there is room, or all the sessions that were to make room still exist.
    condition: Condition = (
        all_of(UserItem.sessions[old.id].exists() for old in ended)
        if ended
        else size(UserItem.sessions) < MOST_SESSIONS  # type: ignore[no-untyped-call]
    )
    return condition


def all_of(conditions: Iterable[Condition]) -> Condition:
    """Join conditions, at least one."""
    return reduce(and_, conditions)
