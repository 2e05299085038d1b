"""A local service in its own process: `python -m bench.local_service USERS`.

It prints its port, or the counts if asked for `counted`, and ends when its input ends.
The process is its own so that the clients take none of its time.
"""

import json
import sys
from datetime import timedelta

from moto.dynamodb.models.dynamo_type import Item

from support.project.sam_template import Json
from support.service.served import (
    Direct,
    calls_by_operation,
    calls_of,
    crowd,
    kept,
    link,
    log_in,
    register,
    serving,
)

USERS = 1_000


def main(asked: str) -> None:
    """Serve this many users, or print the counts."""
    if asked == "counted":
        sys.stdout.write(json.dumps(_counted()) + "\n")
        return
    with serving() as server:
        if users := int(asked):
            crowd(server, users)
        sys.stdout.write(f"{server.port}\n")
        sys.stdout.flush()
        sys.stdin.read()


def _counted() -> Json:
    found: Json = {}
    with serving() as server:
        client = Direct(server)
        calls_by_operation(client)  # the first calls load botocore's service data
        server.advance(timedelta(days=1))
        for users in (0, USERS):
            if users:
                crowd(server, users)
            calls = calls_by_operation(client)
            calls["jump"] = calls_of(lambda: server.advance(timedelta(days=1)))
            found[str(users)] = {"calls": calls, "copies": _copies(client)}
        found["bytes of a login"] = round(kept(server, lambda: log_in(client)))
    return found


def _copies(client: Direct) -> int:
    """Return how many items a link copies."""
    guest, address = log_in(client), register(client)
    copied: list[Item] = []
    copy_item = Item.__deepcopy__

    def note(self: Item, memo: dict[int, object]) -> Item:
        copied.append(self)
        return copy_item(self, memo)

    Item.__deepcopy__ = note  # type: ignore[method-assign]
    try:
        link(client, guest, address)
    finally:
        Item.__deepcopy__ = copy_item  # type: ignore[method-assign]
    return len(copied)


if __name__ == "__main__":
    main(sys.argv[1])
