"""Rules over what runs and who talks to whom: `processes.json` and `network.json`."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterator
from typing import Any

from forensics_core.readers.findings.documents import DocumentRow, number, text, words
from forensics_core.readers.findings.finding import Rule

_DELETED = " (deleted)"
_MEMFD = "/memfd:"
_SECRET = re.compile(
    r"([A-Z0-9_]*(PASSWORD|PASSWD|SECRET|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|TOKEN|CREDENTIALS))=.+",
    re.IGNORECASE | re.DOTALL,
)
_LONGEST = 4096
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
    while path and len(path) <= _LONGEST:
        yield path
        path = path.rpartition("/")[0]


def _environment(variables: list[str]) -> Iterator[tuple[Rule, str]]:
    for variable in variables:
        name, _, value = variable.partition("=")
        if name in {"LD_PRELOAD", "LD_AUDIT"} and value:
            yield Rule.PRELOAD_ENVIRONMENT, f"{name} is {value[:500]}"
        elif _SECRET.fullmatch(variable):
            # Reports are passed on: the name is enough to rotate the secret.
            yield Rule.SECRET, f"the variable {name[:200]}"


def look_at_sockets(
    namespace: DocumentRow, declared: Collection[int] | None
) -> Iterator[DocumentRow]:
    """Yield what the rules see in one network namespace: `rule`, `subject`, `detail`.

    `declared` are the ports that the image or the pod declares; None where nobody knows.
    """
    if namespace.get("host") is True:
        return  # the node's own sockets, which are not the container's
    sockets = namespace.get("sockets")
    rows = [row for row in sockets if isinstance(row, dict)] if isinstance(sockets, list) else []
    listening = {_port(row, "local") for row in rows if _listens(row)}
    for row in rows:
        if declared is not None and _listens(row) and _undeclared(row, declared):
            yield _seen(Rule.LISTENING, row, f"listens on {_end(row, 'local')}")
        elif _goes_out(row) and _port(row, "local") not in listening:
            yield _seen(Rule.OUTGOING, row, f"to {_end(row, 'remote')}, {text(row.get('state'))}")
    raw = namespace.get("raw")
    packet = text(raw.get("packet")) if isinstance(raw, dict) else ""
    if len(packet.strip().splitlines()) > 1:
        yield {"rule": Rule.RAW_SOCKET, "subject": "packet sockets", "detail": "open", "pid": 0}


def _seen(rule: Rule, row: DocumentRow, detail: str) -> DocumentRow:
    pids = row.get("pids")
    pid = number(pids[0]) if isinstance(pids, list) and pids else 0
    return {"rule": rule, "subject": _end(row, "local"), "detail": detail, "pid": pid}


def _listens(row: DocumentRow) -> bool:
    return row.get("state") == "LISTEN"


def _undeclared(row: DocumentRow, declared: Collection[int]) -> bool:
    ip = _ip(row, "local")
    return _port(row, "local") not in declared and ip is not None and not ip.is_loopback


def _goes_out(row: DocumentRow) -> bool:
    ip = _ip(row, "remote")
    return row.get("state") in _CONNECTED and ip is not None and ip.is_global


def _ip(row: DocumentRow, end: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
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
