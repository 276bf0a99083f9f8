"""What sort of volume a mount is, by where the kubelet, Docker or a user had it made.

::

    volume = sort_of("/var/lib/kubelet/pods/UID/volumes/kubernetes.io~secret/token", ...)
    print(volume.sort, volume.name, volume.withheld)

The kubelet names its folders by plugin: the runtime's own account has their paths, and so has the
mount table, except of file systems in memory, whose root says nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from collector.files.mounttable import MEMORY
from collector.runtimes.declared import Declared


class VolumeOrigin(StrEnum):
    """Where what is in a volume comes from."""

    SECRET = "secret"  # noqa: S105  # the name of a sort
    CONFIG_MAP = "configMap"
    PROJECTED = "projected"
    DOWNWARD_API = "downwardAPI"
    EMPTY_DIR = "emptyDir"
    CLAIM = "persistentVolumeClaim"
    VOLUME = "volume"
    """One that Docker keeps, with a name or without."""
    BIND = "bind"
    """A file or directory of the node: a hostPath."""
    OTHER = "other"
    """Mounted from somewhere by somebody: the runtime does not know of it."""


WITHHELD = frozenset(
    {
        VolumeOrigin.SECRET,
        VolumeOrigin.CONFIG_MAP,
        VolumeOrigin.PROJECTED,
        VolumeOrigin.DOWNWARD_API,
    }
)
"""Sorts that the cluster made of its own objects, as a rule of secrets."""
_PLUGINS = {
    b"secret": VolumeOrigin.SECRET,
    b"configmap": VolumeOrigin.CONFIG_MAP,
    b"projected": VolumeOrigin.PROJECTED,
    b"downward-api": VolumeOrigin.DOWNWARD_API,
    b"empty-dir": VolumeOrigin.EMPTY_DIR,
}
_KUBELETS = re.compile(rb"/pods/[^/]+/volumes/kubernetes\.io~([^/]+)/([^/]+)(?:/|$)")
_SUBPATH = re.compile(rb"/pods/[^/]+/volume-subpaths/([^/]+)/")
_DOCKERS = re.compile(rb"/volumes/([^/]+)/_data$")
_SWARMS = (b"/run/secrets/", b"/var/run/secrets/")


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume, as far as it is known."""

    sort: VolumeOrigin
    name: str
    """Its name in the pod, or Docker's; else where it lies on the node."""

    @property
    def shown(self) -> str:
        """The name as JSON can hold it."""
        return self.name.encode(errors="surrogateescape").decode(errors="backslashreplace")

    @property
    def withheld(self) -> bool:
        """Whether its content stays out of a bundle unless it is asked for by name."""
        return self.sort in WITHHELD


def sort_of(path: bytes, kind: bytes, root: bytes, told: Declared | None) -> Volume:
    """Return what is mounted at `path`: `root` of a file system of the type `kind`.

    `told` is what the runtime says of it. What is in memory, and nobody says why, counts as secret.
    """
    source = told.source.encode(errors="surrogateescape") if told else b""
    found = _KUBELETS.search(source) or _KUBELETS.search(root)
    if found:
        sort = _PLUGINS.get(found[1], VolumeOrigin.CLAIM)
        # A driver that hands secrets out does so in memory.
        sort = VolumeOrigin.SECRET if sort is VolumeOrigin.CLAIM and kind in MEMORY else sort
        return Volume(sort, _text(found[2]))
    name = _SUBPATH.search(source)
    if kind in MEMORY or path.startswith(_SWARMS):
        return Volume(VolumeOrigin.SECRET, _text(name[1] if name else path))
    if name:
        return Volume(VolumeOrigin.CLAIM, _text(name[1]))
    if docker := _DOCKERS.search(source) or _DOCKERS.search(root):
        return Volume(VolumeOrigin.VOLUME, _text(docker[1]))
    if told is None:
        return Volume(VolumeOrigin.OTHER, _text(root))
    return Volume(VolumeOrigin.BIND, told.source)


def _text(data: bytes) -> str:
    return data.decode(errors="surrogateescape")


@dataclass(frozen=True, slots=True)
class VolumeSelection:
    """Which volumes are to be captured."""

    every: bool = False
    named: frozenset[str] = frozenset()
    """By name, or by path in the container: these with their content, whatever it is."""

    def names(self, path: bytes, volume: Volume) -> bool:
        """Whether a volume was asked for by itself."""
        return not self.named.isdisjoint({volume.name, _text(path)})

    def wants(self, path: bytes, volume: Volume) -> bool:
        """Whether something of a volume is to be captured."""
        return self.every or self.names(path, volume)
