"""Capabilities of files, as text."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from forensics_core.tarindex.filecaps import decode
from forensics_core.tarindex.member import Member
from forensics_core.tarindex.rows import encode

V1, V2, V3 = 0x01000000, 0x02000000, 0x03000000
RAW, ADMIN = 1 << 13, 1 << 21
EVERYTHING = (1 << 41) - 1


def value(magic: int, *numbers: int) -> bytes:
    return struct.pack(f"<{1 + len(numbers)}I", magic, *numbers)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (value(V2 | 1, RAW, 0, 0, 0), "cap_net_raw=ep"),
        (value(V2, RAW, 0, 0, 0), "cap_net_raw=p"),
        (value(V2 | 1, RAW, RAW, 0, 0), "cap_net_raw=eip"),
        (value(V2 | 1, RAW, ADMIN, 0, 0), "cap_net_raw=ep cap_sys_admin=ei"),
        (value(V2 | 1, 0, 0, 1 << 7, 0), "cap_bpf=ep"),
        (value(V2 | 1, 0, 0, 1 << 31, 0), "63=ep"),
        (value(V2 | 1, EVERYTHING & 0xFFFFFFFF, 0, EVERYTHING >> 32, 0), "=ep"),
        (value(V2, 0, 0, 0, 0), "="),
        (value(V1 | 1, RAW | ADMIN, 0), "cap_net_raw,cap_sys_admin=ep"),
        (value(V3 | 1, RAW, 0, 0, 0, 100000), "cap_net_raw=ep [rootid=100000]"),
        (value(V3 | 1, RAW, 0, 0, 0, 0), "cap_net_raw=ep"),
        (value(V3 | 1, RAW, 0, 0, 0), "invalid"),
        (value(0x04000000, RAW, 0, 0, 0), "invalid"),
        (b"", "invalid"),
    ],
)
def test_capabilities_are_spelled_as_getcap_does(data: bytes, text: str) -> None:
    assert decode(data) == text


def test_a_row_of_the_index_has_them() -> None:
    granted = {b"security.capability": value(V2 | 1, RAW, 0, 0, 0)}
    member = Member(b"/bin/ping", "file", 0o755, 0, 0, 0, "0", xattrs=granted)
    assert '"capabilities":"cap_net_raw=ep"' in encode(member)


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("getcap"), reason="needs root, getcap")
def test_getcap_says_the_same(tmp_path: Path) -> None:
    file = tmp_path / "ping"
    file.write_bytes(b"")
    data = value(V2 | 1, RAW | ADMIN, 0, 1 << 7, 0)
    os.setxattr(file, "security.capability", data)
    said = subprocess.run(["getcap", str(file)], check=True, capture_output=True, text=True)
    assert said.stdout.split()[1] == decode(data)
