"""What sort a volume is of, by the paths that a kubelet, Docker or a user chose."""

from __future__ import annotations

import pytest

from collector.files.volumes import VolumeOrigin, VolumeSelection, sort_of
from collector.runtimes.declared import Declared

PODS = "/var/lib/kubelet/pods/0c8f"
MADE = f"{PODS}/volumes/kubernetes.io~"


@pytest.mark.parametrize(
    ("source", "kind", "root", "sort", "name"),
    [
        (f"{MADE}secret/password", b"tmpfs", b"/", VolumeOrigin.SECRET, "password"),
        (f"{MADE}configmap/config", b"ext4", b"/x", VolumeOrigin.CONFIG_MAP, "config"),
        (f"{MADE}projected/token", b"tmpfs", b"/", VolumeOrigin.PROJECTED, "token"),
        (f"{MADE}downward-api/info", b"tmpfs", b"/", VolumeOrigin.DOWNWARD_API, "info"),
        (f"{MADE}empty-dir/scratch", b"tmpfs", b"/", VolumeOrigin.EMPTY_DIR, "scratch"),
        (f"{MADE}csi/pvc-1/mount", b"ext4", b"/", VolumeOrigin.CLAIM, "pvc-1"),
        (f"{MADE}nfs/share", b"nfs4", b"/", VolumeOrigin.CLAIM, "share"),
        # A driver that hands out secrets, and a part of what is in memory: nobody says of what.
        (f"{MADE}csi/vault/mount", b"tmpfs", b"/", VolumeOrigin.SECRET, "vault"),
        (f"{PODS}/volume-subpaths/any/web/0", b"tmpfs", b"/key", VolumeOrigin.SECRET, "any"),
        (f"{PODS}/volume-subpaths/any/web/0", b"ext4", b"/sub", VolumeOrigin.CLAIM, "any"),
        # Of a part of a config map the mount table has the whole path.
        (
            f"{PODS}/volume-subpaths/any/web/0",
            b"ext4",
            f"{MADE}configmap/config/..2026/key".encode(),
            VolumeOrigin.CONFIG_MAP,
            "config",
        ),
        ("/var/lib/docker/volumes/data/_data", b"ext4", b"/", VolumeOrigin.VOLUME, "data"),
        ("/srv/data", b"ext4", b"/srv/data", VolumeOrigin.BIND, "/srv/data"),
        # A directory that only looks like one of the kubelet's.
        (
            "/srv/kubernetes.io~secret/x",
            b"ext4",
            b"/",
            VolumeOrigin.BIND,
            "/srv/kubernetes.io~secret/x",
        ),
    ],
)
def test_the_sort_of_a_volume(
    source: str, kind: bytes, root: bytes, sort: VolumeOrigin, name: str
) -> None:
    volume = sort_of(b"/data", kind, root, Declared("/data", "bind", source))
    assert (volume.sort, volume.shown) == (sort, name)
    kept = {VolumeOrigin.EMPTY_DIR, VolumeOrigin.CLAIM, VolumeOrigin.VOLUME, VolumeOrigin.BIND}
    assert volume.withheld == (sort not in kept)


def test_volumes_of_which_the_runtime_does_not_know() -> None:
    assert sort_of(b"/data", b"ext4", b"/in\xff", None).sort is VolumeOrigin.OTHER
    assert sort_of(b"/data", b"ext4", b"/in\xff", None).shown == "/in\\xff"
    assert sort_of(b"/data", b"tmpfs", b"/", None).sort is VolumeOrigin.SECRET
    swarm = Declared("/run/secrets/key", "bind", "/var/lib/docker/containers/1/mounts/secrets/2")
    assert sort_of(b"/run/secrets/key", b"ext4", b"/", swarm).sort is VolumeOrigin.SECRET


def test_volumes_are_asked_for_by_name_or_path_or_all_together() -> None:
    volume = sort_of(b"/data", b"ext4", b"/", Declared("/data", "bind", f"{MADE}secret/password"))
    assert not VolumeSelection().wants(b"/data", volume)
    assert VolumeSelection(every=True).wants(b"/data", volume)
    assert not VolumeSelection(every=True).names(b"/data", volume)
    for name in ("password", "/data"):
        assert VolumeSelection(named=frozenset({name})).names(b"/data", volume)
