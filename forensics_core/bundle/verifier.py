"""Comparing everything that lies in a bundle with what its manifest promises."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import aclosing

from forensics_core.bundle.examination import examine
from forensics_core.bundle.expectation import Expectation, contradictions
from forensics_core.bundle.layout import MANIFEST, SHA256SUMS, WRITTEN_AFTER_MANIFEST
from forensics_core.bundle.problems import Problem, ProblemKind
from forensics_core.bundle.reader import MANIFEST_LIMIT, BundleReader
from forensics_core.pipeline.meter import Meter
from forensics_core.tasks import task_group

WORKERS = 2
"""Objects read at once."""
MAX_EXTRAS = 200
"""Names of objects that nobody named; whoever may add objects may add any number."""


class Verifier:
    """One verification under way."""

    def __init__(self, bundle: BundleReader, meter: Meter, *, strict: bool = False) -> None:
        self._bundle = bundle
        self._meter = meter
        self._problems: list[Problem] = []
        self._check_sums = bytearray()
        self._check_sums_read = False
        self._strict = strict
        self.extras: list[str] = []
        """The first of the objects that nobody named, after `problems`."""
        self.extras_total = 0

    async def problems(self) -> list[Problem]:
        """Check everything but the seal, and return what is wrong."""
        expected = [*self._bundle.expectations.values(), *self._plain_copies()]
        self._meter.artifacts_total = len(expected)
        self._meter.bytes_total = sum(map(self._bundle.stored_size, expected))
        self._problems += contradictions(self._bundle.statement)
        self._look_for_extras({each.name for each in expected})
        waiting = iter(expected)
        async with task_group() as tasks:
            for _ in range(WORKERS):
                tasks.start_soon(self._work, waiting)
        self._problems += self._compare_check_sums()
        return self._problems

    def _plain_copies(self) -> Iterator[Expectation]:
        """Yield decompressed copies beside the archives: `fetch` puts some, into folders.

        In a bucket nobody of ours does, and whoever may add an object could otherwise keep the
        bundle from ever verifying again.
        """
        if not self._bundle.store.url.startswith("file:"):
            return
        there, promised = self._bundle.versions or {}, self._bundle.expectations
        for each in promised.values():
            if each.compressed and each.plain_name in there and each.plain_name not in promised:
                yield each.plain()

    def _look_for_extras(self, expected: set[str]) -> None:
        """Note what nobody named. It is no problem: the seal covers what is named, and whoever may
        add an object could otherwise keep a bundle from ever verifying again."""
        for name in sorted(self._bundle.versions or {}):
            ours = name in expected or name == MANIFEST or name in WRITTEN_AFTER_MANIFEST
            if ours or not self._bundle.history(name):
                continue
            self.extras_total += 1
            if len(self.extras) < MAX_EXTRAS:
                self.extras.append(name)
                if self._strict:
                    message = "the manifest does not name it"
                    self._problems.append(Problem(ProblemKind.EXTRA, name, message))

    async def _work(self, waiting: Iterator[Expectation]) -> None:
        for expected in waiting:
            self._meter.current = expected.name
            problem = await self._check(expected)
            if problem:
                self._problems.append(problem)
            self._meter.artifacts_done += 1

    async def _check(self, expected: Expectation) -> Problem | None:
        check_sums = expected.name == SHA256SUMS
        async with aclosing(self._bundle.read(expected.name)) as blocks:
            problem = await examine(blocks, expected, self._keep if check_sums else self._count)
        if check_sums:
            self._check_sums_read = problem is None or problem.kind is ProblemKind.MISMATCH
        return problem

    async def _count(self, block: bytes) -> None:
        self._meter.bytes_read += len(block)

    async def _keep(self, block: bytes) -> None:
        self._check_sums += block[: MANIFEST_LIMIT - len(self._check_sums)]
        await self._count(block)

    def _compare_check_sums(self) -> Iterator[Problem]:
        """Compare `SHA256SUMS` with the subjects, if it could be read."""
        if SHA256SUMS not in self._bundle.expectations:
            message = "the manifest does not name it"
            yield Problem(ProblemKind.INCONSISTENT, SHA256SUMS, message)
        elif self._check_sums_read:
            promised = {name: each.sha256 for name, each in self._bundle.expectations.items()}
            del promised[SHA256SUMS]
            yield from _disagreements(bytes(self._check_sums), promised)


def _disagreements(listing: bytes, promised: dict[str, str]) -> Iterator[Problem]:
    listed = {}
    for line in listing.decode(errors="surrogateescape").splitlines():
        digest, _, name = line.partition("  ")
        listed[name] = digest
    for name in sorted({*listed, *promised}):
        if name not in promised:
            message = f"it lists {name}, which the manifest does not name"
        elif name not in listed:
            message = f"it does not list {name}"
        elif listed[name] != promised[name]:
            message = f"it names another SHA-256 of {name} than the manifest"
        else:
            continue
        yield Problem(ProblemKind.INCONSISTENT, SHA256SUMS, message)
