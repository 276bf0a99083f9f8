"""Several kubeconfig files as one, merged as kubectl does.

Of each cluster, user and context the first file that names it has the say, whole: nothing of a
later one of that name is mixed in. An empty `current-context` is none. Files that are missing are
passed over, and paths in a file are relative to that file.

Source: https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from forensics_core.errors import ClusterNotConfigured

KubeconfigContent = dict[str, Any]
LISTS = {"clusters": "cluster", "users": "user", "contexts": "context"}
"""The lists of a kubeconfig, and under which name each entry has its content."""
_PATHS = {
    "cluster": ("certificate-authority",),
    "user": ("client-certificate", "client-key", "tokenFile"),
    "context": (),
}
_HINT = "Check it with `kubectl config view`"


def files_of(paths: str) -> list[Path]:
    """Return the files that `KUBECONFIG`, or an option, names: each of them once, in order."""
    # A `~` is the shell's to expand: kubectl passes over such a file, and so takes another cluster.
    return [Path(name) for name in dict.fromkeys(paths.split(os.pathsep)) if name]


def merge(files: list[Path]) -> KubeconfigContent:
    """Return one kubeconfig with absolute paths. Raises `ClusterNotConfigured`. Blocks."""
    merged: KubeconfigContent = {"apiVersion": "v1", "kind": "Config", "current-context": ""}
    merged |= {name: [] for name in LISTS}
    for file in files:
        if (document := _read(file)) is not None:
            merged["current-context"] = merged["current-context"] or _current(document)
            for name, kind in LISTS.items():
                known = {entry["name"] for entry in merged[name]}
                merged[name] += [
                    entry for entry in _entries(document, name, kind, file)
                    if entry["name"] not in known
                ]  # fmt: skip
    return merged


def _read(file: Path) -> KubeconfigContent | None:
    """Return what a file holds; nothing where it is missing or empty."""
    try:
        document = yaml.safe_load(file.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, yaml.YAMLError) as error:
        said = " ".join(str(error).split())
        raise ClusterNotConfigured(f"{file} cannot be read: {said}", hint=_HINT) from error
    if document is not None and not isinstance(document, dict):
        raise ClusterNotConfigured(f"{file} is not a kubeconfig", hint=_HINT)
    return document


def _current(document: KubeconfigContent) -> str:
    current = document.get("current-context")
    return current if isinstance(current, str) else ""


def _entries(
    document: KubeconfigContent, name: str, kind: str, file: Path
) -> Iterator[KubeconfigContent]:
    """Yield a list's entries; what is no entry, or bears another's name, is refused."""
    entries = document.get(name) or []
    if not isinstance(entries, list):
        raise ClusterNotConfigured(f"{file}: {name} is not a list", hint=_HINT)
    seen: set[str] = set()
    for entry in entries:
        named = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(named, str):
            raise ClusterNotConfigured(f"{file}: an entry of {name} has no name", hint=_HINT)
        if named in seen:
            raise ClusterNotConfigured(f"{file}: {name} has '{named}' twice", hint=_HINT)
        seen.add(named)
        content = entry.get(kind)
        located = _located(content, kind, file) if isinstance(content, dict) else {}
        yield {"name": named, kind: located}


def _located(content: KubeconfigContent, kind: str, file: Path) -> KubeconfigContent:
    """Return an entry's content with its paths made absolute."""
    folder = file.absolute().parent
    located = dict(content)
    for name in _PATHS[kind]:
        if located.get(name):
            located[name] = str(folder / str(located[name]))
    plugin = located.get("exec")
    if isinstance(plugin, dict) and os.sep in str(plugin.get("command") or ""):
        located["exec"] = plugin | {"command": str(folder / str(plugin["command"]))}
    return located
