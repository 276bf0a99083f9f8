"""Which runtime the kubelet of this machine was told to use.

A kubelet of its own has options, a configuration file and a folder of more; MicroK8s' has a file of
options; that of k3s is a part of k3s, with k3s's options and files.

Source: https://kubernetes.io/docs/tasks/administer-cluster/kubelet-config-file/
"""

from __future__ import annotations

import os
import re
from contextlib import suppress

from collector.node.host import Host
from collector.runtimes.programs import absolute, arguments, values

KUBELETS = ("kubelet", "kubelite", "k3s", "k3s-server", "k3s-agent")
"""What the processes are called that are a kubelet, or have one in them."""
K3S_SOCKET = "/run/k3s/containerd/containerd.sock"

_OPTION = "--container-runtime-endpoint"
_IN_FILE = re.compile(
    rb"""(?m)^[^#\n]*?(?:containerRuntimeEndpoint|container-runtime-endpoint)["']?"""
    rb"""\s*[:=]\s*["']?([^"'\s,}]+)"""
)
"""A line of YAML, JSON, or options that names an endpoint and is no comment."""
_K3S_CONFIGS = ("/etc/rancher/k3s/config.yaml",)
_K3S_DROP_INS = "/var/lib/rancher/k3s/agent/etc/kubelet.conf.d"


def endpoint(name: str, pid: int, host: Host) -> str:
    """Return the path of the socket that a kubelet's process was given; '' if it says nothing.

    As the kubelet has it, an option counts more than a file, and a later file more than an earlier
    one.
    """
    given = arguments(pid)
    said = _of_options(given) or _of_files(_files(name, given, pid, host), host)
    if not said and name.startswith("k3s") and "--docker" not in given:
        said = K3S_SOCKET
    return said.removeprefix("unix://")


def _of_options(given: list[str]) -> str:
    said = values(given, [_OPTION])
    for each in values(given, ["--kubelet-arg"]):
        said += values([f"--{each.removeprefix('--')}"], [_OPTION])
    return said[-1] if said else ""


def _files(name: str, given: list[str], pid: int, host: Host) -> list[str]:
    """Return the configuration files, those that override others last."""
    files = values(given, ["--config"])[-1:]
    folders = values(given, ["--config-dir"])[-1:]
    if name.startswith("k3s"):
        files, folders = files or [*_K3S_CONFIGS], folders or [_K3S_DROP_INS]
    for folder in folders:
        with suppress(OSError):
            files += host.matching(f"{absolute(pid, folder)}/*.conf")
    files += values(given, ["--kubelet-args-file"])[-1:]
    return [absolute(pid, file) for file in files]


def _of_files(files: list[str], host: Host) -> str:
    said = ""
    for file in files:
        with suppress(OSError):
            found = _IN_FILE.findall(host.read(file))
            said = os.fsdecode(found[-1]) if found else said
    return said
