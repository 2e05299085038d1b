"""The functions of a template, run in this process as Lambda would run them."""

import functools
import importlib
import logging
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self

from botocore.exceptions import BotoCoreError, ClientError

from anonauth import wiring
from anonauth.domain.encoding import rfc3339
from anonauth.domain.events import UserEvent
from anonauth.local import aws, reasons, settings_file
from anonauth.local.api_gateway import FunctionStopped, FunctionTimedOut
from anonauth.local.command_error import CommandError
from anonauth.local.dynamodb import moto_state
from anonauth.local.dynamodb.live_table import LiveTable, Record
from anonauth.local.dynamodb.local_store import LocalStore
from anonauth.local.journal import DataDirectory
from anonauth.local.outbox import RecentItems, RecordingBus, RecordingMailer, SentMail
from anonauth.local.template import ACCOUNT, REGION, LambdaFunction, Template
from anonauth.ports import EventBus, Mailer
from anonauth.provider_settings.schema import SettingsDocument
from anonauth.settings import Settings, SettingsError
from anonauth.store import Store

LambdaEvent = dict[str, Any]

logger = logging.getLogger("anonauth.serve")

# Stream records in one event, as in the template.
_BATCH_SIZE = 100

# A jump of the clock stops at least this often, to run the scheduled functions.
_LONGEST_STEP = timedelta(days=30)

LONGEST_JUMP = timedelta(days=5 * 366)
"""Longer than any item lives. Its 61 stops take 1.5 s, mostly for new keys. The service
answers no request during a jump."""


class LocalClock:
    """The real time plus the sum of all jumps."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        """Return the time of the local service, in UTC."""
        return wiring.utc_now() + self.ahead

    def move_to(self, instant: datetime) -> None:
        """Set the clock to `instant`. It keeps running from there."""
        self.ahead = instant - wiring.utc_now()


@dataclass(frozen=True, slots=True)
class LambdaContext:
    """The context object of an invocation, with the fields that Powertools reads."""

    function_name: str
    memory_limit_in_mb: int
    deadline: float
    function_version: str = "$LATEST"
    log_group_name: str = "local"
    log_stream_name: str = "local"
    aws_request_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def invoked_function_arn(self) -> str:
        """The ARN of the function."""
        return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{self.function_name}"

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds that the function may still run."""
        return max(0, int((self.deadline - time.monotonic()) * 1000))


@dataclass(frozen=True, slots=True)
class _LoadedFunction:
    function: LambdaFunction
    handler: Callable[[LambdaEvent, LambdaContext], Any]
    services: wiring.Services


class _LocalServices(wiring.Services):
    """The real services, which also record the mails and events that they send."""

    def __init__(
        self,
        settings: Settings,
        clock: LocalClock,
        table: LiveTable,
        outbox: RecentItems[SentMail],
        events: RecentItems[UserEvent],
    ) -> None:
        super().__init__(settings, clock)
        # One function runs at a time, so a pause would stop all requests.
        self.pause = lambda _: None
        self._table = table
        self._outbox = outbox
        self._events = events

    @functools.cached_property
    def store(self) -> Store:
        """The real store; with moto it finds expiring users without a scan."""
        made = (
            super().store
            if self._table.expiring_between is None
            else LocalStore(
                self.settings.table_name,
                region=self.settings.region,
                expiring_between=self._table.expiring_between,
            )
        )
        aws.share_service_models(made.aws_session)
        aws.confine_session(self.settings.endpoint_url or None, made.aws_session)
        return made

    @functools.cached_property
    def bus(self) -> EventBus:
        """The real bus, with a record of its events."""
        return RecordingBus(super().bus, self._events)

    @functools.cached_property
    def mailer(self) -> Mailer:
        """The real mailer, with a record of its mails."""
        return RecordingMailer(super().mailer, self._outbox, self.clock)


class LocalDeployment:
    """A template deployed in this process: table, key, settings and functions.

    A context manager. Each function runs with its environment from the template, apart
    from the few variables that must differ on this machine. One function runs at a
    time, because moto's transactions are not atomic between threads. Without an
    `endpoint_url` all deployments of a process share one table, so those that run
    together need the same time.

    Args:
        template: The template, with its parameters filled in.
        base_url: The public address of the service, without a trailing slash.
        page_origins: Origins of the playground in this machine's browser. They may call
            the service whatever `AllowedOrigins` says.
        endpoint_url: Address of an AWS emulator; None for the built-in AWS.
        settings: The settings document, checked. None for the stored document, or the
            default if none is stored.
        data: Directory that keeps all data; None for memory. Not with `endpoint_url`.
    """

    def __init__(
        self,
        template: Template,
        *,
        base_url: str = "http://127.0.0.1:8080",
        page_origins: tuple[str, ...] = (),
        endpoint_url: str | None = None,
        settings: str | None = None,
        data: DataDirectory | None = None,
    ) -> None:
        self.template = template
        self._page_origins = page_origins
        self.settings = SettingsDocument()
        self.outbox: RecentItems[SentMail] = RecentItems()
        self.events: RecentItems[UserEvent] = RecentItems()
        self.refused_calls: RecentItems[reasons.RefusedCall] = RecentItems()
        self.clock = LocalClock()
        self.lock = threading.RLock()
        self._endpoint_url = endpoint_url
        self._settings_text = settings
        self._replaced = {
            "BASE_URL": base_url,
            "TABLE_NAME": aws.TABLE_NAME,
            "KMS_KEY_ID": aws.KEY_ALIAS,
            "ENDPOINT_URL": endpoint_url or "",
            # A developer's key server may be on this machine.
            "ALLOW_PRIVATE_ISSUERS": "true",
            # Metrics are for CloudWatch. Here they would clutter the log.
            "METRICS": "false",
        }
        self._loaded: dict[str, _LoadedFunction] = {}
        self._table: LiveTable | None = None
        self._undelivered: list[Record] = []
        self._data = data
        self._saved_aws: dict[str, Any] = {}
        self.data_summary = ""
        """Summary of the data directory at the start; empty without a directory."""
        self._closing = ExitStack()

    @property
    def publishes_events(self) -> bool:
        """Whether the table has a stream, so that events can be published."""
        return self._table is not None and self._table.has_stream

    def __enter__(self) -> Self:
        """Start the deployment. The key ring exists afterwards.

        Raises:
            CommandError: AWS, the template, the data directory or a setting cannot be
                used. The message names the cause.
        """
        with ExitStack() as opening:
            if self._data is not None:  # before another service could be disturbed
                opening.enter_context(self._data)
            opening.enter_context(
                aws.provide_table_and_key(self.template.table, self._endpoint_url)
            )
            if self._data is not None:
                self._restore(self._data)
                opening.callback(moto_state.delete_parameters, self._saved_aws)
            self._open_settings(opening)
            table = LiveTable(aws.TABLE_NAME, self._endpoint_url, self.clock)
            self._table = table
            if self._data is not None:  # before anything is encrypted by its keys
                self._save_aws(self._data)
            self._loaded = {
                function.name: self._load_function(function, table)
                for function in self.template.functions.values()
            }
            opening.enter_context(reasons.watch_log())
            self.run_schedules()
            self._closing = opening.pop_all()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self.lock:
            # A late request must not run after moto has stopped: it would reach AWS.
            self._loaded = {}
            self._table = None
            self._closing.close()

    def invoke(self, name: str, event: LambdaEvent) -> Any:
        """Run a function of the template on an event and return its answer.

        Raises:
            FunctionTimedOut: The function took longer than its Timeout. It still ran to
                its end, because a thread cannot be stopped.
            FunctionStopped: The deployment has ended.
            StateNotSaved: Its changes cannot be saved; see `deliver_changes`.
        """
        asked = time.monotonic()
        with self.lock:
            reasons.note_wait(time.monotonic() - asked)
            try:
                return self._run_function(name, event)
            finally:
                self.deliver_changes()

    def deliver_changes(self) -> None:
        """Pass the table's changes to the function on its stream.

        As on AWS, the function gets a record that it did not take again at the next
        call. A record that it cannot read is dropped; AWS would store it in the bucket.

        Raises:
            StateNotSaved: The data directory cannot be written. The request must not be
                answered: a restart would forget what the answer says.
        """
        with self.lock:
            if self._table is None:
                return
            changes: list[Record] = []
            try:
                changes = self._table.changes()
            except (BotoCoreError, ClientError) as exc:
                # The request itself has succeeded, so its answer stays the same.
                logger.error("the stream cannot be read: %s", type(exc).__name__)  # noqa: TRY400
            self._undelivered += changes
            if self._data is not None:
                self._save_changes(self._data, changes)
            waiting_before = len(self._undelivered)
            functions = self.template.functions.values()
            name = next((f.name for f in functions if f.streamed), None)
            size = _BATCH_SIZE
            while self._undelivered and name in self._loaded:
                taken = self._pass_records(name, self._undelivered[:size])
                if taken == 0:
                    break  # a temporary failure
                if taken is None and size > 1:
                    size = 1  # Lambda gets there by halving the batch
                else:
                    del self._undelivered[: taken or 1]
            delivered = waiting_before - len(self._undelivered)
            if self._data is not None and delivered:
                self._data.append({"told": delivered})

    def save_outside_changes(self) -> None:
        """Save and deliver changes that another program made in the built-in AWS.

        Raises:
            StateNotSaved: See `deliver_changes`.
        """
        self.deliver_changes()
        with self.lock:
            if self._data is not None and self._table is not None:
                self._save_aws(self._data)

    def advance(self, duration: Any) -> datetime:
        """Move the clock forward, and return the new time.

        On the way it stops on each day on which items are deleted by TTL, warnings fall
        due or keys are rotated.

        Args:
            duration: A timedelta, or an isodate Duration with months and years.

        Raises:
            ValueError: The duration is not positive, or longer than `LONGEST_JUMP`.
            OverflowError: The clock would pass the year 9999.
            StateNotSaved: See `deliver_changes`.
        """
        with self.lock:
            now = self.clock()
            end: datetime = now + duration
            if not timedelta(0) < end - now <= LONGEST_JUMP:
                raise ValueError
            for stop in self._stops_between(now, end):
                self.clock.move_to(stop)
                if self._data is not None:
                    self._data.append({"ahead": self.clock.ahead.total_seconds()})
                if self._table is not None:
                    self._table.sweep()
                self.run_schedules()
            self.deliver_changes()  # of a sweep, if no scheduled function ran after it
            return self.clock()

    def environment(self, name: str) -> dict[str, str]:
        """Return the environment variables that a function runs with."""
        # Only variables that the template declares: a variable missing on AWS must be
        # missing here too.
        declared = self.template.functions[name].environment
        values = {
            key: self._replaced.get(key, value) for key, value in declared.items()
        }
        if (origins := values.get("ALLOWED_ORIGINS", "*")) != "*":
            listed = (*filter(None, [origins]), *self._page_origins)
            values["ALLOWED_ORIGINS"] = ",".join(listed)
        return {**values, "AWS_REGION": REGION}

    def run_schedules(self) -> None:
        """Run every scheduled function once, as EventBridge does every day."""
        for name, loaded in self._loaded.items():
            if loaded.function.scheduled:
                self.invoke(name, _schedule_event(name, self.clock()))

    def _restore(self, data: DataDirectory) -> None:
        view = self.template.table.get("StreamSpecification", {}).get("StreamViewType")
        if view not in {"NEW_IMAGE", "NEW_AND_OLD_IMAGES"}:
            raise CommandError(
                "--data needs a table whose stream has the items' new images"
            )
        if not moto_state.is_empty():
            raise CommandError("--data: another service in this process uses the table")
        saved = data.read()
        moto_state.restore_state(saved)
        self.clock.ahead = saved.ahead
        self._undelivered = list(saved.undelivered)
        self._saved_aws = saved.aws
        self.data_summary = "new" if data.is_new else str(saved)

    def _save_aws(self, data: DataDirectory) -> None:
        aws = moto_state.read_aws()
        if aws != self._saved_aws:
            self._saved_aws = aws
            data.append({"aws": aws})

    def _save_changes(self, data: DataDirectory, changes: list[Record]) -> None:
        if changes:
            # One line: a transaction is restored as a whole or not at all.
            data.append({"records": changes})
        else:
            data.flush()
        if data.needs_snapshot:
            data.write_snapshot()

    def _stops_between(self, now: datetime, end: datetime) -> list[datetime]:
        notices = {
            days
            for loaded in self._loaded.values()
            for days in loaded.services.settings.expiry_notice_days
        }
        due = set() if self._table is None else self._table.due_days()
        days = {day - timedelta(days=ahead) for day in due for ahead in {0, *notices}}
        stops = {datetime(d.year, d.month, d.day, 12, tzinfo=UTC) for d in days}
        steps = (end - now) // _LONGEST_STEP
        stops |= {now + number * _LONGEST_STEP for number in range(1, steps + 1)}
        return [*sorted(stop for stop in stops if now < stop < end), end]

    def _run_function(self, name: str, event: LambdaEvent) -> Any:
        loaded = self._loaded.get(name)
        if loaded is None:
            raise FunctionStopped(name)
        with wiring.using(loaded.services):
            deadline = time.monotonic() + loaded.function.timeout
            context = LambdaContext(name, loaded.function.memory, deadline)
            answer = loaded.handler(event, context)
            if time.monotonic() > deadline:
                raise FunctionTimedOut
        return answer

    def _pass_records(self, name: str, batch: list[Record]) -> int | None:
        """Return how many records the function took; None if it raised."""
        try:
            answer = self._run_function(name, {"Records": batch})
        except Exception as exc:  # noqa: BLE001 - whatever a function raises
            logger.error(  # noqa: TRY400
                "%s raised %s on %d records", name, type(exc).__name__, len(batch)
            )
            return None
        failed = {each["itemIdentifier"] for each in answer["batchItemFailures"]}
        numbers = [record["dynamodb"]["SequenceNumber"] for record in batch]
        return next((i for i, n in enumerate(numbers) if n in failed), len(batch))

    def _open_settings(self, opening: ExitStack) -> None:
        name = self.template.settings_parameter
        if not name:  # as on AWS, no provider is enabled then
            return
        text = opening.enter_context(
            aws.provide_parameter(
                name,
                self._settings_text,
                default=settings_file.DEFAULT_DOCUMENT,
                endpoint_url=self._endpoint_url,
            )
        )
        self.settings = settings_file.parse_settings(text, f"SSM parameter {name}")
        asked = self.template.functions["LoginFunction"].environment
        challenged = settings_file.apps_with_challenge(
            self.settings, self.template.app_ids
        )
        if challenged and asked["ANONYMOUS_CHALLENGE"] != "true":
            raise CommandError(
                f"the settings have a challenge for {', '.join(challenged)}, which has "
                "no effect without --parameter AnonymousChallenge=true"
            )
        aws.verify_senders(
            settings_file.mail_senders(self.settings), self._endpoint_url
        )
        opening.enter_context(
            aws.provide_parameter(
                aws.APPS_PARAMETER,
                ",".join(self.template.app_ids),
                default="",
                endpoint_url=self._endpoint_url,
            )
        )

    def _load_function(
        self, function: LambdaFunction, table: LiveTable
    ) -> _LoadedFunction:
        module, _, attribute = function.handler.rpartition(".")
        environment = self.environment(function.name)
        try:
            settings = Settings.from_environment(environment)
        except SettingsError as exc:
            raise CommandError(f"{function.name}: {exc}") from exc
        # Powertools reads the log level when a module makes its Logger.
        with aws.set_variables(
            {k: v for k, v in environment.items() if k.startswith("POWERTOOLS_")}
        ):
            handler = getattr(importlib.import_module(module), attribute)
        services = _LocalServices(settings, self.clock, table, self.outbox, self.events)
        return _LoadedFunction(function, handler, services)


def _schedule_event(name: str, now: datetime) -> LambdaEvent:
    rule = f"arn:aws:events:{REGION}:{ACCOUNT}:rule/local-{name}"
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": ACCOUNT,
        "time": rfc3339(now),
        "region": REGION,
        "resources": [rule],
        "detail": {},
    }
