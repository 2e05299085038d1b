"""The largest size that the built bundle may have."""

from collections.abc import Iterator
from pathlib import Path

MAX_BYTES = 30_000_000  # unzipped
MAX_ZIPPED = 10_000_000


def files(bundle: Path) -> Iterator[Path]:
    """Yield all files of a bundle."""
    return (path for path in bundle.rglob("*") if path.is_file())
