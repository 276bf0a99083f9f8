"""Rules over what runs and who talks to whom: `processes.json` and `network.json`."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Container, Iterator
from typing import Any

from forensics_core.readers.findings.documents import DocumentRow, number, text, words
from forensics_core.readers.findings.finding import Rule
from forensics_core.readers.findings.ports import PortSet

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_DELETED = " (deleted)"
_MEMFD = "/memfd:"
_SECRET = re.compile(
    r"([A-Z0-9_]*(PASSWORD|PASSWD|SECRET|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|TOKEN|CREDENTIALS))=.+",
    re.IGNORECASE | re.DOTALL,
)
_NOT_KEPT = {"HISTFILE": {"/dev/null", ""}, "HISTSIZE": {"0"}, "HISTFILESIZE": {"0"}}
"""Variables, and their values that leave a shell without a history."""
_SOCKET = re.compile(r"socket:\[(\d{1,20})\]")
_MAX_PATH = 4096
_CONNECTED = frozenset({"ESTABLISHED", "SYN_SENT", "CLOSE_WAIT"})


def look_at_process(
    row: DocumentRow, added: Collection[str], mounted: Collection[str] = ()
) -> Iterator[tuple[Rule, str]]:
    """Yield what the rules see in one process.

    `added` are paths that the image does not have, `mounted` those at which it has something else.
    """
    program = text(row.get("exe"))
    command = " ".join(words(row.get("cmdline")))[:500]
    if program.startswith(_MEMFD):
        yield Rule.RUNS_MEMFD, f"{program}, started as: {command}"
    elif program.endswith(_DELETED):
        yield Rule.RUNS_DELETED, f"{program}, started as: {command}"
    elif program in added:
        yield Rule.RUNS_NOT_IN_IMAGE, f"{program}, started as: {command}"
    elif mount := next((each for each in _above(program) if each in mounted), ""):
        yield Rule.RUNS_NOT_IN_IMAGE, f"{program}, of what is mounted at {mount}: {command}"
    if by := words(row.get("hiddenBy")):
        yield Rule.HIDDEN, f"hidden by: {', '.join(by)[:200]}. Started as: {command}"
    if row.get("entered") is True:
        on = f" on {text(row.get('terminal'))[:50]}" if row.get("terminal") else ""
        yield Rule.ENTERED, f"{command}{on}, by process {number(row.get('ppid'))} of the node"
    yield from _environment(words(row.get("environ")))


def _above(path: str) -> Iterator[str]:
    """Yield a path of at most the kernel's length, and all directories above it."""
    while path and len(path) <= _MAX_PATH:
        yield path
        path = path.rpartition("/")[0]


def sockets_of(row: DocumentRow) -> Iterator[int]:
    """Yield the sockets that a process has open, by number."""
    several = row.get("fds")
    for each in several if isinstance(several, list) else ():
        if isinstance(each, dict) and (found := _SOCKET.fullmatch(text(each.get("target")))):
            yield int(found[1])


def _environment(variables: list[str]) -> Iterator[tuple[Rule, str]]:
    for variable in variables:
        name, _, value = variable.partition("=")
        if name in _NOT_KEPT and value in _NOT_KEPT[name]:
            yield Rule.HISTORY_LINKED, f"{name} is {value}"
        elif name in {"LD_PRELOAD", "LD_AUDIT"} and value:
            yield Rule.PRELOAD_ENVIRONMENT, f"{name} is {value[:500]}"
        elif _SECRET.fullmatch(variable):
            # Reports are passed on: the name is enough to rotate the secret.
            yield Rule.SECRET, f"the variable {name[:200]}"


def look_at_sockets(
    namespace: DocumentRow, declared: PortSet | None, own: Container[int] = ()
) -> Iterator[DocumentRow]:
    """Yield what the rules see in one network namespace: `rule`, `subject`, `detail`.

    `declared` are the ports that the image or the pod declares; None where nobody knows. In the
    node's own namespace only what the container's processes hold is looked at: `own` are their
    sockets, by number.
    """
    of_node = namespace.get("host") is True
    sockets = namespace.get("sockets")
    rows = [row for row in sockets if isinstance(row, dict)] if isinstance(sockets, list) else []
    if of_node:
        rows = [row for row in rows if row.get("pids")]
    listening = _listeners(rows)
    for row in rows:
        if _listens(row):
            if declared is not None and _undeclared(row, declared):
                yield _seen(Rule.LISTENING, row, f"listens on {_end(row, 'local')}")
        elif text(row.get("protocol")).startswith("raw"):
            yield _seen(Rule.RAW_SOCKET, row, "a raw socket is open")
        elif _goes_out(row) and (sure := _who_began(row, listening)) is not None:
            yield _seen(
                Rule.OUTGOING, row, f"to {_end(row, 'remote')}, {text(row.get('state'))}{sure}"
            )
    raw = namespace.get("raw")
    packet = text(raw.get("packet")) if isinstance(raw, dict) else ""
    # Each line ends with the socket's number.
    lines = [line.split()[-1] for line in packet.strip().split("\n")[1:] if line.strip()]
    if any(not of_node or (each.isdecimal() and int(each[:20]) in own) for each in lines):
        yield {"rule": Rule.RAW_SOCKET, "subject": "packet sockets", "detail": "open", "pid": 0}


_Listeners = dict[tuple[str, int], list[_Address]]
"""The addresses at which somebody waits, by protocol and port."""


def _listeners(rows: list[DocumentRow]) -> _Listeners:
    found = _Listeners()
    for row in rows:
        ip = _ip(row, "local")
        if _listens(row) and ip is not None:
            found.setdefault((_protocol(row), _port(row, "local")), []).append(ip)
    return found


def _who_began(row: DocumentRow, listening: _Listeners) -> str | None:
    """Return what to say of a connection that the container may have begun; None if it did not.

    One from a port at which somebody waits was most likely accepted. Clients seldom call from
    ports that only root may use, so that such a peer is named.
    """
    local = _ip(row, "local")
    waits = listening.get((_protocol(row), _port(row, "local")), ())
    takes = any(ip.is_unspecified or ip == local for ip in waits)
    if not takes or row.get("state") == "SYN_SENT":
        return ""
    port = _port(row, "local")
    return f", from port {port}, which also listens" if _port(row, "remote") < 1024 else None


def _seen(rule: Rule, row: DocumentRow, detail: str) -> DocumentRow:
    pids = row.get("pids")
    pid = number(pids[0]) if isinstance(pids, list) and pids else 0
    return {"rule": rule, "subject": _end(row, "local"), "detail": detail, "pid": pid}


def _listens(row: DocumentRow) -> bool:
    """Whether a socket takes what others send: TCP says so, UDP has no peer then."""
    unconnected = _protocol(row) == "udp" and not _port(row, "remote") and _port(row, "local") > 0
    return row.get("state") == "LISTEN" or unconnected


def _protocol(row: DocumentRow) -> str:
    """Return `tcp` or `udp`, whatever the version of IP."""
    return text(row.get("protocol")).removesuffix("6").removesuffix("lite")


def _undeclared(row: DocumentRow, declared: PortSet) -> bool:
    ip = _ip(row, "local")
    known = (_protocol(row), _port(row, "local")) in declared
    return not known and ip is not None and not ip.is_loopback


def _goes_out(row: DocumentRow) -> bool:
    ip = _ip(row, "remote")
    return row.get("state") in _CONNECTED and ip is not None and ip.is_global


def _ip(row: DocumentRow, end: str) -> _Address | None:
    try:
        ip = ipaddress.ip_address(text(_side(row, end).get("address")))
    except ValueError:
        return None
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return mapped or ip


def _port(row: DocumentRow, end: str) -> int:
    return number(_side(row, end).get("port"))


def _end(row: DocumentRow, end: str) -> str:
    return f"{text(row.get('protocol'))} {_ip(row, end)}:{_port(row, end)}"


def _side(row: DocumentRow, end: str) -> dict[str, Any]:
    side = row.get(end)
    return side if isinstance(side, dict) else {}
