"""What the node said of itself, for a report: its kernel, its modules, the pod's firewall.

All of it is optional: bundles of older releases, and those of a Job without the rights, have none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from forensics_core._internal.text import printable
from forensics_core.bundle.reader import BundleReader
from forensics_core.errors import ForensicsError
from forensics_core.readers.context import MAX_ITEMS, items, part
from forensics_core.readers.documents import load
from forensics_core.readers.findings.node import KERNEL

_COUNTED = {
    "node/firewall.json": ("tables", "chains", "rules", "sets"),
    "node/conntrack.json": ("entries",),
}
_SAVED = 64 * 1024
"""Characters of each listing of rules that are shown."""


@dataclass(slots=True)
class NodeReport:
    """What the node said, each as a line for people."""

    lines: list[str] = field(default_factory=list)
    rules: list[str] = field(default_factory=list)
    """Firewall rules as `nft` or `iptables-save` spell them, where they were saved so."""


async def read_node(bundle: BundleReader, missed: list[ForensicsError]) -> NodeReport:
    """Return what the bundle has of the node; what cannot be read is added to `missed`."""
    story = NodeReport()
    for name in (KERNEL, "node/ebpf.json", *_COUNTED):
        try:
            document = await load(bundle, name)
        except ForensicsError as error:
            missed.append(error)
            continue
        if isinstance(document, dict):
            _describe(name, document, story)
    return story


def _describe(name: str, document: dict[str, Any], story: NodeReport) -> None:
    if name == KERNEL:
        modules = items(part(document, "modules"), "loaded")
        release = _text(document.get("release"))
        story.lines.append(f"Kernel {release}, {_count(modules)} modules are loaded")
    elif name == "node/ebpf.json":
        programs = items(document, "programs")
        story.lines.append(f"{_count(programs)} programs of eBPF are loaded")
    else:
        for space in items(document, "namespaces"):
            _namespace(name, space, story)


def _namespace(name: str, space: dict[str, Any], story: NodeReport) -> None:
    told = ", ".join(f"{_count(items(space, word))} {word}" for word in _COUNTED[name])
    whose = "the node's own network" if space.get("host") is True else "the pod's network"
    story.lines.append(f"{name}: {told} in {whose}")
    for program, rules in part(space, "saved").items():
        if isinstance(rules, str) and rules.strip():
            lines = rules[:_SAVED].splitlines()
            story.rules.append(f"# {program}\n" + "\n".join(printable(line) for line in lines))


def _count(rows: list[Any]) -> str:
    """Return how many there are, or that these are more than are looked at."""
    return f"{len(rows)} or more" if len(rows) >= MAX_ITEMS else str(len(rows))


def _text(value: Any) -> str:
    if isinstance(value, dict):
        value = value.get("text")
    return printable(value.strip(), 200) if isinstance(value, str) else "?"
