"""The runtimes there are, by the schemes of container IDs."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from collector.runtimes.runtime import Runtime
from forensics_core.errors import RuntimeNotFound, UsageError

SCHEMES = ("docker", "containerd", "cri-o")
"""What container IDs may begin with."""


def open_runtime(scheme: str, container: str = "") -> AbstractAsyncContextManager[Runtime]:
    """Open the runtime that container IDs with `scheme` belong to.

    Where several run, it is the one that knows `container`, a reference such as `containerd://ID`.
    Raises `UsageError`, and `RuntimeNotFound` where what talks to it is not installed.
    """
    try:
        if scheme == "docker":
            from collector.docker.opening import open_engine

            return open_engine(container)
        if scheme in {"containerd", "cri-o"}:
            from collector.cri.opening import open_cri

            return open_cri(scheme, container)
    except ModuleNotFoundError as error:
        raise RuntimeNotFound(
            f"To talk to {scheme}, the package {error.name} is needed",
            hint="Install it with: python3 -m pip install 'kube-forensics[collector]'",
        ) from error
    raise UsageError(
        f"'{scheme}' is not a container runtime that this release can read",
        hint=f"It reads {', '.join(f'{known}://' for known in SCHEMES)}: name the container so",
    )
