"""The table as a later minor version may leave it: with attributes that nobody knows.

changelog.md promises that this version still reads such items, so that a stack can be
rolled back.
"""

import json
from collections.abc import Iterator
from typing import Any

from botocore.awsrequest import AWSPreparedRequest, AWSResponse

from support.service.wire import Forward, reply

Item = dict[str, Any]

_LATER: Item = {
    "x_later_text": {"S": "text"},
    "x_later_number": {"N": "7"},
    "x_later_flag": {"BOOL": True},
    "x_later_map": {"M": {"a": {"L": [{"S": "b"}]}}},
}


def with_later_attributes(
    request: AWSPreparedRequest, forward: Forward
) -> AWSResponse | None:
    """Answer as the table does, with unknown attributes in each item that is read."""
    answer = forward()
    if answer is None or answer.status_code != 200:
        return answer
    body = json.loads(answer.content)
    for item in _items_of(body):
        item.update(later(item))
    return reply(request, 200, body)


def later(item: Item) -> Item:
    """Return an item with unknown attributes, in its entries as well.

    A counter stays as it is: each of its attributes is the count of a part.
    """
    if item.get("pk", {}).get("S", "").startswith("RATE#"):
        return item
    changed = {**item, **_LATER}
    for name in ("sessions", "api_keys"):
        entries = item.get(name, {"M": {}})["M"]
        added = {key: {"M": entry["M"] | _LATER} for key, entry in entries.items()}
        changed |= {name: {"M": added}} if name in item else {}
    for name in ("identities", "keys"):
        listed = item.get(name, {"L": []})["L"]
        added_to = [{"M": entry["M"] | _LATER} for entry in listed]
        changed |= {name: {"L": added_to}} if name in item else {}
    return changed


def _items_of(body: Item) -> Iterator[Item]:
    """Yield the items in an answer of GetItem, BatchGetItem, Scan or a write."""
    for name in ("Item", "Attributes"):
        if name in body:
            yield body[name]
    yield from body.get("Items", [])
    for items in body.get("Responses", {}).values():
        yield from items
    for reason in body.get("CancellationReasons", []):
        if "Item" in reason:
            yield reason["Item"]
