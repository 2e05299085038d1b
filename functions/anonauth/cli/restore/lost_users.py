"""The users that the live table has lost, although identities in it name them."""

import threading
import time
from collections.abc import Callable

from anonauth.cli.patience import repeat_patiently
from anonauth.cli.table_scan import ParallelScan, show_progress
from anonauth.domain.restoring import Merges, RecordName, UserName
from anonauth.domain.users import UserFilter, UserPage
from anonauth.ports import RestoreStore
from anonauth.usecases.restoring import find_lost


def find_lost_users(
    live: RestoreStore,
    merges: Merges,
    *,
    segments: int,
    rate: float | None = None,
    items: int = 0,
    pause: Callable[[float], None] = time.sleep,
) -> dict[UserName, list[RecordName]]:
    """Return the users that identities of the live table name, but it has lost.

    Args:
        merges: The merges that the live table shows are added: by the mark of a guest,
            and by the former ids of a user.
        segments: Number of segments of the table to read in parallel.
        rate: Limit in read units a second. None: no limit.
        items: Number of the table's items, as far as it is known.
        pause: Waits that many seconds while the table throttles.
    """
    lost: dict[UserName, list[RecordName]] = {}
    lock = threading.Lock()
    scan = ParallelScan(
        live,
        segments=segments,
        user_filter=UserFilter(anonymous=False, with_owners=True),
        rate=rate,
        repeat=lambda read: repeat_patiently(read, pause),
    )
    with show_progress(items) as advance:

        def take(_segment: int, page: UserPage) -> None:
            found = repeat_patiently(lambda: find_lost(live, page.owners), pause)
            with lock:
                for user, records in found.items():
                    lost.setdefault(user, []).extend(records)
                for merge in page.merges:
                    merges.add(*merge)
                for owner in page.users:
                    for guest_id in owner.former_ids:
                        merges.add(owner.app, guest_id, owner.id)
            advance(page.read)

        scan.run(dict.fromkeys(range(segments), ""), take)
    return lost
