"""Whether this process may see all processes in /proc.

Source: proc(5) on hidepid, capabilities(7)
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from collector.files.mounttable import holder, parse_table
from collector.node.procfs import host_proc

_PTRACE = 19
"""The capability that all of /proc is open to."""
_OPEN = frozenset({b"off", b"0"})


def restriction() -> str:
    """Return why processes may be out of sight; empty if none is."""
    with suppress(OSError, ValueError):
        mounts = parse_table(Path("/proc/self/mountinfo").read_bytes())
        mount = holder(os.fsencode(host_proc()), mounts)
        given = mount.options.split(b",") if mount and mount.kind == b"proc" else []
        options = dict(option.partition(b"=")[::2] for option in given)
        hiding = options.get(b"hidepid", b"off")
        trusted = int(options.get(b"gid", b"0")) in {os.getegid(), *os.getgroups()}
        if hiding not in _OPEN and not trusted and not _may_trace():
            return (
                f"{host_proc()} is mounted with hidepid={hiding.decode(errors='replace')}: this "
                "process sees only those of its own user. Give it the capability SYS_PTRACE"
            )
    return ""


def _may_trace() -> bool:
    lines = Path("/proc/thread-self/status").read_bytes().split(b"\n")
    masks = [int(line.split()[1], 16) for line in lines if line.startswith(b"CapEff:")]
    return any(mask >> _PTRACE & 1 for mask in masks)
