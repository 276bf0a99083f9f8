"""What package managers say is installed: dpkg's and apk's lists, which are text.

Source: https://man7.org/linux/man-pages/man5/deb822.5.html
https://wiki.alpinelinux.org/wiki/Apk_spec
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from forensics_core.readers.compare.difference import Area, Difference, DifferenceKind, Differences

DPKG = b"/var/lib/dpkg/status"
DPKG_FOLDER = b"/var/lib/dpkg/status.d"
"""Where images without dpkg itself have a list for each package."""
APK = (b"/lib/apk/db/installed", b"/usr/lib/apk/db/installed")
RPM = (b"/var/lib/rpm", b"/usr/lib/sysimage/rpm")
"""A database that only RPM reads."""
MAX_LIST = 64 * 1024 * 1024
"""Bytes of one list."""


def is_list(path: bytes) -> bool:
    """Whether a path is that of a list of packages."""
    beneath = path.rpartition(b"/")[0] == DPKG_FOLDER and not path.endswith(b".md5sums")
    return beneath or path == DPKG or path in APK


def packages_in(path: bytes, content: bytes) -> Iterator[tuple[str, str]]:
    """Yield name and version of each package that a list says is installed."""
    parse = _apk if path in APK else _dpkg
    yield from parse(content.decode(errors="backslashreplace"))


def _dpkg(text: str) -> Iterator[tuple[str, str]]:
    for stanza in text.split("\n\n"):
        pairs = (line.partition(":") for line in stanza.splitlines() if not line.startswith(" "))
        said = {name: value.strip() for name, _, value in pairs}
        installed = said.get("Status", "install ok installed").endswith(" installed")
        if said.get("Package") and installed:
            name = f"{said['Package']}:{said.get('Architecture', '')}".removesuffix(":")
            yield name, said.get("Version", "")


def _apk(text: str) -> Iterator[tuple[str, str]]:
    name = ""
    for line in text.splitlines():
        if line.startswith("P:"):
            name = line[2:]
        elif line.startswith("V:") and name:
            yield name, line[2:]


def compare_packages(
    suspect: Mapping[str, str], healthy: Mapping[str, str], found: Differences
) -> None:
    """Add what differs; both map names to versions."""
    for name in sorted({*suspect, *healthy}):
        here, there = suspect.get(name), healthy.get(name)
        if there is None:
            found.add(Difference(Area.PACKAGE, DifferenceKind.ONLY, name, f"version {here}"))
        elif here is None:
            found.add(Difference(Area.PACKAGE, DifferenceKind.MISSING, name, f"version {there}"))
        elif here != there:
            detail = f"version {here}, was {there}"
            found.add(Difference(Area.PACKAGE, DifferenceKind.DIFFERENT, name, detail))
