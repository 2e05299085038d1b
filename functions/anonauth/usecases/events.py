"""What happened to users, as events, published in order."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anonauth.domain.events import Change, EventType, MetricName, UserEvent
from anonauth.domain.users import User
from anonauth.errors import EventsUnavailable, Unavailable
from anonauth.ports import ChangeStore, EventBus
from anonauth.usecases._event_detail import identity_list, make_event

# Events in one step; what one call to EventBridge takes.
_AT_ONCE = 10

_Step = list[tuple[int, UserEvent]]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a batch has come: so many records from the first on, and why no further.

    `failure` is None at the end of the batch. `events` are those of the records that
    are done, which do not come again.
    """

    done: int
    failure: Exception | None
    events: Sequence[UserEvent]


def publish_changes(
    records: Sequence[Mapping[str, Any]],
    *,
    changes: ChangeStore,
    bus: EventBus,
    has_time: Callable[[], bool],
) -> Progress:
    """Publish what a batch of stream records says.

    Nothing is written twice: the stream is the outbox. A record is done when its events
    were taken, and after the first that is not, none counts as done. So a batch that is
    killed anywhere, and given again, publishes each event at least once, with the same
    id, and no event of a user before an earlier one of the same user.

    Args:
        records: As Lambda hands them over, oldest first.
        has_time: Tells whether there is time for another call or two.
    """
    read: list[Change | None] = []
    unreadable = None
    for record in records:
        try:
            read.append(changes.read_change(record))
        except ValueError as exc:
            # What comes before it must not wait until somebody has mended this.
            unreadable = exc
            break
    done = 0
    told: _Step = []
    try:
        for step in _steps(_events(read, changes)):
            done = step[0][0]
            if not has_time():
                raise EventsUnavailable(detail="out of time")
            bus.publish([event for _, event in step])
            told += step
    except Unavailable as exc:
        return Progress(done, exc, [event for place, event in told if place < done])
    return Progress(len(read), unreadable, [event for _, event in told])


def tally(events: Iterable[UserEvent]) -> Counter[tuple[MetricName, str, str]]:
    """Count what happened to users: by metric, dimension and value.

    A guest is linked once, however many identities it has in the end.
    """
    counts: Counter[tuple[MetricName, str, str]] = Counter()
    for event in events:
        detail = event.detail
        if event.type == "user.created":
            counts["UsersCreated", "provider", detail["provider"]] += 1
        elif event.type == "user.deleted":
            counts["UsersDeleted", "reason", detail["reason"]] += 1
        elif event.type == "user.linked" and detail["was_anonymous"]:
            counts["UsersLinked", "provider", detail["linked"][0]["provider"]] += 1
    return counts


def _events(
    read: Sequence[Change | None], changes: ChangeStore
) -> Iterator[tuple[int, UserEvent]]:
    deleted = [c.before for c in read if c and c.before and not c.after and not c.swept]
    requested = changes.deleted_on_request(deleted)
    for place, change in enumerate(read):
        if change is not None:
            for event in events_of(change, requested):
                yield place, event


def _steps(events: Iterable[tuple[int, UserEvent]]) -> Iterator[_Step]:
    # The bus keeps no order, so no user is in a step twice.
    step: _Step = []
    users: set[tuple[str, str]] = set()
    for place, event in events:
        user = (event.app, event.user_id)
        if len(step) == _AT_ONCE or user in users:
            yield step
            step, users = [], set()
        step.append((place, event))
        users.add(user)
    if step:
        yield step


def events_of(
    change: Change, requested: Collection[tuple[str, str]] = ()
) -> Iterator[UserEvent]:
    """Yield what a change means to an app; nothing for a refresh or a logout that
    leaves the user.

    Args:
        requested: App and id of those users whose deletion was asked for.
    """
    before, after = change.before, change.after
    if after is None:
        if before is not None:
            reason = _reason(change, before, requested)
            yield _event(change, "user.deleted", before, reason=reason)
    elif before is None:
        # By the session of its login; an operator's copy from a backup may have none.
        made_by = next(iter(after.sessions.values()), after.identities[0])
        more = {"made_again": True} if after.made_again else {}
        yield _event(change, "user.created", after, provider=made_by.provider, **more)
    else:
        yield from _differences(change, before, after)


def _differences(change: Change, before: User, after: User) -> Iterator[UserEvent]:
    # By record and provider, not by id: a reset password is a new version of the same.
    known = {(i.provider, i.key) for i in before.identities}
    kept = {(i.provider, i.key) for i in after.identities}
    linked = [i for i in after.identities if (i.provider, i.key) not in known]
    unlinked = [i for i in before.identities if (i.provider, i.key) not in kept]
    opened = [s for s in after.sessions.values() if s.id not in before.sessions]
    if linked:
        yield _event(
            change,
            "user.linked",
            after,
            linked=identity_list(linked),
            was_anonymous=before.anonymous,
        )
    if unlinked:
        yield _event(change, "user.unlinked", after, unlinked=identity_list(unlinked))
    for session in opened:
        yield _event(change, "user.logged_in", after, provider=session.provider)


def _reason(change: Change, user: User, requested: Collection[tuple[str, str]]) -> str:
    if change.swept:
        return "expired"
    # A logout deletes anonymous users only; the mark of a request is not for ever.
    is_request = not user.anonymous or (user.app, user.id) in requested
    return "requested" if is_request else "logout"


def _event(change: Change, kind: EventType, user: User, **more: Any) -> UserEvent:
    return make_event(
        change.record_id,
        kind,
        user,
        change.at,
        # As text, since it has more digits than a number in JSON is good for; filled
        # up, so that text compares as the numbers do.
        sequence=f"{change.sequence:040d}",
        **more,
    )
