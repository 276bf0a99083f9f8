"""Find the Docker Engine of this machine, or start a private one where none answers."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lab.process import LabError, daemon, wait_until_ready

SOCKET = "/var/run/docker.sock"
SYSTEM_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin"
"""Where dockerd, mount and their like are, also for a root whose PATH has no sbin."""


def find_engine() -> str | None:
    """Return the URL of an engine that answers: `DOCKER_HOST`, the CLI's context, the usual socket.

    Only sockets count: the lab, like a capture, needs the engine's file system on this machine.
    """
    hosts = [os.environ.get("DOCKER_HOST"), _context_host(), f"unix://{SOCKET}"]
    return next((host for host in hosts if host and answers(host)), None)


def answers(host: str) -> bool:
    """Whether an engine answers at `unix://PATH`."""
    scheme, _, path = host.partition("://")
    if scheme != "unix":
        return False
    connection = http.client.HTTPConnection("localhost", timeout=5)
    try:
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(5)
        connection.sock.connect(path)
        connection.request("GET", "/_ping")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _context_host() -> str | None:
    """Return the endpoint of the Docker command's current context, if there is such a command."""
    docker = shutil.which("docker")
    if not docker:
        return None
    answer = subprocess.run([docker, "context", "inspect"], capture_output=True, check=False)
    with suppress(ValueError, LookupError, TypeError):
        return str(json.loads(answer.stdout)[0]["Endpoints"]["docker"]["Host"])
    return None


@contextmanager
def private_engine(*options: str) -> Iterator[str]:
    """Run a dockerd of our own for the block and yield its URL. Raises `LabError`.

    `options` are further ones of dockerd, as `--storage-driver=vfs`.

    No bridge, no firewall rules, no listening port: containers have no network. Everything it
    keeps lies in one temporary folder (TMPDIR), which is unmounted and removed.
    """
    binary = shutil.which("dockerd", path=SYSTEM_PATH)
    if binary is None or os.geteuid() != 0:
        why = "dockerd is not installed" if binary is None else "only root can start dockerd"
        hint = "Start Docker Engine, name it in DOCKER_HOST, or run lab/install.sh as root"
        raise LabError(f"No Docker Engine answers, and {why}", hint=hint)
    folder = Path(tempfile.mkdtemp(prefix="lab-dk-"))
    try:
        with daemon(
            [*_command(binary, folder), *options],
            folder / "log",
            env={"PATH": SYSTEM_PATH},
            grace=30,
        ) as process:
            host = f"unix://{folder}/docker.sock"
            wait_until_ready("dockerd", lambda: answers(host), process, folder / "log")
            yield host
    finally:
        kill_remains(folder)
        unmount_below(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _command(binary: str, folder: Path) -> list[str | Path]:
    # Not the folder's name, which may end with an underscore: containerd takes no such names.
    namespace = f"lab-dk-{secrets.token_hex(4)}"
    own = [
        f"--host=unix://{folder}/docker.sock",
        f"--data-root={folder}/data",
        f"--exec-root={folder}/exec",
        f"--pidfile={folder}/pid",
        # Where the machine has a containerd of its own, dockerd uses that one.
        f"--containerd-namespace={namespace}",
        f"--containerd-plugins-namespace={namespace}-plugins",
    ]
    alone = "--bridge=none --iptables=false --ip6tables=false --ip-forward=false --ip-masq=false"
    # A configuration file of the machine's own engine would contradict these.
    (folder / "daemon.json").write_text("{}")
    return [binary, *own, *alone.split(), f"--config-file={folder}/daemon.json"]


def kill_remains(folder: Path) -> None:
    """Kill what a dockerd that died leaves: its containerd and shims name the folder."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if os.fsencode(f"{folder}/") in (process / "cmdline").read_bytes():
                os.kill(int(process.name), signal.SIGKILL)


def unmount_below(folder: Path) -> None:
    """Unmount, deepest first, what is still mounted below the folder."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    umount = shutil.which("umount", path=SYSTEM_PATH) or "umount"
    for mount in sorted((m for m in mounts if m.startswith(f"{folder}/")), reverse=True):
        subprocess.run([umount, "--lazy", mount], check=False, capture_output=True)
