"""Containers of ten kinds in which nobody broke in: what runs in production, as Debian has it.

async with clean_container(engine, CLEAN["nginx"], folder) as container: ...
"""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anyio import to_thread

from lab.docker import DockerEngine
from lab.images import busybox_rootfs
from lab.packages import debian_rootfs
from lab.process import LabError

_APP = """
import http.server, helper
helper.note("started")
http.server.ThreadingHTTPServer(("", 8000), http.server.SimpleHTTPRequestHandler).serve_forever()
"""
_HELPER = """
def note(text):
    with open("/var/log/app.log", "a") as log:
        print(text, file=log)
"""


@dataclass(frozen=True, slots=True)
class Clean:
    """One kind of container."""

    command: str
    """What it runs, for a shell."""
    packages: tuple[str, ...] = ()
    """Debian's; BusyBox alone where there are none."""
    port: int = 0
    """Which it listens on, and its image declares."""
    ready: str = ""
    """A command that succeeds once it works; by default, that somebody listens on its port."""
    setup: str = ""
    """What its image's maker runs in it."""
    files: Mapping[str, str] = field(default_factory=dict)
    user: str = ""

    @property
    def until_ready(self) -> str:
        """A script that ends once it works."""
        test = self.ready or f"(exec 3<>/dev/tcp/127.0.0.1/{self.port})"
        return f"i=0; until {test} 2>/dev/null; do i=$((i+1)); test $i -lt 600; sleep 0.1; done"


_LOG = "while :; do date >> /var/log/app.log; echo working; sleep 1; done"
CLEAN: dict[str, Clean] = {
    "busybox": Clean(_LOG, ready="test -s /var/log/app.log"),
    "debian": Clean(_LOG, ("dpkg", "grep", "sed", "tar"), ready="test -s /var/log/app.log"),
    "python": Clean(
        "exec python3 /srv/app.py",
        ("python3",),
        8000,
        files={"srv/app.py": _APP, "srv/helper.py": _HELPER},
    ),
    "node": Clean(
        "exec node -e \"require('http').createServer((q, a) => a.end('ok')).listen(8080)\"",
        ("nodejs",),
        8080,
    ),
    "java": Clean(
        "exec /usr/lib/jvm/default-java/bin/rmiregistry", ("default-jre-headless",), 1099
    ),
    "nginx": Clean(
        "exec nginx -g 'daemon off; user app app;'",
        ("nginx-light", "sed"),
        80,
        setup="ln -sf ../sites-available/default /etc/nginx/sites-enabled/default; "
        "mkdir -p /var/www/html /var/lib/nginx; sed -i 's/^user .*//' /etc/nginx/nginx.conf",
    ),
    "postgresql": Clean(
        "PATH=$(echo /usr/lib/postgresql/*/bin):$PATH; "
        "initdb -D /srv/data >/dev/null && exec postgres -D /srv/data -k /tmp",
        ("postgresql",),
        5432,
        setup="mkdir /srv/data; chown 1000:1000 /srv/data",
        user="1000:1000",
    ),
    "redis": Clean("cd /srv; exec redis-server --save 1 1", ("redis-server",), 6379),
    "memcached": Clean("exec memcached -u app", ("memcached",), 11211),
    "php": Clean("cd /srv; exec /usr/bin/php[0-9]* -S 0.0.0.0:8000", ("php-cli",), 8000),
}


@asynccontextmanager
async def clean_container(
    engine: DockerEngine, kind: Clean, folder: Path, **options: Any
) -> AsyncIterator[str]:
    """Run such a container for the block, once it works; `folder` is for its image's files.

    `options` are those of `DockerEngine.create`. Raises `LabError`.
    """
    rootfs = await to_thread.run_sync(_rootfs, kind, folder / "rootfs")
    image = await engine.import_image(rootfs)
    ports: dict[str, object] = {f"{kind.port}/tcp": {}} if kind.port else {}
    command = ("/bin/sh", "-c", kind.command)
    options = {"User": kind.user, "ExposedPorts": ports, **options}
    async with engine.container(image, command, **options) as container:
        await engine.exec(container, kind.until_ready)
        yield container


def _rootfs(kind: Clean, path: Path) -> Path:
    rootfs = debian_rootfs(path, kind.packages) if kind.packages else busybox_rootfs(path)
    for name, content in kind.files.items():
        (rootfs / name).write_text(content)
    if kind.setup:
        setup = ["chroot", str(rootfs), "/bin/sh", "-ec", kind.setup]
        ended = subprocess.run(setup, capture_output=True, text=True, check=False)
        if ended.returncode:
            raise LabError(f"The image cannot be made: {ended.stderr.strip()}")
    return rootfs
