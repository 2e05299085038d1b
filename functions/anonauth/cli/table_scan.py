"""A scan of the whole table by several threads, with a progress bar."""

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from anonauth.cli.deployment import Deployment
from anonauth.cli.signals import block_signals_in_new_threads
from anonauth.cli.text_table import make_console
from anonauth.domain.users import UserFilter, UserPage
from anonauth.ports import OverviewStore

# The main thread wakes up this often. Asleep for good, it might never notice Ctrl-C
# (see `signals`).
_WAKE_SECONDS = 0.2


class ParallelScan:
    """A scan of all users that pass a filter, with a thread for each segment.

    Args:
        rate: Limit in read units a second for all segments together. None: no limit.
        repeat: Calls a function that reads a page, again and again if it has to be.
    """

    def __init__(
        self,
        store: OverviewStore,
        *,
        segments: int,
        user_filter: UserFilter,
        rate: float | None = None,
        repeat: Callable[[Callable[[], UserPage]], UserPage] = lambda read: read(),
    ) -> None:
        self._repeat = repeat
        self._store = store
        self._segments = segments
        self._user_filter = user_filter
        self._rate = rate
        self._stopped = threading.Event()

    @property
    def is_stopped(self) -> bool:
        """Whether an error or Ctrl-C has ended the scan. Long work on a page asks."""
        return self._stopped.is_set()

    def run(
        self, positions: Mapping[int, str], on_page: Callable[[int, UserPage], None]
    ) -> None:
        """Read segments to their ends. An error or Ctrl-C stops all threads first.

        Args:
            positions: Where to start in each segment. "" is its beginning.
            on_page: Called with each page and its segment, by several threads at once.
        """
        if not positions:
            return
        self._store.connect()
        with ThreadPoolExecutor(len(positions)) as threads:
            try:
                with block_signals_in_new_threads():
                    running = {
                        threads.submit(self._read, segment, after, on_page)
                        for segment, after in positions.items()
                    }
                while running:
                    done, running = wait(running, _WAKE_SECONDS, FIRST_EXCEPTION)
                    for each in done:
                        each.result()
            finally:
                self._stopped.set()

    def _read(
        self, segment: int, after: str, on_page: Callable[[int, UserPage], None]
    ) -> None:
        position: str | None = after
        while position is not None and not self._stopped.is_set():
            after = position
            page = self._repeat(
                lambda after=after: self._store.scan_users(  # type: ignore[misc]
                    segment, self._segments, after, self._user_filter
                )
            )
            on_page(segment, page)
            position = page.position
            if self._rate is not None:
                self._stopped.wait(page.units * self._segments / self._rate)


@contextmanager
def show_progress(items: int, done: int = 0) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on stderr, and yield a function that advances it.

    Without a terminal there is no bar.

    Args:
        items: Number of all items, as far as it is known. 0 if it is not.
        done: Number of items read before.
    """
    screen = make_console(stderr=True)
    bar = Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=screen,
        transient=True,
        disable=not screen.is_terminal,
    )
    with block_signals_in_new_threads():
        bar.start()
    try:
        task = bar.add_task("items", total=max(items, done) or None, completed=done)
        yield lambda count: bar.advance(task, count)
    finally:
        bar.stop()


def read_table_size(deployment: Deployment) -> tuple[str, int]:
    """Return the table's full name, and roughly how many items it has.

    DynamoDB updates this number every six hours.
    """
    table = deployment.connect("dynamodb").describe_table(TableName=deployment.table)[
        "Table"
    ]
    return str(table.get("TableArn", deployment.table)), int(table.get("ItemCount", 0))
