"""The example scripts do what they say, in about ten lines each."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import anyio
import pytest

from forensics_core.bundle.seal import generate_key, sign
from forensics_core.bundles import open_bundle
from lab.docker import DockerEngine
from lab.seaweed import S3Identity, S3Server
from tests.bundles import CONTEXT, DIFF, write_bundle
from tests.docstrings import run_example

EXAMPLES = Path(__file__).parents[3] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))


async def run(
    script: str, *arguments: str | Path, env: Mapping[str, str] | None = None
) -> tuple[int, list[str]]:
    """Run an example; return its exit code and what it printed."""
    command = [sys.executable, str(EXAMPLES / script), *map(str, arguments)]
    done = await anyio.run_process(command, check=False, env={**os.environ, **(env or {})})
    return done.returncode, done.stdout.decode().splitlines()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_an_example_is_short(script: Path) -> None:
    imports = ("import ", "from ", '"""')
    lines = [line for line in script.read_text().splitlines() if line.strip()]
    assert 2 <= len([line for line in lines if not line.startswith(imports)]) <= 13


@pytest.mark.skipif(os.geteuid() != 0, reason="read from the node by root only")
async def test_a_container_is_captured(
    docker: DockerEngine, image: str, s3: S3Server, bucket: str
) -> None:
    env = {**docker.env, **s3.env(S3Identity.COLLECTOR)}
    async with docker.container(image) as container:
        code, (said,) = await run(
            "01_capture_container.py", f"docker://{container}", f"s3://{bucket}", env=env
        )
    location, digest = said.split()
    assert code == 0 and digest.startswith("sha256:")
    assert location.startswith(f"s3://{bucket}/forensics/")


@pytest.mark.skipif(os.geteuid() != 0, reason="read from the node by root only")
async def test_a_container_is_captured_into_a_folder_and_a_file_of_it_read(
    docker: DockerEngine, image: str, tmp_path: Path
) -> None:
    async with docker.container(image) as container:
        await docker.exec(container, "touch /tmp/new")
        code, (said,) = await run(
            "01_capture_container.py", f"docker://{container}", tmp_path, env=docker.env
        )
        assert code == 0
    location = said.split()[0]
    name = json.loads((Path(location.removeprefix("file://")) / "manifest.json").read_bytes())
    (web,) = [each["name"] for each in name["predicate"]["containers"]]
    code, lines = await run("06_read_bundle.py", location, web, "/etc/passwd")
    assert code == 0 and "A '/tmp/new'" in lines
    assert lines[-1].startswith("b'root:")


@pytest.mark.skipif(os.geteuid() != 0, reason="read from the node by root only")
async def test_the_examples_that_capture_and_bundles_open_with_run(
    docker: DockerEngine, image: str, tmp_path: Path, use_env: Callable[[Mapping[str, str]], None]
) -> None:
    use_env(docker.env)
    async with docker.container(image) as container:
        replaced = {"docker://web": f"docker://{container}", "file:///cases": tmp_path.as_uri()}
        made = await run_example("forensics_core.capture", replaced)
    location = made["evidence"].location
    async with open_bundle(location) as bundle:
        assert bundle.capture.order.incident == "INC-7"
        (name,) = bundle.containers
        assert [line async for line in bundle.container(name).processes()]
    place = "s3://cases/forensics/20260801T101112Z_shop_web-0_4f2a-1"
    read = await run_example("forensics_core.bundles", {place: location, '"web"': repr(name)})
    assert read["passwd"].startswith(b"root:")


async def test_a_bundle_is_verified_and_its_seal(tmp_path: Path) -> None:
    folder, key = tmp_path / "bundle", tmp_path / "key.pub"
    sealable = await write_bundle(str(folder))
    private, public = generate_key()
    key.write_bytes(public)
    (folder / "manifest.sigstore.json").write_bytes(
        sign((folder / "manifest.json").read_bytes(), private)
    )
    code, (said,) = await run("02_verify_bundle.py", folder, key)
    assert (code, said) == (0, f"Verified: 4 artifacts, sha256:{sealable.manifest_sha256}")
    (folder / DIFF).write_bytes(b"something else")
    code, (problem, note) = await run("02_verify_bundle.py", folder)
    assert code == 1 and problem.startswith(f"'Mismatch: {DIFF}") and "not checked" in note


async def test_a_bundle_is_listed_with_its_gaps(tmp_path: Path) -> None:
    await write_bundle(str(tmp_path / "bundle"))
    code, said = await run("03_list_bundle.py", tmp_path / "bundle")
    assert code == 0 and len(said) == 4
    assert "  'containers/web/inspect.json'" in said[0] and "  14 bytes  " in said[0]
    assert said[3].startswith("not captured: 'processes' of web: NotPermitted")


async def test_a_bundle_is_fetched_and_decompressed(tmp_path: Path) -> None:
    await write_bundle(str(tmp_path / "bundle"))
    code, said = await run("04_fetch_bundle.py", tmp_path / "bundle", tmp_path / "home")
    assert code == 0
    for name in ("manifest.json", CONTEXT, "containers/web/rootfs.tar"):
        assert ascii(str(tmp_path / "home" / name)) in said


async def test_a_test_of_ones_own_runs_on_a_loopback_cluster() -> None:
    code, said = await run("08_test_on_a_loopback_cluster.py")
    assert (code, said) == (0, ["web-0 {'get podcheckpoints': 2}"])
