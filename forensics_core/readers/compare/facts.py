"""What runs, who talks to whom, and what is mounted: facts that two containers can share.

A fact's key has nothing that differs between two replicas by itself: no process ids, no address of
one's own, no port that the kernel chose, no times.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from contextlib import aclosing
from dataclasses import dataclass, field

from forensics_core.bundle.layout import MOUNTS, container_file
from forensics_core.bundle.reader import BundleReader
from forensics_core.readers.compare.difference import Area, Difference, DifferenceKind, Differences
from forensics_core.readers.documents import load
from forensics_core.readers.findings.documents import DocumentRow, number, rows, text, words
from forensics_core.readers.findings.finding import Rule
from forensics_core.readers.findings.ports import PortSet
from forensics_core.readers.findings.processes import look_at_process, look_at_sockets

MAX_FACTS = 200_000
"""Of one area of one container: more are left out, and told of."""
_MAX_COMMAND = 2_000
"""Characters of a command line that are compared."""
_CONNECTED = frozenset({"ESTABLISHED", "SYN_SENT", "CLOSE_WAIT"})
_VOLATILE = frozenset({"proc", "sysfs", "cgroup", "cgroup2", "devpts", "mqueue"})
"""File systems that each container has, wherever its runtime mounts them."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that is so in a container."""

    detail: str
    row: DocumentRow = field(default_factory=dict)
    """What a rule of the report looks at."""


Facts = dict[str, Fact]
"""By what makes them comparable, which is shown as well."""


async def processes(bundle: BundleReader, container: str) -> tuple[Facts, Facts]:
    """Return the processes, and the variables of their environments."""
    running, variables = Facts(), Facts()
    name = container_file(container, "processes.json")
    async with aclosing(rows(bundle, name)) as batches:
        async for batch in batches:
            for row in batch:
                _process(row, running, variables)
    return running, variables


def _process(row: DocumentRow, running: Facts, variables: Facts) -> None:
    program, command = text(row.get("exe")), " ".join(words(row.get("cmdline")))[:_MAX_COMMAND]
    who = f"process {number(row.get('pid'))} {text(row.get('comm'))}"
    if program or command:
        _put(running, f"{program or '?'}: {command}", Fact(who, row))
    for variable in words(row.get("environ")):
        key = variable.partition("=")[0][:200]
        _put(variables, key, Fact(f"of {who}", {"environ": [variable]}))


async def sockets(bundle: BundleReader, container: str) -> tuple[Facts, Facts]:
    """Return the sockets that wait for others, and the connections."""
    waiting, connected = Facts(), Facts()
    async with aclosing(rows(bundle, container_file(container, "network.json"))) as batches:
        async for batch in batches:
            for space in batch:
                if space.get("host") is not True:
                    _sockets(space, waiting, connected)
    return waiting, connected


def _sockets(space: DocumentRow, waiting: Facts, connected: Facts) -> None:
    several = _objects(space.get("sockets"))
    own = {port for row in several if _waits(row) for port in [_port(row, "local")]}
    for row in several:
        protocol, local = text(row.get("protocol")), _port(row, "local")
        detail = f"state {text(row.get('state'))}"
        if _waits(row):
            key = f"{protocol} {_own(_address(row, 'local'))}:{local}"
            _put(waiting, key, Fact(detail, row))
        elif text(row.get("state")) in _CONNECTED and local in own:
            _put(connected, f"{protocol} to its own port {local}", Fact(detail, row))
        elif text(row.get("state")) in _CONNECTED:
            remote = f"{_address(row, 'remote')}:{_port(row, 'remote')}"
            _put(connected, f"{protocol} to {remote}", Fact(detail, row))


async def mounts(bundle: BundleReader, container: str) -> Facts:
    """Return what is mounted, by path."""
    document = await load(bundle, container_file(container, MOUNTS))
    found = Facts()
    for row in _objects(document.get("mounts") if isinstance(document, dict) else None):
        kind, path = text(row.get("type")), text(row.get("path"))
        if kind not in _VOLATILE and path != "/":
            access = text(row.get("options")).partition(",")[0]
            _put(found, path, Fact(" ".join(filter(None, (kind, access)))))
    return found


def compare_facts(area: Area, suspect: Facts, healthy: Facts, found: Differences) -> None:
    """Add what only one side has."""
    for key in suspect.keys() - healthy.keys():
        fact = suspect[key]
        found.add(Difference(area, DifferenceKind.ONLY, key, fact.detail, _rule(area, fact)))
    for key in healthy.keys() - suspect.keys():
        found.add(Difference(area, DifferenceKind.MISSING, key, healthy[key].detail))


def compare_mounts(suspect: Facts, healthy: Facts, found: Differences) -> None:
    """Add what only one side has, and what is of another type, or writable on one side only."""
    compare_facts(Area.MOUNT, suspect, healthy, found)
    for key in suspect.keys() & healthy.keys():
        here, there = suspect[key].detail, healthy[key].detail
        if here != there:
            found.add(Difference(Area.MOUNT, DifferenceKind.DIFFERENT, key, f"{here}, was {there}"))


def compare_processes(
    suspect: Facts, healthy: Facts, added: Iterable[str], found: Differences
) -> None:
    """Add what runs on one side only; `added` are programs that only the suspect has."""
    programs = {*added}
    for key in suspect.keys() - healthy.keys():
        fact = suspect[key]
        bare: DocumentRow = {name: fact.row.get(name) for name in ("exe", "cmdline")}
        rule = next((rule for rule, _ in look_at_process(bare, programs)), None)
        found.add(Difference(Area.PROCESS, DifferenceKind.ONLY, key, fact.detail, rule))
    for key in healthy.keys() - suspect.keys():
        found.add(Difference(Area.PROCESS, DifferenceKind.MISSING, key, healthy[key].detail))


def _rule(area: Area, fact: Fact) -> Rule | None:
    if area is Area.ENVIRONMENT:
        seen = (rule for rule, _ in look_at_process(fact.row, ()))
    elif area in {Area.SOCKET, Area.CONNECTION}:
        seen = (each["rule"] for each in look_at_sockets({"sockets": [fact.row]}, PortSet()))
    else:
        return None
    return next(seen, None)


def _put(facts: Facts, key: str, fact: Fact) -> None:
    if key not in facts and len(facts) < MAX_FACTS:
        facts[key] = fact


def _objects(value: object) -> list[DocumentRow]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _waits(row: DocumentRow) -> bool:
    """Whether a socket takes what others send: TCP says so, UDP has no peer then."""
    unconnected = text(row.get("protocol")).startswith("udp") and not _port(row, "remote")
    return row.get("state") == "LISTEN" or unconnected


def _own(address: str) -> str:
    """Return an address of the container's own as every replica has it."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    return address if ip.is_unspecified or ip.is_loopback else "its own address"


def _address(row: DocumentRow, end: str) -> str:
    side = row.get(end)
    return text(side.get("address")) if isinstance(side, dict) else ""


def _port(row: DocumentRow, end: str) -> int:
    side = row.get(end)
    return number(side.get("port")) if isinstance(side, dict) else 0
