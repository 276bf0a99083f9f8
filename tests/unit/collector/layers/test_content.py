"""An image in a content store, and what the Docker Engine keeps of images."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from collector.docker.images import promised
from collector.files.overlay import OverlayDirectories
from collector.files.view import RuntimeStorage
from collector.layers.blob import PackedSource
from collector.layers.content import ContentStore, ImageContent
from collector.layers.promised import ImageLayers, MissingArchive
from collector.layers.tarsplit import TarSplit
from collector.node.host import Host
from collector.runtimes.runtime import ContainerInfo, Unavailable

FIRST, SECOND = (f"sha256:{digit * 64}" for digit in "12")


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Store:
    """A content store with an image of two layers."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "blobs/sha256").mkdir(parents=True)
        self.open = ContentStore(Host(), str(root))
        self.blobs = [self.put(b"one"), self.put(b"two")]
        self.config = self.put({"rootfs": {"diff_ids": [FIRST, SECOND]}})
        self.manifest = self.put(self.manifest_of(self.config, self.blobs))

    def put(self, content: Any) -> str:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        digest = digest_of(data)
        self.path(digest).write_bytes(data)
        return digest

    def path(self, digest: str) -> Path:
        return self.root / "blobs" / digest.replace(":", "/")

    def manifest_of(self, config: str, blobs: Sequence[str]) -> dict[str, Any]:
        layers = [{"digest": blob, "size": 3} for blob in blobs]
        return {"config": {"digest": config}, "layers": layers}

    def index(self, *digests: str) -> str:
        return self.put({"manifests": [{"digest": digest} for digest in digests]})

    def find(self, target: str) -> ImageContent:
        return self.open.find(target, lambda image: image.config == self.config)

    def reason(self, target: str) -> str:
        with pytest.raises(Unavailable) as caught:
            self.find(target)
        return caught.value.reason


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_an_image_by_its_manifest_or_index(store: Store) -> None:
    image = store.find(store.manifest)
    assert image == ImageContent(
        store.manifest, store.config, (FIRST, SECOND), ((store.blobs[0], 3), (store.blobs[1], 3))
    )
    other = store.put(store.manifest_of(store.put({"rootfs": {"diff_ids": []}}), []))
    away = f"sha256:{'a' * 64}"
    nested = store.index(away, other, store.index(store.manifest))
    assert store.find(nested) == image


def test_an_image_that_is_another_one(store: Store) -> None:
    other = store.put(store.manifest_of(store.put({"rootfs": {"diff_ids": []}}), []))
    assert store.reason(other) == "NotFound"
    assert store.reason(store.index()) == "NotFound"


def test_an_index_that_goes_round_in_circles_has_an_end(store: Store) -> None:
    digests = [store.index(store.config) for _ in range(3)]
    assert store.reason(store.index(*digests * 200)) == "NotFound"


def test_a_document_that_is_gone_or_forged(store: Store) -> None:
    store.path(store.config).write_bytes(b"{}")
    assert store.reason(store.manifest) == "BlobDiffers"
    store.path(store.config).unlink()
    assert store.reason(store.manifest) == "NotFound"
    store.path(store.manifest).unlink()
    assert store.reason(store.manifest) == "NotFound"
    store.path(store.manifest).symlink_to(store.path(store.manifest))
    assert store.reason(store.manifest) == "Unreadable"


@pytest.mark.parametrize("content", [b"no JSON", b"[]", {}, {"config": 7}])
def test_what_is_no_manifest(store: Store, content: Any) -> None:
    assert store.reason(store.put(content)) == "NotSupported"


def test_digests_that_lead_elsewhere(store: Store) -> None:
    assert store.reason("sha256:../../etc/passwd") == "NotSupported"
    assert store.reason(store.put(store.manifest_of("sha256:..", []))) == "NotSupported"
    escape = store.manifest_of(store.config, ["sha256:../x", store.blobs[1]])
    assert store.reason(store.put(escape)) == "NotSupported"
    short = store.manifest_of(store.config, store.blobs[:1])
    assert store.reason(store.put(short)) == "NotSupported"


def test_the_layers_of_an_image(store: Store) -> None:
    image = store.find(store.manifest)
    store.path(store.blobs[0]).unlink()
    store.path(store.blobs[0]).symlink_to(store.path(store.blobs[0]))
    first, second = store.open.layers(image, [b"/1", b"/2"])
    assert isinstance(first.source, MissingArchive) and first.source.reason == "Unreadable"
    assert isinstance(second.source, PackedSource) and second.source.digest == store.blobs[1]
    assert (first.bottom, second.bottom, second.folder) == (True, False, b"/2")
    store.path(store.blobs[1]).unlink()
    assert isinstance(store.open.layers(image, [b"/1", b"/2"])[1].source, MissingArchive)
    with pytest.raises(Unavailable, match="2 layers, the container's overlay 1"):
        store.open.layers(image, [b"/1"])


class Data:
    """The data folder of an engine, with an image of two layers and a container of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folders = [root / "overlay2" / name / "diff" for name in ("one", "two", "c-init")]
        for folder in self.folders:
            folder.mkdir(parents=True)
        self.config = json.dumps({"rootfs": {"diff_ids": [FIRST, SECOND]}}).encode()
        self.key = digest_of(self.config)
        self.write(f"imagedb/content/{self.key.replace(':', '/')}", self.config)
        chain = digest_of(f"{FIRST} {SECOND}".encode())
        self.kept = [f"layerdb/{each.replace(':', '/')}" for each in (FIRST, chain)]
        for kept, name in zip(self.kept, ("one", "two"), strict=True):
            self.write(f"{kept}/cache-id", name.encode())
            self.write(f"{kept}/tar-split.json.gz", b"")
            self.write(f"{kept}/size", b"7")

    def write(self, name: str, data: bytes) -> None:
        path = self.root / "image/overlay2" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    async def layers(self, *folders: Path | str, driver: str = "overlay2") -> ImageLayers:
        said = {"GraphDriver": {"Name": driver}}
        document = json.dumps(said).encode()
        container = ContainerInfo("docker://c", "c", "", self.key, "running", 1, (), document)
        told = {"Id": self.key, "RootFS": {"Layers": [FIRST, SECOND]}}
        lower = tuple(os.fsencode(each) for each in (folders or self.folders))[::-1]
        place = RuntimeStorage(layers=OverlayDirectories(b"/upper", lower))
        return await promised(container, json.dumps(told).encode(), place, Host())


@pytest.fixture
def data(tmp_path: Path) -> Data:
    if os.geteuid() != 0:
        pytest.skip("read by root only")
    return Data(tmp_path / "data")


async def test_what_docker_keeps_of_an_image(data: Data) -> None:
    image = await data.layers()
    assert image.image == data.key and image.shift == (0, 0)
    first, second, between = image.layers
    assert isinstance(first.source, TarSplit) and isinstance(second.source, TarSplit)
    assert (first.diff_id, second.diff_id, between.diff_id) == (FIRST, SECOND, "")
    assert first.size == 7 and first.bottom and not second.bottom
    assert b"/etc/hosts" in between.placeholders


async def test_users_that_are_shifted(tmp_path: Path, data: Data) -> None:
    moved = Data(tmp_path / "165536.165537")
    assert (await moved.layers()).shift == (165536, 165537)


async def test_layers_that_docker_has_elsewhere_or_nothing_of(data: Data) -> None:
    data.write(f"{data.kept[0]}/cache-id", b"other")
    data.write(f"{data.kept[0]}/size", b"many")
    (data.root / "image/overlay2" / data.kept[1] / "tar-split.json.gz").unlink()
    first, second, _ = (await data.layers()).layers
    assert isinstance(first.source, MissingArchive) and first.source.reason == "NotTheLayers"
    assert isinstance(second.source, MissingArchive) and second.source.reason == "NotFound"
    assert first.size == 0


async def test_what_docker_says_does_not_fit_the_overlay(data: Data) -> None:
    with pytest.raises(Unavailable, match="2 layers, the container's overlay 1"):
        await data.layers(data.folders[0])
    with pytest.raises(Unavailable, match="overlay 4"):
        await data.layers(*data.folders, "/more")
    with pytest.raises(Unavailable, match="keeps nothing of layers"):
        await data.layers(driver="fuse-overlayfs")
    with pytest.raises(Unavailable, match="keeps nothing of layers"):
        await data.layers("/elsewhere")
    data.write(f"imagedb/content/{data.key.replace(':', '/')}", b"{}")
    with pytest.raises(Unavailable, match="has the digest"):
        await data.layers()
    (data.root / f"image/overlay2/imagedb/content/{data.key.replace(':', '/')}").unlink()
    with pytest.raises(Unavailable, match="The image's configuration"):
        await data.layers()


async def test_dockers_containerd_image_store(data: Data, tmp_path: Path) -> None:
    """As Docker 29 has it: the image's ID is that of its manifest, and nothing is beside it."""
    root = tmp_path / "containerd"
    store = Store(root / "io.containerd.content.v1.content")
    data.key = store.index(store.manifest)
    folders = [
        f"{root}/io.containerd.snapshotter.v1.overlayfs/snapshots/{number}/fs"
        for number in (1, 2, 3)
    ]
    image = await data.layers(*folders)
    first, second, between = image.layers
    assert not isinstance(between.source, MissingArchive)
    assert (image.image, image.manifest) == (store.config, store.manifest)
    assert isinstance(first.source, PackedSource) and first.blob == store.blobs[0]
    assert second.folder == os.fsencode(folders[1]) and not between.diff_id
    assert between.source.word == "none" and not [*between.source.suspects(0)]
