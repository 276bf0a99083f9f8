"""The times in logs: Docker's json-file, the CRI's own lines, and the engine's rendering.

Source: https://github.com/kubernetes/design-proposals-archive/blob/main/node/kubelet-cri-logging.md
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from forensics_core._internal import strict_json
from forensics_core.api.order import ArtifactKind
from forensics_core.bundle.manifest import Artifact
from forensics_core.bundle.reader import BundleReader
from forensics_core.readers.artifacts import gunzipped, lines, read_artifact
from forensics_core.readers.timeline.entry import EntrySource, TimelineEntry, from_stamp

WHAT = "Logged Time"


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
    """Yield entries, one for each line that has a time, with the line as it is.

    A line without one belongs to the line before it, and gets its time.
    """
    container, time = artifact.container or "", None
    async with aclosing(read_artifact(bundle, artifact.name)) as stored:
        gzipped = artifact.name.endswith(".gz")
        blocks = gunzipped(stored, artifact.name) if gzipped else stored
        async with aclosing(blocks), aclosing(lines(blocks)) as batches:
            async for batch in batches:
                found = []
                for line in batch:
                    time = _time(line) or time
                    if time is not None:
                        text = line.decode(errors="surrogateescape")
                        found.append(
                            TimelineEntry(
                                time, EntrySource.LOG, container, text, WHAT, artifact.name
                            )
                        )
                yield found


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
