"""What `kubectl apply -k` would send, rendered by a real kubectl without any cluster."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[3]
DEPLOY = REPOSITORY / "deploy"
CHECKPOINTS = DEPLOY / "overlays" / "kubelet-checkpoint"
RULES = DEPLOY / "overlays" / "rules"
ALERTS = DEPLOY / "overlays" / "alerts"
HOLD = DEPLOY / "overlays" / "hold"
KEIKO = DEPLOY / "overlays" / "keiko"
STAMPING = DEPLOY / "overlays" / "stamping"
KUBECTL = Path(sys.executable).parent / "kubectl"

Manifest = dict[str, Any]


# libyaml reads them in a tenth of the time; PyYAML's wheels have it.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@cache
def rendered(folder: Path = DEPLOY) -> str:
    """Return the manifests of a kustomization as YAML."""
    command = [str(KUBECTL), "kustomize", str(folder)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def manifests(folder: Path = DEPLOY) -> list[Manifest]:
    """Return the same, read."""
    return list(yaml.load_all(rendered(folder), Loader=LOADER))


def called(manifest: Manifest) -> str:
    """Return `Kind namespace/name`, without the namespace where there is none."""
    metadata = manifest["metadata"]
    place = f"{metadata['namespace']}/" if "namespace" in metadata else ""
    return f"{manifest['kind']} {place}{metadata['name']}"


def one(name: str, folder: Path = DEPLOY) -> Manifest:
    """Return the manifest that is `called` so."""
    (found,) = [manifest for manifest in manifests(folder) if called(manifest) == name]
    return found


def container() -> Manifest:
    """Return the operator's container."""
    pod = one("Deployment forensics-operator/forensics-operator")["spec"]["template"]["spec"]
    (found,) = pod["containers"]
    return dict(found)
