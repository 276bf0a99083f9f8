"""What the cluster said of the pod, read back, and steps through such documents.

They may hold anything that a user of the cluster wrote: nothing is taken for granted, and lists are
cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml
from anyio import to_thread

from forensics_core.bundle.documents import read_verified
from forensics_core.bundle.reader import BundleReader
from forensics_core.errors import VerificationError

POD = "context/pod.yaml"
MAX_POD = 4 * 1024 * 1024
"""Bytes of the pod's document; etcd takes 1.5 MiB."""
MAX_ITEMS = 500
"""Items of a list that are looked at."""
# Much faster where PyYAML was built with libyaml; neither makes objects of a document's choice.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


async def load_pod(bundle: BundleReader) -> dict[str, Any]:
    """Return the pod's document, empty where the bundle has none. Raises `VerificationError`."""
    expected = bundle.objects.get(POD)
    if expected is None:
        return {}
    return await to_thread.run_sync(parse_pod, await read_verified(bundle, expected, limit=MAX_POD))


def parse_pod(data: bytes) -> dict[str, Any]:
    """Return the pod's document, empty where it is none. Raises `VerificationError`. Blocks."""
    try:
        found = yaml.load(data, _LOADER)  # noqa: S506 - safe
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise VerificationError(f"{POD} is not YAML") from error
    return found if isinstance(found, dict) else {}


def part(document: Any, *names: str) -> dict[str, Any]:
    """Return an object within an object, empty where there is none."""
    for name in names:
        document = document.get(name) if isinstance(document, dict) else None
    return document if isinstance(document, dict) else {}


def items(document: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Return the objects of a list, the first of them."""
    found = document.get(name)
    listed = found[:MAX_ITEMS] if isinstance(found, list) else []
    return [one for one in listed if isinstance(one, dict)]


def strings(value: Any) -> list[str]:
    """Return the strings of a list, the first of them."""
    found = value[:MAX_ITEMS] if isinstance(value, list) else []
    return [one for one in found if isinstance(one, str)]


def containers(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the containers of every sort that a pod's specification has."""
    for name in ("containers", "initContainers", "ephemeralContainers"):
        yield from items(spec, name)
