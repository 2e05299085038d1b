"""Patches for moto, so that the time of a call does not grow with the table.

For each item of a transaction moto copies the whole table and its stream. It keeps
every object that it has made, for a page that shows them. Its serialiser looks for
every attribute under several names. It lists the methods of a class again for each
call. The patches depend on the internals of one version.
"""

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from anonauth.local.command_error import CommandError
from anonauth.local.dynamodb import moto_shortcuts as shortcuts

if TYPE_CHECKING:
    from moto.dynamodb.models import DynamoDBBackend
    from moto.dynamodb.models.table import Table

MOTO_VERSION = "5.2.5"
"""The version of moto that the patches are for. A test compares the pinned version."""

_patches_lock = threading.Lock()
_active_patches: list["_Patches"] = []


@contextmanager
def patch_moto() -> Iterator[None]:
    """Context manager: patch moto while the block runs. Blocks may overlap.

    Raises:
        CommandError: Another version of moto is installed.
    """
    import moto  # noqa: PLC0415

    require_moto_version(moto.__version__)
    with _patches_lock:
        patches = _active_patches[0] if _active_patches else _Patches()
        if not _active_patches:
            patches.start()
        _active_patches.append(patches)
    try:
        yield
    finally:
        with _patches_lock:
            _active_patches.remove(patches)
            if not _active_patches:
                patches.stop()


def require_moto_version(found: str) -> None:
    """Check that moto has the version that the patches are for.

    Raises:
        CommandError: It has another version.
    """
    if found != MOTO_VERSION:
        raise CommandError(
            f"moto is {found}, but the built-in AWS needs {MOTO_VERSION}: install "
            "anonauth[cli] again"
        )


class _Patches:
    """The patches to moto, in effect from `start` to `stop`."""

    def __init__(self) -> None:
        from moto import backend_index, backends  # noqa: PLC0415
        from moto.core import responses  # noqa: PLC0415
        from moto.core.base_backend import BaseBackend  # noqa: PLC0415
        from moto.core.parse import BaseJSONParser  # noqa: PLC0415
        from moto.core.request import Request  # noqa: PLC0415
        from moto.core.serialize import (  # noqa: PLC0415
            BaseJSONSerializer,
            ResponseSerializer,
        )
        from moto.dynamodb.comparisons import (  # noqa: PLC0415
            ConditionExpressionParser,
        )
        from moto.dynamodb.models import DynamoDBBackend  # noqa: PLC0415
        from moto.dynamodb.models.dynamo_type import Item  # noqa: PLC0415
        from moto.dynamodb.models.table import StreamRecord  # noqa: PLC0415
        from moto.dynamodb.parsing.ast_nodes import (  # type: ignore[attr-defined]  # noqa: PLC0415
            DepthFirstTraverser,
            Expression,
            Node,
            UpdateExpressionFunction,
        )
        from moto.dynamodb.parsing.expressions import (  # type: ignore[attr-defined]  # noqa: PLC0415
            UpdateExpressionParser,
        )
        from moto.dynamodbstreams.models import ShardIterator  # noqa: PLC0415
        from moto.kms import models as kms  # noqa: PLC0415

        self._patches: list[Any] = [
            patch.object(owner, name, replace(getattr(owner, name)))
            for owner, name, replace in (
                (DynamoDBBackend, "transact_write_items", _transaction),
                (ResponseSerializer, "get_value", _get_value),
                (responses, "method_names_from_class", functools.cache),
                (backend_index, "backend_url_patterns", _ours_first),
                (backends, "list_of_moto_modules", shortcuts.modules),
                (kms, "generate_private_key", shortcuts.private_key),
                (BaseBackend, "urls", shortcuts.urls),
                (Request, "from_primitives", shortcuts.from_primitives),
                (responses, "gen_amzn_requestid_long", shortcuts.request_id),
                (responses.BaseResponse, "setup_class", shortcuts.setup_class),
                (responses.BaseResponse, "get_access_key", shortcuts.access_key),
                (BaseJSONParser, "_parse_structure", shortcuts.parse_structure),
                (
                    BaseJSONSerializer,
                    "_serialize_type_structure",
                    shortcuts.serialize_structure,
                ),
                (ConditionExpressionParser, "parse", shortcuts.parse_condition),
                (ConditionExpressionParser, "_make_operand", shortcuts.make_operand),
                (UpdateExpressionParser, "make", shortcuts.make_update),
            )
        ]
        self._patches += [
            patch.object(Node, "__deepcopy__", shortcuts.copy_node(Node), create=True),
            patch.object(
                Node,
                "find_clauses",
                shortcuts.find_clauses(Expression, UpdateExpressionFunction),
            ),
            patch.object(
                DepthFirstTraverser,
                "traverse",
                shortcuts.traverse(Node, DepthFirstTraverser.pre_processing_of_child),
            ),
            *(
                patch.object(model, "instances_tracked", _AlwaysEmptyList())
                for model in (Item, ShardIterator, StreamRecord)
            ),
        ]

    def start(self) -> None:
        for each in self._patches:
            each.start()

    def stop(self) -> None:
        for each in reversed(self._patches):
            each.stop()


class _AlwaysEmptyList(list[Any]):
    """A list that drops every item."""

    def append(self, made: Any) -> None:
        pass


def _ours_first(patterns: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    # moto compares an address with the patterns of 200 services, one after the other.
    ours = ("dynamodb", "events", "kms", "ssm")
    return sorted(patterns, key=lambda pattern: pattern[0] not in ours)


def _transaction(original: Any) -> Any:
    def transact_write_items(
        self: "DynamoDBBackend", transact_items: list[dict[str, Any]]
    ) -> None:
        before = _StateBefore(self, transact_items)
        try:
            with before.uncopied():
                original(self, transact_items)
        except BaseException:
            before.put_back()
            raise

    return transact_write_items


class _StateBefore:
    """The items and streams that a transaction may change, as they were before."""

    def __init__(self, backend: "DynamoDBBackend", actions: list[Any]) -> None:
        import copy  # noqa: PLC0415

        from moto.dynamodb.models.dynamo_type import DynamoType  # noqa: PLC0415

        self._tables: dict[str, Table] = {}
        self._lengths: dict[str, int] = {}
        self._items: dict[tuple[str, Any], Any] = {}
        for action in actions:
            # moto reports an invalid action itself, before it changes anything.
            with suppress(Exception):
                (operation,) = action.values()
                table = backend.get_table(operation["TableName"])
                shard = table.stream_shard
                if table.name not in self._tables:
                    self._tables[table.name] = table
                    self._lengths[table.name] = 0 if shard is None else len(shard.items)
                key = operation.get("Item") or operation["Key"]
                hash_key = DynamoType(key[table.hash_key_attr])
                found = (table.name, hash_key)
                if found not in self._items:
                    item = table.items.get(hash_key)
                    self._items[found] = copy.deepcopy(item)

    @contextmanager
    def uncopied(self) -> Iterator[None]:
        """Context manager: let moto use each table in place of a copy."""
        for table in self._tables.values():
            vars(table)["__deepcopy__"] = lambda _, table=table: table
        try:
            yield
        finally:
            for table in self._tables.values():
                del vars(table)["__deepcopy__"]

    def put_back(self) -> None:
        for (name, hash_key), item in self._items.items():
            items: Any = self._tables[name].items
            if item is None:
                items.pop(hash_key, None)
            else:
                items[hash_key] = item
        for name, table in self._tables.items():
            if table.stream_shard is not None:
                del table.stream_shard.items[self._lengths[name] :]


def _get_value(by_any_name: Any) -> Any:
    def get_value(self: Any, value: Any, key: str, shape: Any) -> Any:
        # DynamoDB's attributes already have the right name.
        service = self.operation_model.service_model.service_name
        if service == "dynamodb" and type(value) is dict:
            return value.get(key)
        return by_any_name(self, value, key, shape)

    return get_value
