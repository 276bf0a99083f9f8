"""`diff.json`: how the container's file system differs from its image.

Shape: `{"method": "overlay-upperdir", "changes": [{"kind": "A", "path": "/tmp/x", ...}, ...]}` with
the kinds A (added), C (changed) and D (deleted); `collector.changes` says what else is in a row.
Where the layers cannot be read, the runtime's own list takes its place (method `engine-api`), which
has kind and path only. The list is streamed, however long it is.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress

from anyio import to_thread

from collector.changes import ChangeSet, OpenLayers, batches
from collector.procfs import Process
from collector.runtime import Change, Unavailable
from collector.scene import Scene
from collector.text import readable
from forensics_core.api.order import ArtifactKind
from forensics_core.evidence.bundle import Findings
from forensics_core.evidence.manifest import Flag

NAME = "diff.json"
METHOD = "overlay-upperdir"
ENGINE_METHOD = "engine-api"


async def capture(scene: Scene) -> None:
    """Store the changes; flagged where the list is cut, moved while it was made, or is reduced."""
    try:
        async with scene.runtime.layers(scene.container) as layers:
            await _from_the_layers(scene, layers)
    except Unavailable as why:
        try:
            await _from_the_runtime(scene, why)
        except Unavailable as neither:
            raise Unavailable(f"{why} {neither}", reason=why.reason) from neither


async def _from_the_layers(scene: Scene, layers: OpenLayers) -> None:
    changes, findings = ChangeSet(layers), Findings()
    head = {"method": METHOD, "uidMap": await _uid_map(scene)}
    await _store(scene, _document(head, _read(changes, findings)), METHOD, findings)
    if changes.truncated:
        message = f"Only the first {changes.max_rows} changes are listed"
        scene.lacks(f"{NAME}, its rest", "TooLarge", message)


async def _read(changes: ChangeSet, findings: Findings) -> AsyncIterator[list[dict[str, object]]]:
    """Walk in a thread, a part at a time."""
    lists = batches(changes.rows())
    while (batch := await to_thread.run_sync(next, lists, None)) is not None:
        yield batch
    if changes.truncated:
        findings.flags.add(Flag.TRUNCATED)
    for path in changes.changed_while_read:
        findings.flags.add(Flag.CHANGED_WHILE_READ)
        findings.remark(readable(path), "It became something else, or went away, while it was read")


async def _uid_map(scene: Scene) -> str | None:
    """Return how the container's users are numbered on the machine, while it runs."""
    pid = scene.container.pid

    def read() -> str | None:
        with suppress(OSError), Process.open(pid or 0) as process:
            return process.read("uid_map").decode()
        return None

    return await to_thread.run_sync(read)


async def _from_the_runtime(scene: Scene, why: Unavailable) -> None:
    findings = Findings(flags={Flag.REDUCED_FIDELITY})
    async with scene.runtime.changes(scene.container) as changes:
        document = _document({"method": ENGINE_METHOD}, _listed(changes, findings))
        await _store(scene, document, ENGINE_METHOD, findings)
    message = f"The runtime's own list misses edits that keep size and time, and details: {why}"
    scene.lacks("details of the changes", why.reason, message, requested=False)


async def _listed(
    changes: AsyncIterator[Change], findings: Findings
) -> AsyncIterator[list[dict[str, object]]]:
    async for change in changes:
        if "\ufffd" in change.path:
            findings.remark(change.path, "The runtime's list replaces bytes that are not UTF-8")
        yield [{"kind": change.kind, "path": change.path}]


async def _store(
    scene: Scene, document: AsyncIterator[bytes], method: str, findings: Findings
) -> None:
    await scene.add(
        NAME,
        ArtifactKind.DIFF,
        document,
        method=method,
        media_type="application/json",
        findings=findings,
    )


async def _document(
    head: Mapping[str, object], lists: AsyncIterator[list[dict[str, object]]]
) -> AsyncIterator[bytes]:
    """Yield one JSON document, a row to a line."""
    yield json.dumps(head)[:-1].encode() + b', "changes": ['
    separator = "\n"
    async for rows in lists:
        text = ""
        for row in rows:
            text += separator + json.dumps(row, ensure_ascii=False)
            separator = ",\n"
        if text:
            yield text.encode(errors="backslashreplace")
    yield b"\n]}\n"
