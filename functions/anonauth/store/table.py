"""Calls to the table: repeated when they fail, and refusals told from outages."""

import time
import uuid
from collections.abc import Callable
from types import SimpleNamespace
from typing import TypeVar

from botocore.config import Config
from botocore.session import Session
from pynamodb.exceptions import DoesNotExist, PynamoDBException, TransactWriteError
from pynamodb.transactions import TransactWrite

from anonauth.aws_answers import check_answers
from anonauth.aws_session import make_session
from anonauth.backoff import jittered_pause
from anonauth.errors import StoreUnavailable
from anonauth.store.items import (
    AccountItem,
    CounterItem,
    GoneItem,
    IdentityItem,
    OnceItem,
    RingItem,
    ScanItem,
    TableItem,
    UserItem,
)

ATTEMPTS = 3
"""Attempts of each call, within a function's 29 s.

An attempt takes at most 0.5 s to connect and 2 s to read.
"""

_CONNECT_TIMEOUT = 0.5  # seconds; PynamoDB's default is 15
_READ_TIMEOUT = 2.0  # seconds; PynamoDB's default is 30
_PAUSE = 0.05  # seconds after the first attempt, on average; see `jittered_pause`
_LONGEST_PAUSE = 0.2  # seconds

# Error codes that are sure to mean that nothing was written. (TransactionConflict also
# hits plain updates, and botocore does not know that it can be repeated.)
_NOT_APPLIED = frozenset(
    {
        "ProvisionedThroughputExceeded",
        "RequestLimitExceeded",
        "Throttling",
        "ThrottlingError",
        "TransactionConflict",
    }
)

_T = TypeVar("_T")
_Item = TypeVar("_Item", bound=TableItem)


class WriteRefused(Exception):
    """A write was refused because its condition did not hold.

    Args:
        perhaps_ours: An earlier attempt of the same write may have taken effect.
    """

    def __init__(self, *, perhaps_ours: bool) -> None:
        super().__init__()
        self.perhaps_ours = perhaps_ours


class Table:
    """One DynamoDB table.

    Args:
        endpoint_url: Address of another engine, None for AWS.
        pause: Waits that many seconds between attempts. Tests pass a function that
            does not wait.
    """

    def __init__(
        self,
        table_name: str,
        *,
        region: str,
        endpoint_url: str | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._pause = pause
        meta = {
            "table_name": table_name,
            "region": region,
            "host": endpoint_url,
            "connect_timeout_seconds": _CONNECT_TIMEOUT,
            "read_timeout_seconds": _READ_TIMEOUT,
            # `retry_configuration` would be ignored here.
            "max_retry_attempts": 0,
        }
        # PynamoDB configures classes, not objects, so each store makes classes of its
        # own. Their common base makes them share one connection.
        base: type[TableItem] = type(
            "TableItem", (TableItem,), {"Meta": type("Meta", (), meta)}
        )
        self._connection = base._get_connection().connection  # noqa: SLF001
        # PynamoDB would make a session for each thread. Only this one checks answers
        # for damage.
        self._aws_session = make_session(region)
        self._connection._local = SimpleNamespace(session=self._aws_session)  # type: ignore[assignment]  # noqa: SLF001
        check_answers(self._aws_session)
        # The SDK would otherwise compose its user agent for each call, in 0.1 ms.
        self._aws_session.set_default_client_config(Config(user_agent="anonauth"))

        def bound(item: type[_Item]) -> type[_Item]:
            return type(item.__name__, (item, base), {})

        self._user_item = bound(UserItem)
        self._identity_item = bound(IdentityItem)
        self._account_item = bound(AccountItem)
        self._counter_item = bound(CounterItem)
        self._gone_item = bound(GoneItem)
        self._once_item = bound(OnceItem)
        self._ring_item = bound(RingItem)
        self._scan_item = bound(ScanItem)

    @property
    def aws_session(self) -> Session:
        """The SDK's session, which also makes the clients of other services.

        The answers to all its clients are checked (`check_answers`). Threads may share
        a client, but must not make clients at the same time.

        A second session would read AWS's endpoints again.
        """
        return self._aws_session

    def connect(self) -> None:
        """Make the client now. Threads may share it, but must not make it."""
        _ = self._connection.client

    def _send(self, call: Callable[[], _T], *, conflicts: int = 0) -> _T:
        """Make one call to the table, at most `ATTEMPTS` times.

        Args:
            conflicts: How many conflicts with other writes do not count as attempts.
                DynamoDB answers them at once, so it costs little to wait until they
                are over.

        Raises:
            WriteRefused: A condition did not hold.
            StoreUnavailable: No attempt was answered. A write may have taken effect.
        """
        perhaps_ours, attempt, left = False, 0, ATTEMPTS
        while left:
            if attempt:
                self._pause(jittered_pause(attempt, _PAUSE, _LONGEST_PAUSE))
            attempt += 1
            try:
                return call()
            except DoesNotExist:
                raise
            except PynamoDBException as exc:
                failure = exc
            # PynamoDB raises one class for a refusal and for an unreachable engine.
            # Only the codes tell them apart. Without a code, or with a 5xx, the write
            # may have happened.
            codes = _codes(failure)
            if "ConditionalCheckFailed" in codes:
                raise WriteRefused(perhaps_ours=perhaps_ours) from failure
            if not codes or not codes <= _NOT_APPLIED:
                perhaps_ours = True
            if conflicts and codes == {"TransactionConflict"}:
                conflicts -= 1
            else:
                left -= 1
        raise StoreUnavailable from failure

    def _try_write(
        self,
        call: Callable[[], object],
        *,
        is_written: Callable[[], bool] = lambda: False,
        conflicts: int = 0,
    ) -> bool:
        """Make a conditional write, and say whether it took effect.

        A reply can be lost after the write took effect. The write is then repeated,
        and the repetition meets what the first attempt has written. Its condition
        fails although the write was successful (design.md §4). So if an earlier
        attempt may have won, the table is read before a refusal counts.

        Args:
            call: The write.
            is_written: Reads the table, and says whether it is as the write leaves it.
                It is called only if an earlier attempt may have won. By default a
                refusal always counts, for callers that read again and decide again.
            conflicts: As for `_send`.

        Raises:
            StoreUnavailable: No attempt was answered. The write may have taken effect.
        """
        try:
            self._send(call, conflicts=conflicts)
        except WriteRefused as refused:
            return refused.perhaps_ours and is_written()
        return True

    def _transaction(self, fill: Callable[[TransactWrite], None]) -> Callable[[], None]:
        """Return the call that makes one transaction of what `fill` puts into it."""
        # All attempts have the same token, by which DynamoDB knows a repetition from a
        # second transaction.
        token = str(uuid.uuid4())

        def commit() -> None:
            with TransactWrite(
                connection=self._connection, client_request_token=token
            ) as transaction:
                fill(transaction)

        return commit


def _codes(failure: PynamoDBException) -> set[str]:
    # A cancelled transaction has one code for each item that stopped it.
    if isinstance(failure, TransactWriteError) and failure.cancellation_reasons:
        codes = {r.code for r in failure.cancellation_reasons if r is not None}
    else:
        # Not `cause_response_code`: it fails on a time-out, whose response is None.
        response = getattr(failure.cause, "response", None) or {}
        codes = {response.get("Error", {}).get("Code", "")}
    return {code.removesuffix("Exception") for code in codes if code}
