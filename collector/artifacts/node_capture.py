"""What all files of `node/` share: they are of the pod and its node, and of no container."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field

from collector.container import ContainerCapture
from collector.node.holders import MAX_LINKS, Holders
from collector.node.modules import Modules
from collector.node.tables import reason
from collector.runtimes.runtime import ContainerInfo, Runtime, Unavailable
from forensics_core.api.order import ArtifactKind
from forensics_core.bundle.layout import NODE
from forensics_core.bundle.manifest import Flag, NotCaptured
from forensics_core.bundle.writer import ArtifactSpec, BundleWriter, SourceNotes
from forensics_core.errors import DestinationError, ForensicsError, UsageError

MAX_FILE = 8 * 1024 * 1024
"""Characters of the rows of one file."""
TIMEOUT = 30.0
"""Seconds that one question to the kernel may take, with all of its answer."""


@dataclass(slots=True)
class NodeCapture:
    """Where the files of the node come from, and where they go."""

    captures: Sequence[ContainerCapture]
    """The pod's containers in which something runs, of which there is one at least; else all."""
    words: tuple[str, ...] = ()
    """What a line of a log has that is about the pod: its uid, its name, ids of its containers."""
    containers: tuple[ContainerInfo, ...] = ()
    """All of the pod's containers that are captured, those too in which nothing runs."""
    modules: Modules = field(default_factory=Modules)
    holders: Holders = field(default_factory=Holders)
    added: int = 0
    """Files in the bundle so far."""
    limit: int = MAX_FILE
    """Characters of the rows of one file."""
    links: int = MAX_LINKS
    """Open files of which it is looked up what they are."""

    @property
    def runtime(self) -> Runtime:
        """The containers' runtime."""
        return self.captures[0].runtime

    @property
    def bundle(self) -> BundleWriter:
        """The bundle that all goes into."""
        return self.captures[0].bundle

    @property
    def is_over(self) -> bool:
        """Whether reading has to end now."""
        return self.captures[0].is_over

    @property
    def symbols(self) -> frozenset[str] | None:
        """Which functions the kernel has; None where nobody can tell."""
        known = "kallsyms" in self.modules.found and self.modules.complete
        return self.modules.symbols if known else None

    async def add(
        self,
        name: str,
        kind: ArtifactKind,
        parts: Iterable[str],
        method: str,
        *,
        cut: bool = False,
    ) -> None:
        """Store a file of JSON."""
        spec = ArtifactSpec(f"{NODE}{name}", kind, None, "application/json", method)
        notes = SourceNotes(flags={Flag.TRUNCATED} if cut else set())
        await self.bundle.add(spec, _blocks(parts), notes)
        self.added += 1

    def record_gap(self, what: str, why: str, message: str) -> None:
        """Record that something of the node is not in the bundle: it never makes it a partial one.

        What a node tells depends on its kernel and on our rights, not on who asked.
        """
        shown = message.encode(errors="backslashreplace").decode()
        self.bundle.record_gap(
            NotCaptured(what=f"{NODE}{what}", reason=why, message=shown, requested=False)
        )

    async def attempt(self, name: str, step: Callable[[NodeCapture], Awaitable[None]]) -> None:
        """Make one file; what fails costs that file only, unless nothing can be stored any more."""
        try:
            in_time = await self._in_time(step)
        except (DestinationError, UsageError):
            raise
        except Exception as error:  # what a node can tell must not cost the other evidence
            self.record_gap(name, *_reason_and_message(error))
        else:
            if not in_time:
                message = "The capture's time was over before this was read"
                self.record_gap(name, self.captures[0].stop.reason, message)

    async def _in_time(self, step: Callable[[NodeCapture], Awaitable[None]]) -> bool:
        if self.is_over:
            return False
        first = self.captures[0]
        with first.stop.scope(first.deadline) as scope:
            await step(self)
        return not scope.cancelled_caught


async def _blocks(parts: Iterable[str]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part.encode(errors="backslashreplace")


def _reason_and_message(error: Exception) -> tuple[str, str]:
    match error:
        case Unavailable():
            return error.reason, str(error)
        case OSError():
            return reason(error), str(error)
        case ForensicsError():
            return "Unreadable", str(error)
        case _:
            return "Unexpected", f"{type(error).__name__}: {error}"
