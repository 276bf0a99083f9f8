"""Vsock sockets tell their own address where the kernel lists none of them."""

from __future__ import annotations

import os
import socket

import pytest

from collector.node.procfs import Process
from collector.node.vsock import vsock_rows

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs the right to trace")


def test_one_that_listens() -> None:
    try:
        listener = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    except OSError:
        pytest.skip("this kernel has no vsock")
    with listener, socket.socket() as other, Process.open(os.getpid()) as process:
        listener.bind((socket.VMADDR_CID_ANY, 0x87654321))
        listener.listen()
        inodes = [os.fstat(each.fileno()).st_ino for each in (other, listener)]
        holders = {inodes[0]: [os.getpid()], inodes[1]: [os.getpid()], 1: [os.getpid()], 2: []}
        (row,) = vsock_rows(process, holders, set())
        assert not list(vsock_rows(process, holders, {inodes[1]}))
        assert not list(vsock_rows(process, holders, set(), most=1))
    assert row["local"] == {"address": "4294967295", "port": 0x87654321}
    assert (row["state"], row["inode"], row["pids"]) == ("listen", inodes[1], [os.getpid()])
    assert "remote" not in row
