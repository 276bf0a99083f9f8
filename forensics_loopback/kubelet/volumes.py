"""A pod's volumes as local folders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from forensics_loopback.kinds.objects import Obj, lookup
from forensics_loopback.kubelet.runner import RunningPod


def materialise(pod: RunningPod, folder: Path) -> dict[str, str]:
    """Write the volumes beneath `folder`; returns the local path for each mount path. Blocks."""
    volumes = {volume["name"]: volume for volume in pod.pod["spec"].get("volumes") or ()}
    places: dict[str, str] = {}
    for mount in pod.container.get("volumeMounts") or ():
        root = _place(pod, volumes[mount["name"]], folder / "volumes")
        places[mount["mountPath"]] = str(root / mount["subPath"] if mount.get("subPath") else root)
    return places


def _place(pod: RunningPod, volume: Obj, folder: Path) -> Path:
    if "hostPath" in volume:
        return Path(volume["hostPath"]["path"])
    root = folder / str(volume["name"])
    root.mkdir(parents=True, exist_ok=True)
    for name, content in _files(pod, volume):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def _files(pod: RunningPod, volume: Obj) -> Iterator[tuple[str, bytes]]:
    if "secret" in volume:
        data = pod.read("secrets", volume["secret"]["secretName"])
        yield from _selected(data or {}, volume["secret"])
    elif "configMap" in volume:
        data = pod.read("configmaps", volume["configMap"]["name"])
        yield from _selected(data or {}, volume["configMap"])
    elif "downwardAPI" in volume:
        yield from _downward(pod, volume["downwardAPI"])
    for source in lookup(volume, "projected.sources", ()):
        yield from _projected(pod, source)


def _projected(pod: RunningPod, source: Obj) -> Iterator[tuple[str, bytes]]:
    if "secret" in source:
        yield from _selected(pod.read("secrets", source["secret"]["name"]) or {}, source["secret"])
    elif "configMap" in source:
        data = pod.read("configmaps", source["configMap"]["name"]) or {}
        yield from _selected(data, source["configMap"])
    elif "downwardAPI" in source:
        yield from _downward(pod, source["downwardAPI"])
    elif "serviceAccountToken" in source:
        # Nothing signs tokens here; whoever reads one sees that it is none.
        audience = source["serviceAccountToken"].get("audience", "")
        yield source["serviceAccountToken"]["path"], f"loopback-token:{audience}".encode()


def _selected(data: Mapping[str, bytes], source: Obj) -> Iterator[tuple[str, bytes]]:
    if not source.get("items"):
        yield from data.items()
    for item in source.get("items") or ():
        if item["key"] in data:
            yield item["path"], data[item["key"]]


def _downward(pod: RunningPod, source: Obj) -> Iterator[tuple[str, bytes]]:
    for item in source.get("items") or ():
        value = lookup(pod.pod, lookup(item, "fieldRef.fieldPath", ""), "")
        yield item["path"], str(value).encode()
