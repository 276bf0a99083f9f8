"""What a careful analyst would look for, and what no artifact of this release holds.

`notCaptured` is to be true when it is empty. These gaps are the same for every capture of its kind:
they are one line each, and never make a capture a partial one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from collector.runtimes.runtime import ContainerInfo
from forensics_core.api.order import ArtifactKind
from forensics_core.bundle.manifest import NotCaptured

MEMORY, KERNEL = "memory of processes", "state of the kernel and the node"
_MEMORY = (
    "What processes hold in memory only (keys, decrypted payloads, injected code) is in no "
    "artifact, and goes with the pod"
)
_KERNEL = (
    "Firewall rules, connection tracking, eBPF programs, kernel modules, keyrings, sockets of "
    "other families than those in network.json, and the node's own files, processes and logs are "
    "in no artifact"
)
_VOLATILE = frozenset({ArtifactKind.PROCESSES, ArtifactKind.NETWORK, ArtifactKind.MEMORY})


def standing_gaps(
    containers: Iterable[tuple[str, ContainerInfo]], wanted: Sequence[ArtifactKind]
) -> Iterator[NotCaptured]:
    """Yield the gaps of a capture of `containers`, by their names, as they were at its beginning.

    A container in which nothing ran had no memory to lose. Where only files were asked for, nobody
    expects more.
    """
    if _VOLATILE.isdisjoint(wanted):
        return
    running = [name for name, container in containers if container.pid is not None]
    if ArtifactKind.MEMORY not in wanted:
        yield from (
            NotCaptured(
                what=MEMORY, container=name, reason="NotRequested", message=_MEMORY, requested=False
            )
            for name in running
        )
    if running:
        yield NotCaptured(what=KERNEL, reason="OutOfScope", message=_KERNEL, requested=False)
