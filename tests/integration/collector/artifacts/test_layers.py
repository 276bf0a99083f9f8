"""Whether an image's layers on the node are what the image promises: on Docker and containerd."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import secrets
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import zstandard
from anyio import to_thread

from collector.artifacts import layers
from collector.layers.blob import PackedSource
from collector.layers.promised import ImageLayers
from collector.layers.tarsplit import TarSplit
from collector.local import CaptureOptions, capture_container
from collector.runtimes.opening import open_runtime
from forensics_core.api.order import ArtifactKind
from lab.containerd import Containerd, write_image
from lab.docker import DockerEngine
from lab.images import busybox_rootfs
from tests.integration.collector.conftest import Bundle

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="layers are read by root only")

PING = bytes.fromhex("0100000200200000" + "00" * 12)


@dataclass(frozen=True)
class Place:
    """A runtime, and an image of two layers that nobody else has."""

    scheme: str
    engine: DockerEngine | Containerd
    image: str

    async def layers(self, container: str) -> ImageLayers:
        async with open_runtime(self.scheme) as runtime:
            return await runtime.image_layers(await runtime.find(f"{self.scheme}://{container}"))

    async def folder(self, container: str, number: int = 0) -> Path:
        """Return the directory of one layer, the lowest being 0."""
        return Path(os.fsdecode((await self.layers(container)).layers[number].folder))

    async def capture(self, container: str, bundle: Bundle, **options: Any) -> list[dict[str, Any]]:
        """Capture; return the rows of the image's own layers, the lowest first."""
        wanted: dict[str, Any] = {"name": bundle.folder.name, "subpath": "", "layer_seconds": 60}
        wanted |= options
        await capture_container(
            f"{self.scheme}://{container}",
            to=f"file://{bundle.folder.parent}",
            options=CaptureOptions(wanted.pop("artifacts", [ArtifactKind.DIFF]), **wanted),
        )
        (document,) = bundle.folder.glob("containers/*/layers.json")
        rows: list[dict[str, Any]] = bundle.json(str(document.relative_to(bundle.folder)))["layers"]
        return [row for row in rows if row["diffId"]]


def second_layer(folder: Path) -> Path:
    """Make a layer that changes, adds, deletes, and replaces a directory."""
    for name, text in {
        "etc/app.conf": "listen = 127.0.0.1\n",
        "usr/local/bin/tool": "#!/bin/sh\nexit 0\n",
        "var/log/.wh.auth.log": "",
        "srv/app/plugins/.wh..wh..opq": "",
        "srv/app/plugins/new.sh": "#!/bin/sh\n",
        f"run/{'long-' * 30}{secrets.token_hex(4)}": "x" * 70_000,
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "usr/local/bin/tool").chmod(0o755)
    os.setxattr(folder / "usr/local/bin/tool", "user.origin", b"build")
    (folder / "usr/local/bin/link").symlink_to("tool")
    os.link(folder / "usr/local/bin/tool", folder / "usr/local/bin/twin")
    os.mkfifo(folder / "run/queue")
    return folder


@pytest.fixture(params=["docker", "containerd"])
def engine(
    request: pytest.FixtureRequest, use_env: Callable[[Mapping[str, str]], None]
) -> DockerEngine | Containerd:
    found: DockerEngine | Containerd = request.getfixturevalue(request.param)
    use_env(found.env)
    return found


@pytest.fixture
async def place(engine: DockerEngine | Containerd, tmp_path: Path) -> Place:
    base = await to_thread.run_sync(busybox_rootfs, tmp_path / "base")
    (base / ".unique").write_text(secrets.token_hex(8))
    layers = [base, await to_thread.run_sync(second_layer, tmp_path / "second")]
    if isinstance(engine, Containerd):
        return Place("containerd", engine, await engine.import_image(*layers))
    name = f"lab-layers:{secrets.token_hex(4)}"
    archive = tmp_path / "image.tar"
    await to_thread.run_sync(write_image, archive, layers, name, engine.run_id)
    async with engine.client() as client:
        with archive.open("rb") as file:
            said = [each async for each in client.images.import_image(file, stream=True)]
    assert said
    return Place("docker", engine, name)


def differences(row: dict[str, Any]) -> dict[str, str]:
    return {each["path"]: each["difference"] for each in row.get("differences", ())}


async def test_layers_that_nobody_touched_are_proven(place: Place, bundle: Bundle) -> None:
    async with place.engine.container(place.image) as container:
        await place.engine.exec(container, "echo mine > /etc/app.conf; rm /etc/group")
        rows = await place.capture(container, bundle)
    assert [(row["result"], differences(row)) for row in rows] == [("proven", {}), ("proven", {})]
    assert rows[0]["members"] > 100 and rows[1]["members"] >= 10
    assert bundle.gaps() == {}


async def test_a_poisoned_file_of_a_shared_layer_is_named(place: Place, bundle: Bundle) -> None:
    """Size and time are put back: only the content tells, and no container's diff has it."""
    async with place.engine.container(place.image) as container:
        shadow = await place.folder(container) / "etc/shadow"
        status, content = shadow.stat(), shadow.read_bytes()
        shadow.write_bytes(content.replace(b"*", b"x"))
        os.utime(shadow, ns=(status.st_atime_ns, status.st_mtime_ns))
        rows = await place.capture(container, bundle)
        (diff,) = bundle.folder.glob("containers/*/diff.json")
        assert b"shadow" not in diff.read_bytes()
    assert [row["result"] for row in rows] == ["differs", "proven"]
    assert differences(rows[0]) == {"/etc/shadow": "content"}
    assert rows[0]["differencesTotal"] == 1


async def test_what_was_added_removed_or_given_rights(place: Place, bundle: Bundle) -> None:
    async with place.engine.container(place.image) as container:
        base, second = await place.folder(container), await place.folder(container, 1)
        (base / "bin/evil").write_text("#!/bin/sh\n")
        (base / "root/.kit").mkdir()
        (base / "root/.kit/inside").write_text("x")
        (base / "srv/www/index.html").unlink()
        (base / "bin/busybox").chmod(0o4755)
        os.setxattr(base / "etc/app.conf", "security.capability", PING)
        (base / "bin/ls").unlink()
        (base / "bin/ls").symlink_to("evil")
        (base / "var/log/app.log").unlink()
        (base / "var/log/app.log").mkdir()
        (second / "var/log/auth.log").unlink()
        (second / "usr/local/bin/twin").unlink()
        (second / "usr/local/bin/twin").write_text("#!/bin/sh\nexit 0\n")
        os.removexattr(second / "srv/app/plugins", "trusted.overlay.opaque")
        rows = await place.capture(container, bundle)
    assert differences(rows[0]) == {
        "/bin/busybox": "metadata",
        "/bin/evil": "extra",
        "/bin/ls": "metadata",
        "/etc/app.conf": "metadata",
        "/root/.kit": "extra",
        "/srv/www/index.html": "missing",
        "/var/log/app.log": "type",
    }
    assert differences(rows[1]) == {
        "/srv/app/plugins/.wh..wh..opq": "type",
        "/usr/local/bin/twin": "metadata",
        "/var/log/.wh.auth.log": "missing",
    }
    told = {each["path"]: each for each in rows[0]["differences"]}
    assert told["/bin/busybox"]["mode"] == {"image": "0755", "node": "4755"}
    assert told["/etc/app.conf"]["capabilities"] == {"image": None, "node": "cap_net_raw=ep"}
    assert told["/bin/ls"]["target"] == {"image": "busybox", "node": "evil"}


async def test_where_the_content_was_removed_the_layer_is_unproven(
    place: Place, bundle: Bundle
) -> None:
    async with place.engine.container(place.image) as container:
        source = (await place.layers(container)).layers[0].source
        assert isinstance(source, PackedSource | TarSplit)
        Path(source.path).rename(f"{source.path}.gone")
        rows = await place.capture(container, bundle)
        Path(f"{source.path}.gone").rename(source.path)
    assert [(row["result"], row.get("reason")) for row in rows] == [
        ("unproven", "NotFound"),
        ("proven", None),
    ]
    assert bundle.gaps() == {"image layers": "NotFound"}
    (gap,) = [gap for gap in bundle.capture.not_captured if gap.what == "image layers"]
    assert not gap.requested


async def test_a_budget_of_nothing_compares_nothing(place: Place, bundle: Bundle) -> None:
    async with place.engine.container(place.image) as container:
        with pytest.raises(ValueError, match="not enough values"):
            await place.capture(container, bundle, layer_seconds=0)
    assert bundle.gaps() == {"image layers": "NotRequested"}


async def test_what_there_was_no_time_for_is_unproven(place: Place, bundle: Bundle) -> None:
    async with place.engine.container(place.image) as container:
        rows = await place.capture(container, bundle, layer_seconds=1e-9)
    assert {(row["result"], row["reason"]) for row in rows} == {("unproven", "Deadline")}
    assert bundle.gaps() == {"image layers": "Deadline"}


async def test_an_image_of_packed_blobs(
    containerd: Containerd,
    use_env: Callable[[Mapping[str, str]], None],
    tmp_path: Path,
    bundle: Bundle,
) -> None:
    """As registries have them: the lowest layer in gzip, the other one in zstd."""
    use_env(containerd.env)
    base = await to_thread.run_sync(busybox_rootfs, tmp_path / "base")
    (base / ".unique").write_text(secrets.token_hex(8))
    second = await to_thread.run_sync(second_layer, tmp_path / "second")
    name = f"lab.local/packed:{secrets.token_hex(4)}"
    archive = tmp_path / "image.tar"
    await to_thread.run_sync(write_image, archive, [base, second], name, containerd.run_id)
    await to_thread.run_sync(pack_blobs, archive, tmp_path / "oci.tar", name)
    await containerd.ctr("images", "import", str(tmp_path / "oci.tar"))
    place = Place("containerd", containerd, name)
    async with containerd.container(name) as container:
        folder = await place.folder(container, 1)
        (folder / "usr/local/bin/tool").write_text("#!/bin/sh\nexit 1\n")
        rows = await place.capture(container, bundle)
    assert rows[0]["result"] == "proven"
    assert differences(rows[1]) == {
        "/usr/local/bin/tool": "content",
        "/usr/local/bin/twin": "metadata",
    } or differences(rows[1]) == {"/usr/local/bin/tool": "content"}


def pack_blobs(archive: Path, target: Path, name: str) -> None:
    """Make an OCI layout of what `docker save` writes, with its layers compressed."""
    with tarfile.open(archive) as saved, tarfile.open(target, "w") as layout:

        def read(member: str) -> bytes:
            file = saved.extractfile(member)
            assert file
            return file.read()

        def put(data: bytes, media_type: str) -> dict[str, Any]:
            digest = hashlib.sha256(data).hexdigest()
            add(f"blobs/sha256/{digest}", data)
            return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

        def add(path: str, data: bytes) -> None:
            member = tarfile.TarInfo(path)
            member.size = len(data)
            layout.addfile(member, io.BytesIO(data))

        oci = "application/vnd.oci.image"
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{oci}.manifest.v1+json",
            "config": put(read("config.json"), f"{oci}.config.v1+json"),
            "layers": [
                put(gzip.compress(read("0.tar")), f"{oci}.layer.v1.tar+gzip"),
                put(zstandard.ZstdCompressor().compress(read("1.tar")), f"{oci}.layer.v1.tar+zstd"),
            ],
        }
        row = put(json.dumps(manifest).encode(), f"{oci}.manifest.v1+json")
        row["annotations"] = {"io.containerd.image.name": name}
        add("oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        add("index.json", json.dumps({"schemaVersion": 2, "manifests": [row]}).encode())


async def test_an_image_that_was_removed(
    containerd: Containerd,
    use_env: Callable[[Mapping[str, str]], None],
    tmp_path: Path,
    bundle: Bundle,
) -> None:
    use_env(containerd.env)
    base = await to_thread.run_sync(busybox_rootfs, tmp_path / "base")
    (base / ".unique").write_text(secrets.token_hex(8))
    name = await containerd.import_image(base)
    place = Place("containerd", containerd, name)
    async with containerd.container(name) as container:
        listed = [line.split()[0] for line in (await containerd.ctr("images", "ls")).splitlines()]
        config = (await place.layers(container)).image
        await containerd.ctr("images", "rm", "--sync", name, *({config} & {*listed}))
        with pytest.raises(ValueError, match="not enough values"):
            await place.capture(container, bundle)
    assert bundle.gaps()["image layers"] in {"Gone", "NotFound"}


async def test_layers_that_containers_share_are_read_once(
    docker: DockerEngine,
    use_env: Callable[[Mapping[str, str]], None],
    tmp_path: Path,
    bundle: Bundle,
) -> None:
    use_env(docker.env)
    base = await to_thread.run_sync(busybox_rootfs, tmp_path / "base")
    (base / ".unique").write_text(secrets.token_hex(8))
    image = await docker.import_image(base)
    async with docker.container(image) as one, docker.container(image) as other:
        await capture_container(
            f"docker://{one}",
            f"docker://{other}",
            to=f"file://{bundle.folder.parent}",
            options=CaptureOptions(
                [ArtifactKind.FILESYSTEM], name=bundle.folder.name, subpath="", layer_seconds=60
            ),
        )
    documents = [json.loads(each.read_bytes()) for each in bundle.folder.rglob("layers.json")]
    first, second = ([row for row in document["layers"] if row["diffId"]] for document in documents)
    assert first == second and first[0]["result"] == "proven"
    kinds = {each.kind for each in bundle.capture.artifacts if each.name.endswith("layers.json")}
    assert kinds == {ArtifactKind.FILESYSTEM}


def test_the_time_for_layers_is_a_part_of_the_captures() -> None:
    told = [layers.seconds_for(None, elapsed) for elapsed in (0, 50, 3000)]
    assert told == [0.3, 10.0, 30.0]
    assert layers.seconds_for(0, 50) == 0
