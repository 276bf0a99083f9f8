"""Where distributions of Kubernetes keep their containerd, and how they start it.

A private one cannot have those paths on this machine, so it gets a mount namespace in which `/run`
and `/var` are folders of its own::

    with running_containerd(layout=K3S) as engine:
        ...
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.process import LabError

_PRIVATE = """set -e
mount --make-rprivate /
mount --bind "$1/own-run" /run
mount --bind "$1/own-var" /var
cd "$2"
shift 2
exec "$@"
"""
"""Runs in a mount namespace of its own: the lab's folder, where to work, and the command."""


@dataclass(frozen=True, slots=True)
class ContainerdLayout:
    """The paths of one containerd, as it sees them itself."""

    socket: str
    state: str
    root: str
    config: str
    options: Sequence[str] = ()
    """Its command line, in which `-c` may be relative to the folder that `config` is in."""

    def command(self, binary: str, folder: Path, config: str) -> list[str]:
        """Write the configuration and return what starts it; its files lie in `folder`."""
        if folder.is_relative_to("/var") or folder.is_relative_to("/run"):
            raise LabError(
                f"{folder} is hidden there", hint="Let TMPDIR be neither in /var nor /run"
            )
        (folder / "own-run").mkdir()
        (folder / "own-var").mkdir()
        (folder / "own-var/run").symlink_to("/run")
        # All are beneath /run or /var, which are these two.
        for path in (self.socket, self.state, self.root, self.config):
            (folder / f"own-{path[1:]}").parent.mkdir(parents=True, exist_ok=True)
        (folder / f"own-{self.config[1:]}").write_text(config)
        where = str(Path(self.config).parent)
        script = ["unshare", "--mount", "--", "sh", "-c", _PRIVATE, "sh", str(folder), where]
        return [*script, binary, *self.options]


@dataclass(frozen=True, slots=True)
class _InFolder(ContainerdLayout):
    def command(self, binary: str, folder: Path, config: str) -> list[str]:
        Path(self.config).write_text(config)
        return [binary, *self.options]


def in_folder(folder: Path) -> ContainerdLayout:
    """Return the lab's own layout: everything in one folder, seen by everybody."""
    config = f"{folder}/config.toml"
    options = ("--config", config)
    return _InFolder(f"{folder}/cd.sock", f"{folder}/run", f"{folder}/root", config, options)


_K3S = "/run/k3s/containerd"
_RKE2 = "/var/lib/rancher/rke2/agent"
_SNAP = "/var/snap/microk8s"

K3S = ContainerdLayout(
    f"{_K3S}/containerd.sock",
    _K3S,
    "/var/lib/rancher/k3s/agent/containerd",
    "/var/lib/rancher/k3s/agent/etc/containerd/config.toml",
    # As in k3s since 1.29: all else is in the file.
    ("-c", "config.toml"),
)
RKE2 = ContainerdLayout(
    f"{_K3S}/containerd.sock",
    _K3S,
    f"{_RKE2}/containerd",
    f"{_RKE2}/etc/containerd/config.toml",
    (
        *("-c", f"{_RKE2}/etc/containerd/config.toml", "-a", f"{_K3S}/containerd.sock"),
        *("--state", _K3S, "--root", f"{_RKE2}/containerd"),
    ),
)
MICROK8S = ContainerdLayout(
    f"{_SNAP}/common/run/containerd.sock",
    f"{_SNAP}/common/run/containerd",
    f"{_SNAP}/common/var/lib/containerd",
    f"{_SNAP}/current/args/containerd.toml",
    (
        *("--config", f"{_SNAP}/current/args/containerd.toml"),
        *("--root", f"{_SNAP}/common/var/lib/containerd"),
        *("--state", f"{_SNAP}/common/run/containerd"),
        *("--address", f"{_SNAP}/common/run/containerd.sock"),
    ),
)
K0S = ContainerdLayout(
    "/run/k0s/containerd.sock",
    "/run/k0s/containerd",
    "/var/lib/k0s/containerd",
    "/var/lib/k0s/containerd.toml",
    (
        *("--root=/var/lib/k0s/containerd", "--state=/run/k0s/containerd"),
        *("--address=/run/k0s/containerd.sock", "--config=/var/lib/k0s/containerd.toml"),
    ),
)
