"""The findings that a status tells: what the rules see in the small documents of a bundle.

These are a node's and a container's words. So only small ones are read, in the version that was
compared, one container's at a time, and verified before anything looks into them; their shape is
bounded before they are parsed, and rules run in a thread with a deadline. Nobody depends on the
answer: where there is none, the status has no findings, and `forensics report` tells them.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import anyio
from anyio import to_thread

from forensics_core._internal.text import printable
from forensics_core.api.findings import (
    FIRST,
    FindingSeverity,
    FindingsStatus,
    FindingStatus,
    SeverityCounts,
)
from forensics_core.bundle.documents import unpacked
from forensics_core.bundle.expected import ExpectedObject
from forensics_core.errors import (
    AccessDenied,
    ForensicsError,
    ObjectNotFound,
    VerificationError,
)
from forensics_core.operator.evidence.manifest import check_shape
from forensics_core.readers.context import POD
from forensics_core.readers.findings.finding import Finding, Rule, Severity
from forensics_core.readers.findings.look import Findings
from forensics_core.readers.findings.node import KERNEL
from forensics_core.readers.findings.small import find_in
from forensics_core.readers.findings.small_documents import SmallDocuments, limit_of
from forensics_core.storage.storage import ReadableStorage, read_small

log = logging.getLogger(__name__)

MAX_PARTS = 60_000
"""Objects and lists within one document."""
MAX_VALUES = 300_000
HELD = 2 * 1024 * 1024
"""Bytes of documents of our own that are held until they are looked at."""
AT_ONCE = 64 * 1024
"""Bytes that are verified in the event loop, within a tenth of a millisecond."""
SUBJECTS = 3
"""Paths or processes that a message names."""
_SUBJECT = 60
"""Characters of each."""
_NAMED_BY_DETAIL = frozenset({Rule.OUTGOING, Rule.SECRET})
"""Rules whose subject says less than what was seen. That of the others may hold a command's
arguments, which are nothing for everybody who may see a status."""
_STILL_ACTIVE = frozenset(
    {
        Rule.RUNS_MEMFD,
        Rule.HIDDEN,
        Rule.RUNS_DELETED,
        Rule.RUNS_NOT_IN_IMAGE,
        Rule.HIDDEN_MODULE,
    }
)
"""Rules about what runs now: with room for so few, it comes before what lies in files."""
_SEVERITIES = {
    Severity.HIGH: FindingSeverity.HIGH,
    Severity.MEDIUM: FindingSeverity.MEDIUM,
    Severity.LOW: FindingSeverity.LOW,
}


class FindingsReader:
    """Looks at bundles for all reconcilers: at one at a time, for `seconds` at most.

    Whoever asks waits for the answer; so no more than `most_waiting` may, and the others get none.
    """

    def __init__(self, seconds: float, most_waiting: int, *, held: int = HELD) -> None:
        self._seconds = seconds
        self._most_waiting = most_waiting
        self._own = OwnDocuments(held)
        self._waiting = 0
        self._one = anyio.Lock()

    def hold(self, data: bytes) -> None:
        """Keep a document that the operator stored itself: it need not be read to be looked at."""
        self._own.hold(data)

    async def find(
        self, store: ReadableStorage, documents: SmallDocuments, name: str
    ) -> FindingsStatus | None:
        """Return what the rules see in `documents` of the bundle in `store`.

        None where that cannot be told now; why not goes into the log, with the checkpoint's `name`.
        Raises nothing: findings are never a reason for a capture to fail.
        """
        if self._waiting >= self._most_waiting:
            log.info("%s: no findings are told: other evidence is being looked at", name)
            return None
        self._waiting += 1
        try:
            with anyio.fail_after(self._seconds):
                async with self._one:
                    found = await self._look(store, documents)
            if found.not_genuine:
                log.warning("%s: not all is looked at: %s", name, found.not_looked_at[0])
            return findings_status(found, documents.left_out)
        except AccessDenied as error:
            # As it was set up: nothing that anybody has to hear of with each capture.
            log.debug("%s: no findings are told: %s", name, error)
        except TimeoutError:
            log.warning("%s: no findings are told: it took over %g s", name, self._seconds)
        except ForensicsError as error:
            log.warning("%s: no findings are told: %s", name, error)
        except Exception:
            log.exception("%s: no findings are told: unexpected", name)
        finally:
            self._waiting -= 1
        return None

    async def _look(self, store: ReadableStorage, documents: SmallDocuments) -> Findings:
        found = Findings()
        tick = deadline(time.monotonic() + self._seconds)
        kernel = await self._read(store, documents.called(KERNEL), found)
        pod = await self._read(store, documents.called(POD), found)
        if kernel:
            await _add(kernel, (), tick, found)
        for container in documents.containers:
            own = await self._read(store, documents.of(container), found)
            if own:
                await _add(own | pod, (container,), tick, found)
        return found

    async def _read(
        self, store: ReadableStorage, wanted: Iterable[ExpectedObject], found: Findings
    ) -> dict[str, bytes]:
        """Return verified documents by name; what is not genuine, or gone, is noted in `found`."""
        documents = {}
        for expected in wanted:
            try:
                limit, version = limit_of(expected), expected.version_id
                stored = self._own.take(expected.sha256)
                if stored is None or len(stored) > limit:
                    stored = await read_small(store, expected.name, version, limit=limit)
                documents[expected.name] = await _verified(stored, expected)
            except (VerificationError, ObjectNotFound) as error:
                found.missed(error)
        return documents


class OwnDocuments:
    """Documents by their digest: the latest, as many as fit into `room` bytes."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._held: OrderedDict[str, bytes] = OrderedDict()

    def hold(self, data: bytes) -> None:
        """Keep `data` until it is taken, or until later ones need the room."""
        digest = hashlib.sha256(data).hexdigest()
        self.take(digest)
        self._held[digest] = data
        self._room -= len(data)
        while self._room < 0:
            self._room += len(self._held.popitem(last=False)[1])

    def take(self, digest: str) -> bytes | None:
        """Return the bytes that have this SHA-256, once, if they are held."""
        data = self._held.pop(digest, None)
        self._room += len(data or b"")
        return data


def deadline(end: float) -> Callable[[], None]:
    """Return what raises `TimeoutError` once the monotonic clock is at `end`."""

    def tick() -> None:
        if time.monotonic() >= end:
            raise TimeoutError

    return tick


async def _verified(stored: bytes, expected: ExpectedObject) -> bytes:
    """Return the original bytes of a document whose shape is such that it can be parsed."""
    if len(stored) <= AT_ONCE and not expected.compressed:
        return _verify(stored, expected)
    return await to_thread.run_sync(_verify, stored, expected)


def _verify(stored: bytes, expected: ExpectedObject) -> bytes:
    if hashlib.sha256(stored).hexdigest() != expected.sha256:
        raise VerificationError(f"{expected.name} is not what the manifest says")
    data = b"".join(unpacked(stored, expected))
    check_shape(data, MAX_PARTS, MAX_VALUES)
    return data


async def _add(
    documents: Mapping[str, bytes],
    containers: Sequence[str],
    tick: Callable[[], None],
    found: Findings,
) -> None:
    look = partial(find_in, documents, containers, tick)
    # It ends by itself soon after the deadline; nobody has to wait for that.
    more = await to_thread.run_sync(look, abandon_on_cancel=True)
    found.findings += more.findings
    found.totals += more.totals
    found.not_looked_at += more.not_looked_at
    found.not_genuine |= more.not_genuine


def findings_status(found: Findings, left_out: int = 0) -> FindingsStatus:
    """Return what a status tells of findings; `left_out`: documents that nobody looked at."""
    by_severity = Counter[FindingSeverity]()
    for (_, rule), total in found.totals.items():
        by_severity[_SEVERITIES[rule.severity]] += total
    alike: dict[tuple[str, Rule], list[Finding]] = {}
    for finding in sorted(found.findings, key=lambda finding: finding.order):
        alike.setdefault((finding.container, finding.rule), []).append(finding)
    first = sorted(alike, key=lambda kind: _urgency(alike[kind][0]))[:FIRST]
    return FindingsStatus(
        total=sum(found.totals.values()),
        by_severity=SeverityCounts(
            high=by_severity[FindingSeverity.HIGH],
            medium=by_severity[FindingSeverity.MEDIUM],
            low=by_severity[FindingSeverity.LOW],
        ),
        first=tuple(_finding_status(alike[kind], found.totals[kind]) for kind in first),
        not_looked_at=len(found.not_looked_at) + left_out,
    )


def _urgency(finding: Finding) -> tuple[object, ...]:
    rule = finding.rule
    return rule.severity, rule not in _STILL_ACTIVE, finding.order


def _finding_status(findings: list[Finding], total: int) -> FindingStatus:
    first = findings[0]
    by_detail = first.rule in _NAMED_BY_DETAIL
    named = dict.fromkeys(
        printable(each.detail if by_detail else each.subject, _SUBJECT) for each in findings
    )
    shown = ", ".join([*named][:SUBJECTS])
    more = ", ..." if len(named) > SUBJECTS or total > len(findings) else ""
    return FindingStatus(
        rule=first.rule.value,
        severity=_SEVERITIES[first.rule.severity],
        count=total,
        container=first.container,
        message=f"{first.rule.several(total)}: {shown}{more}",
    )
