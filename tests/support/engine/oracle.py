"""Judges a round: any caller may win, but refusals and remains have to be explained.

The oracle knows which acts took effect and what each of them ends or begins, in its own
words. A refusal is legitimate only if an act that took effect explains it. No act
explains a failure of the engine, or a 401 of a session that was not ended.
"""

from collections.abc import Sequence
from dataclasses import replace

from anonauth.domain.expiry import expiry_after, utc_day
from anonauth.domain.providers import USERPASS
from anonauth.domain.signing_keys import (
    Ring,
)
from anonauth.domain.users import Session
from anonauth.errors import (
    AuthError,
    IdentityNotFound,
    IdentityTaken,
    InvalidParameter,
    InvalidSession,
    LastIdentity,
    PasswordRefused,
    SecondUserpassRefused,
    SessionNotFound,
    StoreUnavailable,
    UserpassTokenInvalid,
    WrongPassword,
)
from anonauth.store.items import user_in
from anonauth.usecases.login import OpenedSession
from support.contracts.store_contract import APP, DAY, NOW
from support.engine.accounts import NEW, OLD
from support.engine.mix import Act, Played, Subject
from support.engine.racing import Item, assert_items_whole

FEWEST_READS = 4
"""Reads of a user that others keep changing, until a deletion or unlink gives up."""

BY_REFRESH_TOKEN = (
    "refresh",
    "refresh tomorrow",
    "log out",
    "log out everywhere",
    "unlink",
)
"""Acts that name a session by the refresh token; their text for its end differs."""


def assert_explained(played: Played, items: Sequence[Item]) -> None:
    """Check the callers' answers, and the table afterwards.

    Args:
        items: The whole table, which was empty before the round.
    """
    try:
        assert_items_whole(items)
        oracle = _Oracle(played, items)
        for act, refusal in played.refusals:
            assert oracle.explains(act, refusal), f"{act} got {refusal!r}"
        oracle.check_ends()
        oracle.check_sessions()
        oracle.check_identities()
        oracle.check_merges()
        oracle.check_passwords()
        oracle.check_activity()
        oracle.check_ring()
    except (AssertionError, KeyError) as broken:
        broken.add_note(f"{played.world.users}\n{played.outcomes}")
        raise


class _Oracle:
    """One round, and the table after it."""

    def __init__(self, played: Played, items: Sequence[Item]) -> None:
        self._before = played.world
        self._effects = [told for each in played.effects for told in _told(*each)]
        self._refused = [act for act, _ in played.refusals]
        self._items = {item["pk"]["S"]: item for item in items}
        users = [
            user_in(item, pk)
            for pk, item in self._items.items()
            if pk.startswith("USER#")
        ]
        self._users = {user.id: user for user in users}

    # Acts that took effect.

    def _done(
        self,
        *names: str,
        by: str | None = None,
        session: str | None = None,
        subject: Subject | None = None,
    ) -> list[Act]:
        """Return the acts that took effect; None matches every user or subject."""
        return [
            act
            for act, _ in self._effects
            if act.name in names
            and by in (None, act.opened.user.id)
            and session in (None, act.opened.session.id)
            and subject in (None, act.subject)
        ]

    def _logins(
        self, subject: Subject | None = None
    ) -> list[tuple[Act, OpenedSession]]:
        return [
            (act, outcome)
            for act, outcome in self._effects
            if isinstance(outcome, OpenedSession)
            and act.name == "log in by"
            and subject in (None, act.subject)
        ]

    def _absorbed(self, guest_id: str) -> list[str]:
        """Return into whom each caller was told that a guest was merged."""
        return [
            outcome.user.id
            for act, outcome in self._effects
            if act.name == "absorb"
            and isinstance(outcome, OpenedSession)
            and act.opened.user.id == guest_id
        ]

    def _changes(self, user_id: str) -> int:
        """Return how often others have raised the version of a user."""
        done = self._done("link", "unlink", "log out everywhere", by=user_id)
        absorbed = [
            guest for guest in self._before.users if user_id in self._absorbed(guest)
        ]
        return len(done) + len(absorbed)

    def _had(self, user_id: str, subject: Subject) -> bool:
        user = self._before.users.get(user_id)
        return (
            user is not None
            and user.find_identity(subject.provider, subject.key) is not None
        )

    def _owners(self, subject: Subject) -> set[str]:
        """Return all users that ever had it: before, by a link, or by a first login."""
        had = {u for u in self._before.users if self._had(u, subject)}
        linked = {act.opened.user.id for act in self._done("link", subject=subject)}
        return had | linked | {opened.user.id for _, opened in self._logins(subject)}

    def _takers(self, user_id: str, subject: Subject) -> list[Act]:
        """Return the acts that may have taken it from a user.

        A reset takes all other identities from the address's user, unless a mail to the
        address was answered before; in these worlds none was.
        """
        resets = [
            act
            for act in self._done("reset")
            if act.subject != subject and user_id in self._owners(act.subject)
        ]
        unlinks = self._done("unlink", by=user_id, subject=subject)
        return unlinks + resets + self._done("delete", by=user_id)

    def _enders(self, user_id: str, session: Session) -> list[Act]:
        """Return the acts that end a session."""
        ends = self._done("log out", session=session.id)
        ends += self._done(
            "log out everywhere", "delete", "sweep", "absorb", by=user_id
        )
        # Refused resets count, too: the sessions end first, and then another caller
        # used the token, or the address was taken from the user.
        resets = [act for act in self._refused if act.name == "reset"]
        ends += [
            act
            for act in self._done("reset") + resets
            if user_id in self._owners(act.subject)
        ]
        return ends + [
            act
            for act in self._done("unlink", by=user_id)
            if (act.subject.provider, act.subject.key)
            == (session.provider, session.identity_key)
        ]

    # Refusals that are allowed.

    def explains(self, act: Act, refusal: AuthError) -> bool:
        """Tell whether an act that took effect explains a refusal.

        No other refusal is allowed in any round.
        """
        user_id, subject, name = act.opened.user.id, act.subject, act.name
        others = [s for s in self._before.subjects if s != subject]
        is_explained = False
        match refusal:
            case StoreUnavailable():
                # The only 503: an act that needs the user as read gives up after others
                # have changed it that often. It has never been seen.
                changed = {
                    "delete": {user_id},
                    "unlink": {user_id},
                    # A login needs the version as read, too.
                    "log in by": self._owners(subject),
                    "merge": self._owners(subject) | {user_id},
                }.get(name, set())
                is_explained = any(
                    self._changes(each) >= FEWEST_READS for each in changed
                )
            case InvalidSession():
                told = SessionNotFound if name in BY_REFRESH_TOKEN else InvalidSession
                ended = self._enders(user_id, act.opened.session)
                is_explained = type(refusal) is told and bool(ended) and name != "merge"
            case InvalidParameter():
                user = self._before.users[user_id]
                permanent = not user.anonymous or self._done("link", by=user_id)
                own = self._had(user_id, subject)
                is_explained = name == "merge" and bool(
                    permanent and not (own and not self._takers(user_id, subject))
                )
            case IdentityTaken():
                is_explained = name == "link" and bool(
                    self._owners(subject) - {user_id}
                )
            case SecondUserpassRefused():
                is_explained = (
                    name == "link"
                    and subject.provider == USERPASS
                    and any(
                        other.provider == USERPASS and user_id in self._owners(other)
                        for other in others
                    )
                )
            case WrongPassword():
                logs_in = name in {"log in by", "merge"}
                is_explained = logs_in and self._is_outdated(subject)
            case PasswordRefused():
                is_explained = name == "link" and self._is_outdated(subject)
            case UserpassTokenInvalid():
                is_explained = name == "reset" and self._is_outdated(subject)
            case IdentityNotFound():
                had = self._had(user_id, subject) and not self._takers(user_id, subject)
                is_explained = name == "unlink" and not had
            case LastIdentity():
                is_explained = name == "unlink" and all(
                    self._takers(user_id, other)
                    for other in others
                    if self._had(user_id, other)
                )
        return is_explained

    def _is_outdated(self, subject: Subject) -> bool:
        """Tell whether the password was replaced, or its record went with its user."""
        if subject.provider != USERPASS:
            return False
        gone = [
            a for user in self._owners(subject) for a in self._takers(user, subject)
        ]
        return bool(self._done("reset", subject=subject) or gone)

    # The required state afterwards.

    def check_ends(self) -> None:
        """A user ends once, by an act that ends it, and only then has a mark."""
        for user_id, user in self._before.users.items():
            ends = self._done("delete", "sweep", by=user_id)
            # Any number of callers may be told of the one merge.
            absorbed = self._absorbed(user_id)
            assert len(set(absorbed)) <= 1, absorbed
            into = absorbed[0] if absorbed else None
            ends += self._done("absorb", by=user_id)[:1]
            logged_out = self._done("log out", "log out everywhere", by=user_id)
            if user.anonymous and not self._done("link", by=user_id):
                ends += logged_out
            for session_id in user.sessions:
                assert len(self._done("log out", session=session_id)) <= 1
            assert len(ends) <= 1, ends
            is_there = user_id in self._users
            assert is_there == (not ends), f"{user_id} is there: {is_there}"
            mark = self._items.get(f"GONE#{user.app}#{user_id}")
            assert (mark is None) == (not self._done("delete", "absorb", by=user_id))
            assert (mark or {}).get("into", {}).get("S") == into

    def check_sessions(self) -> None:
        """A session lives unless it was ended, and is gone if it surely was."""
        for user_id, user in self._before.users.items():
            for session in user.sessions.values():
                self._check_session(user_id, session, had_before=True)
        for _, opened in self._logins():
            self._check_session(opened.user.id, opened.session, had_before=False)

    def _check_session(
        self, user_id: str, session: Session, *, had_before: bool
    ) -> None:
        user = self._users.get(user_id)
        kept = None if user is None else user.live_session(session.id, NOW)
        enders = self._enders(user_id, session)
        if not enders:
            assert kept is not None, f"nobody ended {session}"
            assert kept.token_hash == session.token_hash
        # A session opened after an unlink, after a logout everywhere, or after a reset
        # by another address may live.
        sure = [
            act
            for act in enders
            if act not in self._refused
            if act.name in {"log out", "delete", "sweep", "absorb"}
            or (act.name in {"log out everywhere", "reset", "unlink"} and had_before)
            or (act.name == "reset" and act.subject.key == session.identity_key)
        ]
        assert not (sure and kept), f"{sure} should have ended {session}"

    def check_identities(self) -> None:
        """An identity has one user, which keeps it unless it was taken away."""
        for subject in self._before.subjects:
            owners = self._owners(subject)
            taken = [act for user in owners for act in self._takers(user, subject)]
            assert len(owners) <= 1 or taken, f"{subject} had {owners}"
            for user_id, user in self._users.items():
                entry = user.find_identity(subject.provider, subject.key)
                if user_id not in owners:
                    assert entry is None, f"{user_id} has {subject}"
                elif not self._takers(user_id, subject):
                    assert entry is not None, f"{user_id} lost {subject}"
                elif not self._done("link", by=user_id, subject=subject):
                    assert entry is None, f"{user_id} kept {subject}"
            for user_id in owners & self._before.users.keys():
                unlinks = self._done("unlink", by=user_id, subject=subject)
                links = self._done("link", by=user_id, subject=subject)
                had = self._had(user_id, subject)
                assert len(unlinks) <= had + len(links), unlinks

    def check_merges(self) -> None:
        """No merge came by an identity that was taken from its user before.

        Whatever takes the identity away also removes the sessions that it reads. So the
        session of a merge is there only if the merge came later. A plain login may
        leave such a session, which is dead: it does not raise the version.
        """
        for act, opened in self._effects:
            user_id = act.opened.user.id
            if act.name != "absorb" or not isinstance(opened, OpenedSession):
                continue
            # If more callers are told of one merge, all others only logged in.
            is_sure = len(self._absorbed(user_id)) == 1
            user = self._users.get(opened.user.id)
            if is_sure and user is not None and opened.session.id in user.sessions:
                opener = user.opener_of(opened.session)
                assert opener is not None, f"{act} came after its identity"

    def check_passwords(self) -> None:
        """A reset takes effect once, and for good."""
        for subject in self._before.subjects:
            if subject.provider != USERPASS:
                continue
            resets = len(self._done("reset", subject=subject))
            assert resets <= 1
            pk = f"IDENT#{APP}#{USERPASS}#{subject.key}"
            record = self._items.get(pk)
            if record is not None:
                assert record["password_hash"]["S"] == (NEW if resets else OLD)
                assert int(record["version"]["N"]) == 1 + resets
                assert ("reset_hash" in record) == (not resets)

    def check_activity(self) -> None:
        """The last use is stored and moves the expiry; a link removes the TTL."""
        for user_id, before in self._before.users.items():
            user = self._users.get(user_id)
            if user is None:
                continue
            refreshed = self._done("refresh", "refresh tomorrow", by=user_id)
            days = {before.last_active_day} | {utc_day(a.now) for a in refreshed}
            logins = [o for _, o in self._logins() if o.user.id == user_id]
            if logins:
                days.add(utc_day(NOW))
            if len(before.sessions) == 1 and not logins:
                # If several clocks differ, the last to write wins.
                assert user.last_active_day == max(days)
            assert user.last_active_day in days
            if user.anonymous:
                last_use = max([before.created_at, *[a.now for a in refreshed]])
                assert user.expires_at == expiry_after(last_use)
            for act in refreshed:
                session = user.sessions.get(act.opened.session.id)
                if session is not None:
                    assert session.used_day >= utc_day(act.now)
            for session in user.sessions.values():
                assert user.anonymous == (session.expires_at is None)
                assert session.expires_at is None or session.expires_at > NOW + 60 * DAY

    def check_ring(self) -> None:
        """No key that a rotation has made is lost to another rotation."""
        rings = [ring for _, ring in self._effects if isinstance(ring, Ring)]
        kept = self._items["KEY#ring"]
        kids = {key["M"]["kid"]["S"] for key in kept["keys"]["L"]}
        for ring in [self._before.ring, *rings]:
            assert {key.kid for key in ring.keys} <= kids, ring
        latest = max(ring.version for ring in [self._before.ring, *rings])
        assert int(kept["version"]["N"]) == latest


def _told(act: Act, outcome: object) -> list[tuple[Act, object]]:
    """Return what a caller was told, in the words of the other acts.

    A login with a guest was a link of the guest, or a login, which may have absorbed
    the guest.
    """
    if act.name != "merge" or not isinstance(outcome, OpenedSession):
        return [(act, outcome)]
    if outcome.refresh_token == act.opened.refresh_token:
        return [(replace(act, name="link"), outcome)]
    told: list[tuple[Act, object]] = [(replace(act, name="log in by"), outcome)]
    if outcome.merged:
        told.append((replace(act, name="absorb"), outcome))
    return told
