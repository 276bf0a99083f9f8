"""What of shared memory and message queues is not looked into is said."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import pytest

from collector.node.sharedmemory import UnreadNamespace, segments
from tests.unit.collector.node.test_deletedfiles import holding

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="of other users' processes")
LIBC = ctypes.CDLL(None)
OWN = "libc = ctypes.CDLL(None); assert not libc.unshare(0x08000000)"


def test_namespaces_past_the_limit_are_counted(tmp_path: Path) -> None:
    with holding(tmp_path, OWN) as one, holding(tmp_path, OWN) as other:
        (told,) = segments([one, other], most=1)
        assert not segments([one, other], most=2)
    assert isinstance(told, UnreadNamespace) and (told.spaces, told.reason) == (1, "TooMany")


def test_segments_in_the_nodes_own_namespace_are_told() -> None:
    number = LIBC.shmget(0, ctypes.c_size_t(4096), 0o1600)
    try:
        (told,) = segments([os.getpid()])
    finally:
        LIBC.shmctl(number, 0, None)
    assert isinstance(told, UnreadNamespace) and told.reason == "OutOfScope"
