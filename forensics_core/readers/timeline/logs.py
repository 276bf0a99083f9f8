"""The times in logs: Docker's json-file, the CRI's own lines, and the engine's rendering.

EntrySource: https://github.com/kubernetes/design-proposals-archive/blob/main/node/kubelet-cri-logging.md
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

from forensics_core._internal import strict_json
from forensics_core.api.order import ArtifactKind
from forensics_core.bundle.manifest import Artifact
from forensics_core.bundle.reader import BundleReader
from forensics_core.errors import VerificationError
from forensics_core.readers.artifacts import gunzipped, lines, read_artifact
from forensics_core.readers.timeline.entry import (
    EntrySource,
    TimelineEntry,
    from_datetime,
    from_stamp,
)

WHAT = "Logged Time"
NEAREST = "Logged Time of the Nearest Line"
"""Of a line that has no time itself."""
CAPTURED = "Captured, no Time is Known"
"""Of a line that has none and no neighbour with one either."""
MAX_WAITING = 10_000
"""Lines at the beginning of a log that wait for the first one with a time: 64 KiB each at most."""
_MAX_BYTES = 16 * 1024 * 1024


def log_artifacts(bundle: BundleReader, container: str) -> list[Artifact]:
    """Return the logs of a container that can be read."""
    return [
        artifact
        for artifact in bundle.statement.predicate.artifacts
        if artifact.kind is ArtifactKind.LOGS
        and artifact.container == container
        and artifact.name in bundle.objects
    ]


async def log_entries(
    bundle: BundleReader, artifact: Artifact
) -> AsyncGenerator[list[TimelineEntry], None]:
    """Yield an entry for each line, with the line as it is.

    A line without a time belongs to the one before it, and gets its time; those at the beginning
    get the first that there is; where there is none, all get the time at which the log was
    captured. What such a time is of, `TimelineEntry.what`, says so.
    """
    log = _DatedLog(artifact)
    async with aclosing(read_artifact(bundle, artifact.name)) as stored:
        gzipped = artifact.name.endswith(".gz")
        blocks = gunzipped(stored, artifact.name) if gzipped else stored
        async with aclosing(blocks), aclosing(lines(blocks)) as batches:
            try:
                async for batch in batches:
                    yield [entry for line in batch for entry in log.take(line)]
            except VerificationError:
                yield list(log.end())
                raise
        yield list(log.end())


class _DatedLog:
    """The lines of one log, and the nearest time of those that have none."""

    def __init__(self, artifact: Artifact) -> None:
        self._container = artifact.container or ""
        self._name = artifact.name
        self._captured = from_datetime(artifact.started_at)
        self._time: int | None = None
        self._waiting: list[bytes] | None = []
        """Lines without a time; None once nobody waits any more."""
        self._size = 0

    def take(self, line: bytes) -> Iterator[TimelineEntry]:
        """Yield the entries that are known once this line is."""
        own = _time(line)
        if own is not None:
            self._time = own
            yield from self.end()
            yield self._entry(line, own, WHAT)
        elif self._waiting is None:
            yield self._without_time(line)
        else:
            self._waiting.append(line)
            self._size += len(line)
            if len(self._waiting) >= MAX_WAITING or self._size > _MAX_BYTES:
                yield from self.end()

    def end(self) -> Iterator[TimelineEntry]:
        """Yield those that have waited: there is no nearer time to come."""
        waiting, self._waiting = self._waiting or [], None
        yield from (self._without_time(line) for line in waiting)

    def _without_time(self, line: bytes) -> TimelineEntry:
        if self._time is None:
            return self._entry(line, self._captured, CAPTURED)
        return self._entry(line, self._time, NEAREST)

    def _entry(self, line: bytes, time: int, what: str) -> TimelineEntry:
        text = line.decode(errors="surrogateescape")
        return TimelineEntry(time, EntrySource.LOG, self._container, text, what, self._name)


def _time(line: bytes) -> int | None:
    if line.startswith(b"{"):
        return _json_time(line)
    return from_stamp(line[:40].decode("ascii", "replace"))


def _json_time(line: bytes) -> int | None:
    """Return the time of a line of Docker's json-file; one that was cut has it no more."""
    try:
        time = strict_json.loads_row(line).get("time")
    except ValueError:
        return None
    return from_stamp(time) if isinstance(time, str) else None
