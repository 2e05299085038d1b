"""The table of the built-in AWS, read inside moto without calls and copies.

It depends on the internals of one version of moto; see `moto_patches`.
"""

import weakref
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, overload

from anonauth.local.dynamodb.ttl_index import TtlIndex, seconds_in
from anonauth.local.template import REGION

if TYPE_CHECKING:
    from moto.dynamodb.models.dynamo_type import Item
    from moto.dynamodb.models.table import StreamRecord, Table
    from moto.dynamodbstreams.models import ShardIterator

MOST_ITERATORS_KEPT = 100
"""Iterators of the streams API. Older ones have expired, as on AWS after 15 minutes."""

MOST_RECORDS_KEPT = 10_000
"""Records kept for readers by the streams API, which may never read again."""


class MotoTable:
    """A table of moto in this process.

    The caller must hold the local service's lock: nothing else may use moto meanwhile.
    """

    def __init__(self, name: str) -> None:
        # The imports take 0.3 s. Another engine does not need them.
        from moto.core.models import DEFAULT_ACCOUNT_ID  # noqa: PLC0415
        from moto.dynamodb.models import dynamodb_backends  # noqa: PLC0415
        from moto.dynamodbstreams.models import dynamodbstreams_backends  # noqa: PLC0415

        self._name = name
        self._tables = dynamodb_backends[DEFAULT_ACCOUNT_ID][REGION].tables
        self._streams = dynamodbstreams_backends[DEFAULT_ACCOUNT_ID][REGION]
        self._reader = StreamReader()
        self._unread: list[Mapping[str, Any]] = []
        table = self._tables[name]
        self._index = _index_table(table)
        self.stream_arn = ""
        if table.stream_shard is not None:
            self.stream_arn = f"{table.table_arn}/stream/{table.latest_stream_label}"
            records = self._records(table)
            records.open(self._reader, len(records))

    def records(self) -> list[Mapping[str, Any]]:
        """Return the stream's records since the last call."""
        self._catch_up()
        read, self._unread = self._unread, []
        return read

    def due_days(self) -> set[date]:
        """Return the days on which items expire or reach their `ttl`."""
        return self._current_index().due_days()

    def expired_keys(self, now: datetime) -> list[str]:
        """Return the keys of the items that are past their `ttl`."""
        return self._current_index().expired_keys(now)

    def expiring_between(self, now: datetime, until: datetime) -> list[dict[str, Any]]:
        """Return the items whose `expires_at` is after `now` and before `until`."""
        table = self._tables.get(self._name)
        if table is None:
            return []
        found = (
            _get_item(table, key)
            for key in self._current_index().keys_expiring_between(now, until)
        )
        return [_attributes_of(item) for item in found if item is not None]

    def delete_expired(self, key: str, now: datetime) -> bool:
        """Delete an item if it is past its `ttl`; return whether it was."""
        table = self._tables.get(self._name)
        item = None if table is None else _get_item(table, key)
        if table is None or item is None:
            return False
        ttl = seconds_in(_attributes_of(item), "ttl")
        if ttl is None or ttl > int(now.timestamp()):
            return False
        table.delete_item(item.hash_key, None)
        return True

    def _current_index(self) -> TtlIndex:
        table = self._tables.get(self._name)
        if not self.stream_arn:  # without a stream the index cannot be updated
            return TtlIndex() if table is None else _index_table(table)
        self._catch_up()
        return self._index

    def _catch_up(self) -> None:
        table = self._tables.get(self._name)
        if table is None or table.stream_shard is None:
            return
        records = self._records(table)
        if not records.has(self._reader):  # a new table with the same name
            records.open(self._reader, 0)
            self._index = TtlIndex()
        for record in records.read(self._reader):
            change = record["dynamodb"]
            self._index.update(change["Keys"]["pk"]["S"], change.get("NewImage"))
            self._unread.append(record)
        records.drop(self._oldest_iterator(table))

    def _records(self, table: "Table") -> "StreamRecords":
        shard = table.stream_shard
        assert shard is not None  # noqa: S101  # nosec B101
        found: Any = shard.items
        records = found if isinstance(found, StreamRecords) else StreamRecords(found)
        vars(shard)["items"] = records  # moto uses it like its list
        if not isinstance(self._streams.shard_iterators, StreamIterators):
            self._streams.shard_iterators = StreamIterators(
                self._streams.shard_iterators
            )
        return records

    def _oldest_iterator(self, table: "Table") -> int | None:
        shard = table.stream_shard
        return min(
            (
                each.sequence_number - shard.starting_sequence_number
                for each in self._streams.shard_iterators.values()
                if shard is not None and each.stream_shard is shard
            ),
            default=None,
        )


class StreamReader:
    """A reader of a stream. Once it is deleted, no record is kept for it."""

    def __deepcopy__(self, _: object) -> "StreamReader":
        return self  # the copy of a table has the same readers


class StreamRecords:
    """Replaces a shard's list of records, and drops records that no reader needs.

    Positions count dropped records too: moto computes sequence numbers from them.
    """

    def __init__(self, records: "Iterable[StreamRecord]" = ()) -> None:
        self._kept = list(records)
        self._dropped = 0
        self._read: weakref.WeakKeyDictionary[StreamReader, int] = (
            weakref.WeakKeyDictionary()
        )

    def __len__(self) -> int:
        return self._dropped + len(self._kept)

    @property
    def number_kept(self) -> int:
        """The number of records that are not dropped."""
        return len(self._kept)

    @overload
    def __getitem__(self, at: int) -> "StreamRecord": ...
    @overload
    def __getitem__(self, at: slice) -> "list[StreamRecord]": ...
    def __getitem__(self, at: int | slice) -> "StreamRecord | list[StreamRecord]":
        """Return records by their positions. A slice that begins before the kept
        records has as many of the oldest instead."""
        if isinstance(at, int):
            return self._kept[at - self._dropped]
        start, stop, _ = at.indices(max(len(self), at.stop or 0))
        first = max(start - self._dropped, 0)
        return self._kept[first : first + stop - start]

    def __delitem__(self, at: slice) -> None:
        """Remove the newest records, which are from a cancelled transaction."""
        del self._kept[max(at.start - self._dropped, 0) :]

    def append(self, record: "StreamRecord") -> None:
        """Add a record."""
        self._kept.append(record)

    def open(self, reader: StreamReader, position: int) -> None:
        """Let a reader read from a position on."""
        self._read[reader] = position

    def has(self, reader: StreamReader) -> bool:
        """Return whether a reader reads these records."""
        return reader in self._read

    def read(self, reader: StreamReader) -> list[Mapping[str, Any]]:
        """Return the records that are new for a reader."""
        position = max(self._read[reader], self._dropped)
        self._read[reader] = len(self)
        return [each.to_json() for each in self._kept[position - self._dropped :]]

    def drop(self, needed: int | None) -> None:
        """Drop the records that every reader has read.

        Args:
            needed: Position from which iterators of the streams API may still read.
        """
        until = min(self._read.values(), default=0)
        if needed is not None:
            until = min(until, max(needed, len(self) - MOST_RECORDS_KEPT))
        if until > self._dropped:
            del self._kept[: until - self._dropped]
            self._dropped = until


class StreamIterators(dict[str, "ShardIterator"]):
    """The newest iterators of the streams API, by their names."""

    def __setitem__(self, name: str, made: "ShardIterator") -> None:
        """Add an iterator, and remove the oldest."""
        super().__setitem__(name, made)
        while len(self) > MOST_ITERATORS_KEPT:
            del self[next(iter(self))]

    def __missing__(self, name: str) -> "ShardIterator":
        """Refuse an iterator that has expired, as AWS does."""
        from moto.core.exceptions import JsonRESTError  # noqa: PLC0415

        raise JsonRESTError("ExpiredIteratorException", "The iterator has expired")


def _index_table(table: "Table") -> TtlIndex:
    index = TtlIndex()
    items: Any = table.items.values()  # a hash key alone: `pk`
    for item in items:
        # Not the whole item: for 100,000 items that would take seconds.
        found = {name: item.attrs.get(name) for name in ("ttl", "expires_at")}
        times = {name: value.to_json() for name, value in found.items() if value}
        index.update(item.hash_key.value, times)
    return index


def _get_item(table: "Table", key: str) -> "Item | None":
    from moto.dynamodb.models.dynamo_type import DynamoType  # noqa: PLC0415

    return table.get_item(DynamoType({"S": key}))


def _attributes_of(item: "Item") -> dict[str, Any]:
    attributes: dict[str, Any] = item.to_json()["Attributes"]
    return attributes
