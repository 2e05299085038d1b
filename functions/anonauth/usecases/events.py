"""Events about users: made from the table's stream, and published in order."""

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anonauth.domain.events import Change, EventType, MetricName, UserEvent
from anonauth.domain.users import DeletionMark, User
from anonauth.errors import EventsUnavailable, Unavailable
from anonauth.ports import ChangeStore, EventBus
from anonauth.usecases._event_detail import make_user_event, shown_identities

# Events in one step. One call to EventBridge takes as many.
_AT_ONCE = 10

_Step = list[tuple[int, UserEvent]]


@dataclass(frozen=True, slots=True)
class PublishedBatch:
    """How far the publication of a batch has come, and why no further.

    The first `done` records are done. `failure` is None at the end of the batch.
    `events` are those of the records that are done. They are not published again.
    """

    done: int
    failure: Exception | None
    events: Sequence[UserEvent]


@dataclass(frozen=True, slots=True)
class EventPublisher:
    """Publishes the changes of users that the table's stream reports.

    Args:
        stack: The deployment's name, which every event shows.
    """

    changes: ChangeStore
    bus: EventBus
    stack: str

    def publish(
        self, records: Sequence[Mapping[str, Any]], *, has_time: Callable[[], bool]
    ) -> PublishedBatch:
        """Publish the events of a batch of stream records.

        Nothing is written twice: the stream is the outbox. A record is done when the
        bus has taken its events. After the first record that is not done, no other one
        counts as done. So a batch may be killed anywhere and given again. Each event is
        then published at least once, with the same id, and no event of a user before an
        earlier one of the same user.

        Args:
            records: The batch as Lambda passes it, oldest first.
            has_time: Tells whether there is time for another call or two.
        """
        read: list[Change | None] = []
        unreadable = None
        for record in records:
            try:
                read.append(self.changes.read_change(record))
            except ValueError as exc:
                # The records before it must not wait for a fix.
                unreadable = exc
                break
        done = 0
        published: _Step = []
        try:
            for step in _steps(self._events(read)):
                done = step[0][0]
                if not has_time():
                    raise EventsUnavailable(detail="out of time")
                self.bus.publish([event for _, event in step])
                published += step
        except Unavailable as exc:
            events = [event for place, event in published if place < done]
            return PublishedBatch(done, exc, events)
        return PublishedBatch(len(read), unreadable, [event for _, event in published])

    def _events(self, read: Sequence[Change | None]) -> Iterator[tuple[int, UserEvent]]:
        deleted = [
            c.before for c in read if c and c.before and not c.after and not c.swept
        ]
        marks = self.changes.marks_of(deleted)
        for place, change in enumerate(read):
            if change is not None:
                for event in events_of(change, marks, stack=self.stack):
                    yield place, event


def tally(events: Iterable[UserEvent]) -> Counter[tuple[MetricName, str, str]]:
    """Count events by metric, dimension and value.

    An anonymous user is counted as linked once, however many identities it links.
    """
    counts: Counter[tuple[MetricName, str, str]] = Counter()
    for event in events:
        detail = event.detail
        if event.type == "user.created":
            counts["UsersCreated", "provider", detail["provider"]] += 1
        elif event.type == "user.deleted":
            counts["UsersDeleted", "reason", detail["reason"]] += 1
        elif event.type == "user.merged":
            counts["UsersMerged", "provider", detail["provider"]] += 1
        elif event.type == "user.linked" and detail["was_anonymous"]:
            counts["UsersLinked", "provider", detail["linked"][0]["provider"]] += 1
    return counts


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
    change: Change, marks: Mapping[tuple[str, str], DeletionMark], *, stack: str
) -> Iterator[UserEvent]:
    """Yield the events of one change.

    A refresh has none, nor has a logout that leaves the user. A user that an operator
    restores from a backup has none either, because its `user.created` was published.
    The same holds for a user that is imported, unless the operator asks for the event.

    Args:
        marks: The marks of deleted users, by app and id.
        stack: The deployment's name, which every event shows.
    """
    event = functools.partial(_event, change, stack)
    before, after = change.before, change.after
    if after is None:
        if before is not None:
            mark = marks.get((before.app, before.id))
            yield _deletion(event, change, before, mark)
    elif before is None:
        if after.restored_at is not None:
            return
        # A login makes a user with one identity. An imported user may have more, and
        # may have been a guest.
        identity = next(iter(after.usable_identities()), after.identities[0])
        more = {"made_again": True} if after.made_again else {}
        yield event("user.created", after, provider=identity.provider, **more)
    else:
        yield from _differences(event, before, after)


def _differences(
    event: Callable[..., UserEvent], before: User, after: User
) -> Iterator[UserEvent]:
    # By provider and key: a reset password is a new version of the same identity.
    known = {(i.provider, i.key) for i in before.identities}
    kept = {(i.provider, i.key) for i in after.identities}
    linked = [i for i in after.identities if (i.provider, i.key) not in known]
    unlinked = [i for i in before.identities if (i.provider, i.key) not in kept]
    opened = [s for s in after.sessions.values() if s.id not in before.sessions]
    if linked:
        yield event(
            "user.linked",
            after,
            linked=shown_identities(linked),
            was_anonymous=before.anonymous,
        )
    if unlinked:
        shown = shown_identities(unlinked)
        yield event("user.unlinked", after, unlinked=shown)
    for session in opened:
        yield event("user.logged_in", after, provider=session.provider)


def _deletion(
    event: Callable[..., UserEvent],
    change: Change,
    user: User,
    mark: DeletionMark | None,
) -> UserEvent:
    more: dict[str, Any]
    if mark is not None and mark.reason == "merged":
        more = {"dropped": mark.dropped} if mark.dropped else {}
        # Not a deletion: an app that cleans up would delete what the user now owns.
        return event(
            "user.merged", user, into=mark.into, provider=mark.provider, **more
        )
    more = {"former_ids": list(user.former_ids)} if user.former_ids else {}
    return event("user.deleted", user, reason=_reason(change, user, mark), **more)


def _reason(change: Change, user: User, mark: DeletionMark | None) -> str:
    if change.swept:
        return "expired"
    # A logout deletes anonymous users only. The mark of a request is not kept for ever.
    return "requested" if mark is not None or not user.anonymous else "logout"


def _event(
    change: Change, stack: str, kind: EventType, user: User, **more: Any
) -> UserEvent:
    return make_user_event(
        change.record_id,
        kind,
        user,
        change.at,
        stack=stack,
        # As text, since a number in JSON does not hold so many digits. It is padded,
        # so that the texts compare as the numbers do.
        sequence=f"{change.sequence:040d}",
        **more,
    )
