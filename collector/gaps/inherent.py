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
_OF_PROCESSES = "kernel modules, eBPF objects and the kernel's log"
_OF_NETWORK = "the pod's firewall rules, connections that are tracked, rules of routing"
_KERNEL = (
    "the payloads of keys in keyrings that no process of the pod has, "
    "the instructions of eBPF programs and the values of maps "
    "that no process of the pod holds, what else is in the kernel's memory, "
    "firewall rules and networks of the node that are not the pod's, and the node's own files, "
    "processes, and logs about others"
)
_VOLATILE = frozenset({ArtifactKind.PROCESSES, ArtifactKind.NETWORK, ArtifactKind.MEMORY})


def inherent_gaps(
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
        yield NotCaptured(
            what=KERNEL, reason="OutOfScope", message=_kernel(wanted), requested=False
        )


def _kernel(wanted: Sequence[ArtifactKind]) -> str:
    """Return what is not captured of kernel and node; what of it goes with a kind, by the kinds."""
    parts = {ArtifactKind.PROCESSES: _OF_PROCESSES, ArtifactKind.NETWORK: _OF_NETWORK}
    left = [words for kind, words in parts.items() if kind not in wanted]
    return f"In no artifact: {', '.join([*left, _KERNEL])}"
