"""The kernel's modules, by three ways of telling, and where these do not agree.

A module that hides takes itself off one list or another: off /proc/modules, out of /sys/module, and
its symbols out of kallsyms. What is on one list and not on another is named, and so is a taint
that no module has that is listed::

    modules = read_modules()
    modules.disagreements       # [{"module": "hideme", "shownBy": ["sysfs"], "missingIn": [...]}]

Source: proc_modules(5), Documentation/admin-guide/tainted-kernels.rst, kernel/module/kallsyms.c
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from collector.documents import readable
from collector.node.abandonable import raise_if_abandoned
from collector.node.netlink_fields import NetlinkRow
from collector.node.procfs import host_proc

SYSFS = Path("/sys/module")
MAX_SYMBOLS = 128 * 1024 * 1024
"""Bytes of kallsyms; a kernel has some 15 MiB."""
_BLOCK = 1024 * 1024
MAX_MODULES = 20_000
_LINE = re.compile(rb"(\S+) (\d+) (-?\d+) (\S+) (\S+) (0x[0-9a-f]+)(?: \((\S+)\))?")
_OWNER = re.compile(rb"\t\[([^\]\n]+)\]\n")
_NO_MODULES = re.compile(rb"bpf|__builtin__\w+")
"""What kallsyms puts into brackets too: programs of eBPF, trampolines."""
_TAINTING = {0: "P", 1: "F", 10: "C", 12: "O", 13: "E"}
"""Bits of the kernel's taint that modules set, and their letters in /proc/modules."""
WAYS = ("proc", "sysfs", "kallsyms")


@dataclass(slots=True)
class Modules:
    """What is loaded, as each way tells it."""

    listed: list[NetlinkRow] = field(default_factory=list)
    """The rows of /proc/modules."""
    found: dict[str, set[str]] = field(default_factory=dict)
    """Names, by the way that tells them; a way that cannot be asked is not there."""
    unavailable: dict[str, str] = field(default_factory=dict)
    """Why a way cannot be asked."""
    symbols: frozenset[str] = frozenset()
    """Which of the functions that were looked for the kernel has."""
    complete: bool = True
    """Whether kallsyms was read to its end."""

    @property
    def disagreements(self) -> list[NetlinkRow]:
        """Each module that not all ways tell which can be asked."""
        every = set[str]().union(*self.found.values())
        rows = []
        for name in sorted(every):
            shown = [way for way, names in self.found.items() if name in names]
            if len(shown) < len(self.found):
                missing = [way for way in self.found if way not in shown]
                rows.append({"module": name, "shownBy": shown, "missingIn": missing})
        return rows

    def unexplained_taint(self, taint: int) -> list[str]:
        """Return the letters of a taint that modules set, and no listed module has.

        It stays when a module goes, so this may be of one that was unloaded, or of a hidden one.
        """
        if "proc" not in self.found:
            return []
        explained = "".join(row["taint"] for row in self.listed)
        letters = (letter for bit, letter in _TAINTING.items() if taint >> bit & 1)
        return [letter for letter in letters if letter not in explained]


def read_modules(
    symbols: Iterable[str] = (), sysfs: Path = SYSFS, most_symbols: int = MAX_SYMBOLS
) -> Modules:
    """Ask all three ways, and look for these functions on the way. It blocks."""
    modules, wanted = Modules(), {symbol.encode() for symbol in symbols}
    proc = host_proc()
    for way, place in (
        ("proc", proc / "modules"),
        ("sysfs", sysfs),
        ("kallsyms", proc / "kallsyms"),
    ):
        try:
            if way == "sysfs":
                modules.found[way] = _of_sysfs(place)
            elif way == "proc":
                modules.listed = list(_of_proc(place))
                modules.found[way] = {row["name"] for row in modules.listed}
            else:
                modules.found[way] = _of_kallsyms(place, modules, wanted, most_symbols)
        except OSError as error:
            modules.unavailable[way] = str(error)
    return modules


def _of_proc(place: Path) -> Iterator[NetlinkRow]:
    with place.open("rb") as file:
        for line, _ in zip(file, range(MAX_MODULES), strict=False):
            if match := _LINE.match(line):
                name, size, references, users, state, address, taint = match.groups()
                yield {
                    "name": readable(name),
                    "size": int(size),
                    "references": int(references),
                    "usedBy": [readable(user) for user in users.split(b",") if user not in b"-"],
                    "state": readable(state),
                    "address": readable(address),
                    "taint": readable(taint or b""),
                }


def _of_sysfs(place: Path) -> set[str]:
    """Return the modules there that were loaded: what is built in has no state of its own."""
    entries = (entry for entry, _ in zip(place.iterdir(), range(MAX_MODULES), strict=False))
    return {entry.name for entry in entries if (entry / "initstate").exists()}


def _of_kallsyms(place: Path, modules: Modules, wanted: Iterable[bytes], most: int) -> set[str]:
    """Read in large blocks: there are some 200,000 lines, nearly all of them of no interest."""
    names, found, size, rest = set[bytes](), set[bytes](), 0, b""
    # A compiler adds its own endings: `nf_tables_newrule.isra.0`.
    functions = re.compile(rb" (%b)(?:\.\S+)?(?:\t\[.*)?$" % b"|".join(wanted), re.MULTILINE)
    with place.open("rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            raise_if_abandoned()
            lines, end, rest = (rest + block).rpartition(b"\n")
            names.update(_OWNER.findall(lines + end))
            found.update(functions.findall(lines))
            size += len(block)
            if size > most:
                modules.complete = False
                break
    modules.symbols = frozenset(readable(name) for name in found if name)
    return {readable(name) for name in names if not _NO_MODULES.fullmatch(name)}


def details(listed: Iterable[NetlinkRow], sysfs: Path = SYSFS) -> None:
    """Add to rows of modules what /sys/module says: version, source's version, where it came in."""
    for row in listed:
        for name in ("srcversion", "version", "coresize"):
            with suppress(OSError):
                row[name] = readable((sysfs / row["name"] / name).read_bytes()[:256].strip())
