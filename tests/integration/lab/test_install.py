"""`lab/install.sh` says at once what is missing, and finds a newer Python where there is one."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TOOLS = ("bash", "dirname", "ldd", "mkdir", "touch")
OLD = "exit 1\n"
"""A `python3` to which every question is too much, as that of Ubuntu 22.04."""
NEW = """case "$*" in
*ensurepip*) exit 1 ;;
*print*) echo python3.11-venv ;;
"-m venv"*) echo "no venv" >&2; exit 9 ;;
esac
"""
"""A newer one without the package for virtual environments."""


@dataclass
class Machine:
    """A checkout and the few commands that a machine has; all others are missing."""

    folder: Path

    def add(self, name: str, script: str) -> None:
        """Put a command in the PATH."""
        command = self.folder / "bin" / name
        command.write_text(f"#!/bin/bash\n{script}")
        command.chmod(0o755)

    def install(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the script as it is run on that machine."""
        return subprocess.run(
            [self.folder / "lab" / "install.sh", *arguments],
            env={"PATH": str(self.folder / "bin")},
            capture_output=True,
            text=True,
        )

    @property
    def asked(self) -> list[str]:
        """What apt-get was called with."""
        log = self.folder / "apt"
        return log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    for name in ("bin", "lab"):
        (tmp_path / name).mkdir()
    # The script itself adds the administrator's folders to the PATH, for dockerd.
    script = (ROOT / "lab" / "install.sh").read_text().replace(":/usr/sbin:/sbin", "")
    (tmp_path / "lab" / "install.sh").write_text(script)
    (tmp_path / "lab" / "install.sh").chmod(0o755)
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    for tool in TOOLS:
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool) or "")
    return Machine(tmp_path)


def be_root(machine: Machine) -> None:
    """Let there be root, and a distribution that has Python 3.11 beside its python3."""
    machine.add("id", "echo 0")
    machine.add("apt-cache", '[ "$2" = python3.11 ]')
    bin_ = machine.folder / "bin"
    machine.add("new-python", NEW)
    link = f'[ "${{@: -1}}" != python3.11 ] || ln -s new-python {bin_}/python3.11'
    machine.add("apt-get", f'echo "$@" >> {machine.folder}/apt; PATH=/usr/bin:/bin; {link}')


def test_who_may_not_install_is_told_all_that_is_missing(machine: Machine) -> None:
    machine.add("id", "echo 1000")
    machine.add("python3", NEW.replace("exit 1", "exit 0"))
    done = machine.install()
    assert done.returncode == 1
    *reasons, last = done.stderr.splitlines()
    packages = ["tar", "busybox-static", "zstd", "libarchive-tools", "attr", "acl"]
    packages += ["iproute2", "iptables", "nftables", "tshark"]
    assert last == f"!! As root, on Debian or Ubuntu: apt-get install {' '.join(packages)}"
    assert [line.split()[2] for line in reasons] == packages


def test_only_python_is_asked_for_where_only_python_is_needed(machine: Machine) -> None:
    machine.add("id", "echo 1000")
    machine.add("python3", NEW.replace("exit 1", "exit 0"))
    done = machine.install("python")
    assert (done.returncode, done.stderr) == (9, "no venv\n")
    machine.add("python3", OLD)
    done = machine.install("python")
    assert done.returncode == 1 and "Python 3.11 or later is missing" in done.stderr


def test_a_newer_python_is_installed_beside_an_older_one(machine: Machine) -> None:
    be_root(machine)
    machine.add("python3", OLD)
    done = machine.install("python")
    assert (done.returncode, done.stderr) == (9, "no venv\n")
    packages = [line.split()[-1] for line in machine.asked if line.startswith("install")]
    assert packages == ["python3.11", "python3.11-venv"]
    assert machine.asked[0] == "update -qq" and len(machine.asked) == 3


def test_it_says_that_a_busybox_is_replaced(machine: Machine) -> None:
    be_root(machine)
    for tool in ("tar", "zstd", "bsdtar", "setfattr", "setfacl"):
        machine.add(tool, "")
    # Linked to libraries, as that of the package busybox.
    (machine.folder / "bin" / "busybox").symlink_to("/bin/true")
    machine.add("python3", NEW)
    said = machine.install().stdout
    assert "Installing busybox-static" in said and "takes the place of the package busybox" in said
