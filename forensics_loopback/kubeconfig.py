"""A kubeconfig for a loopback cluster."""

from __future__ import annotations

import json
from pathlib import Path

import anyio

from forensics_loopback.access import User


def contents(url: str, user: User, *, token: str, namespace: str = "default") -> str:
    """The kubeconfig's text: JSON, which is YAML too.

    It says twice who comes: kubectl sends tokens over TLS only, but impersonates over HTTP too.
    """
    identity = {"token": token, "as": user.name, "as-groups": list(user.groups)}
    context = {"cluster": "loopback", "user": "loopback", "namespace": namespace}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "loopback", "cluster": {"server": url}}],
        "users": [{"name": "loopback", "user": identity}],
        "contexts": [{"name": "loopback", "context": context}],
        "current-context": "loopback",
    }
    return json.dumps(config, indent=2)


async def write(path: Path, text: str) -> Path:
    """Write a kubeconfig, readable by its owner only."""
    target = anyio.Path(path)
    await target.write_text(text)
    await target.chmod(0o600)
    return path
