"""Root file systems of Debian's own packages, unpacked: clean images without a registry.

No maintainer's script is run: what a program needs beside its files (users, data) its image's
caller makes. Packages come from the sources that apt knows on this machine.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from lab.process import LabError

BASE = ("bash", "coreutils", "hostname", "base-passwd", "libc-bin")
"""What every such image has: a shell, and the programs that the lab's scripts call."""
_USERS = "root:x:0:0:root:/root:/bin/bash\napp:x:1000:1000::/srv:/bin/sh\n"
_GROUPS = "root:x:0:\napp:x:1000:\n"
_FOLDERS = ("dev", "proc", "sys", "tmp", "root", "run", "srv", "etc", "var/log", "var/tmp")
_APT = (
    "apt-get",
    "-qq",
    "-o=Debug::NoLocking=1",
    "-o=APT::Install-Recommends=0",
    "-o=Dir::State::status=/dev/null",
    "-o=APT::Sandbox::User=root",
)


def debian_rootfs(path: Path, packages: tuple[str, ...] = ()) -> Path:
    """Make a system of these packages and all that they depend on at `path`. Returns it.

    Raises `LabError` where they cannot be had.
    """
    # First, as packages expect them: links in Debian since 12.
    for name in ("bin", "sbin", "lib"):
        (path / "usr" / name).mkdir(parents=True)
        (path / name).symlink_to(f"usr/{name}")
    (path / "lib64").symlink_to("usr/lib64")
    (path / "usr/lib64").mkdir()
    for archive in _download(path.with_name(path.name + ".debs"), (*BASE, *packages)):
        _unpack(archive, path)
    for folder in _FOLDERS:
        (path / folder).mkdir(parents=True, exist_ok=True)
    (path / "tmp").chmod(0o1777)
    (path / "etc/passwd").write_text(_USERS)
    (path / "etc/group").write_text(_GROUPS)
    if not (path / "usr/bin/sh").exists():
        (path / "usr/bin/sh").symlink_to("bash")
    _run("ldconfig", "-r", str(path))
    return path


def _download(folder: Path, packages: tuple[str, ...]) -> list[Path]:
    (folder / "partial").mkdir(parents=True)
    cache = f"-o=Dir::Cache::archives={folder}"
    _run(*_APT, cache, "install", "--yes", "--download-only", *packages)
    return sorted(folder.glob("*.deb"))


def _unpack(archive: Path, path: Path) -> None:
    """Unpack as dpkg does, which follows links to directories; its `--extract` replaces them."""
    content = archive.with_suffix(".tar")
    with content.open("wb") as file:
        subprocess.run(["dpkg-deb", "--fsys-tarfile", archive], stdout=file, check=True)
    _run("tar", "-xpf", str(content), "-C", str(path), "--keep-directory-symlink")
    content.unlink()
    archive.unlink()


def _run(*command: str) -> None:
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise LabError(f"{command[0]} failed: {ended.stderr.strip() or ended.stdout.strip()}")
