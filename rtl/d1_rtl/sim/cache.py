"""A content-addressed cache of builds that survives interruption and parallel builders.

An entry is a folder named for a hash of everything that went into it. It is built beside its final
place and renamed when complete, so a folder that exists is whole. A lock per entry makes a second
process wait for the first instead of building the same thing.
"""

import fcntl
import hashlib
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from d1_golden.cache import cache_root as root
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

__all__ = ["BuildProgress", "build", "clean", "root"]

#: How long a process waits for another that builds the same entry, in seconds.
LOCK_TIMEOUT_S = 3600
#: Compile time of Verilator's C++ where nothing has been built yet, in seconds per megabyte.
DEFAULT_S_PER_MB = 6.0
_HISTORY = "history.jsonl"
_LINE_INTERVAL_S = 20.0


def clean() -> int:
    """Delete the cache; return the number of bytes freed."""
    folder = root()
    freed = sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())
    shutil.rmtree(folder, ignore_errors=True)
    return freed


def build(
    kind: str, name: str, inputs: Iterable[str | bytes], make: Callable[[Path], None]
) -> Path:
    """Return the folder of an entry; `make` fills it when there is none yet.

    Parameters
    ----------
    kind
        Group of entries; a folder of the cache.
    name
        What people call it. Not part of the key.
    inputs
        Everything that the result depends on: contents, flags, versions of tools.
    make
        Called with an empty folder, at most once among all processes. What it raises is passed
        on, and nothing is kept.

    Raises
    ------
    TimeoutError
        When another process builds the same entry for longer than `LOCK_TIMEOUT_S`.
    """
    digest = hashlib.sha256(kind.encode())
    for part in inputs:
        content = part.encode() if isinstance(part, str) else part
        digest.update(b"%d:" % len(content) + content)
    entry = root() / kind / f"{name}-{digest.hexdigest()[:20]}"
    if entry.is_dir():
        return entry
    entry.parent.mkdir(parents=True, exist_ok=True)
    with _locked(entry.with_suffix(".lock"), name):
        if not entry.is_dir():
            partial = entry.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)  # of a builder that was killed
            partial.mkdir()
            try:
                make(partial)
                partial.rename(entry)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    return entry


@contextmanager
def _locked(path: Path, name: str) -> Iterator[None]:
    with path.open("w") as file:
        deadline = time.monotonic() + LOCK_TIMEOUT_S
        waited = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TimeoutError(
                        f"waited {LOCK_TIMEOUT_S} s for another process that builds {name}; "
                        f"the lock is {path}"
                    ) from None
            if not waited:
                print(f"waiting for another process that builds {name}", file=sys.stderr)
                waited = True
            time.sleep(0.1)
        yield


class BuildProgress:
    """Tell on stderr how far a compilation is and how long it should take.

    A terminal gets a bar, anything else a line now and then. The estimate comes from earlier
    builds on this machine: seconds per byte of C++.

    Parameters
    ----------
    name
        What is built.
    source_bytes
        Size of the C++ to compile.
    """

    def __init__(self, name: str, source_bytes: int) -> None:
        self.name = name
        self.source_bytes = source_bytes
        self.estimate_s = source_bytes * _seconds_per_byte()
        self._started = self._printed = time.monotonic()
        console = Console(stderr=True)
        self._bar: Progress | None = None
        self._percent = 0
        if console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"), BarColumn(), console=console, transient=True
            )
            self._bar.start()
            self._task = self._bar.add_task(self._text(), total=100)
        else:
            print(self._text(), file=sys.stderr, flush=True)

    def _text(self) -> str:
        elapsed = time.monotonic() - self._started
        left = self.estimate_s - elapsed
        if self._percent >= 20 or left < 0:  # what has been seen is worth more than the estimate
            left = max(left, elapsed * (100 - self._percent) / max(self._percent, 1))
        return (
            f"building {self.name}: {self._percent}% of objects, about {max(left, 1):.0f} s "
            "(first time; cached afterwards)"
        )

    def update(self, percent: int) -> None:
        """Show that `percent` of the objects are compiled."""
        now = time.monotonic()
        self._percent = percent
        if self._bar is not None:
            self._bar.update(self._task, completed=percent, description=self._text())
        elif now - self._printed > _LINE_INTERVAL_S:
            self._printed = now
            print(self._text(), file=sys.stderr, flush=True)

    def close(self, *, complete: bool) -> None:
        """Take the bar away; a complete build is remembered for later estimates."""
        if self._bar is not None:
            self._bar.stop()
        if complete:
            record = {
                "name": self.name,
                "source_bytes": self.source_bytes,
                "seconds": round(time.monotonic() - self._started, 3),
            }
            with (root() / _HISTORY).open("a") as history:
                history.write(json.dumps(record) + "\n")


def _seconds_per_byte() -> float:
    """Return the rate of the largest recent builds; the default counts as one of a megabyte."""
    records = [(1e6, DEFAULT_S_PER_MB)]
    history = root() / _HISTORY
    if history.exists():
        recent = map(json.loads, history.read_text().splitlines()[-20:])
        records += sorted((record["source_bytes"], record["seconds"]) for record in recent)[-5:]
    return sum(seconds for _, seconds in records) / sum(size for size, _ in records)
