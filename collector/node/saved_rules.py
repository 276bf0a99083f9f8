"""Firewall rules as people write them, by the node's own programs where these are at hand.

By hand on a node they are; in a Job there are none, and nothing of the node is run. They run in the
namespace (`nsenter`), never out of the container, and only where there are rules to show: asking
for others could load modules of the kernel.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Collection
from contextlib import suppress
from typing import cast

import anyio
from anyio import to_thread
from anyio.abc import ByteReceiveStream

from collector.documents import readable
from collector.node.procfs import Process
from forensics_core._internal import children

PROGRAMS = {
    "rules": (("nft", "-j", "list", "ruleset"), ("iptables-save",), ("ip6tables-save",)),
    "legacy": (("iptables-legacy-save",), ("ip6tables-legacy-save",)),
}
"""By the table that has to have rows."""
MAX_TEXT = 1024 * 1024
"""Bytes of what one of them writes."""
TIMEOUT = 15.0
"""Seconds that one of them may take."""


async def saved_rules(
    space: bytes,
    members: list[int],
    filled: Collection[str],
    most: int = MAX_TEXT,
    seconds: float = TIMEOUT,
) -> dict[str, str]:
    """Return what the programs write in a namespace that these processes are in, by command.

    `filled` are the tables that have rows. Of each program the first bytes are taken, `most` of
    them, if it ends in so many `seconds`. What is not installed, or fails, is left out.
    """
    texts: dict[str, str] = {}
    file = await to_thread.run_sync(_namespace, space, members)
    if file is None:
        return texts
    try:
        for command in [each for name in PROGRAMS if name in filled for each in PROGRAMS[name]]:
            with suppress(OSError):
                inside = ["nsenter", f"--net=/proc/self/fd/{file}", *command]
                text = bytearray()
                with anyio.move_on_after(seconds) as scope:
                    text = await _output(inside, file, most)
                if text and not scope.cancelled_caught:
                    texts[" ".join(command)] = readable(bytes(text))
    finally:
        os.close(file)
    return texts


def _namespace(space: bytes, members: list[int]) -> int | None:
    """Open a namespace, by the first process that is in it."""
    for number in members:
        with suppress(OSError), Process.open(number) as process:
            if process.link("ns/net") == space:
                return os.open("ns/net", os.O_RDONLY | os.O_CLOEXEC, dir_fd=process.folder)
    return None


async def _output(command: list[str], file: int, most: int) -> bytearray:
    """Return what a program wrote, so many bytes of it at most."""
    text = bytearray()
    child = await children.start(command, stderr=subprocess.DEVNULL, pass_fds=[file])
    async with child:
        async for block in cast(ByteReceiveStream, child.stdout):
            text += block
            if len(text) >= most:
                child.kill()
                break
    return text[:most]
