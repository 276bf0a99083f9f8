"""Bundles of every layout there was: genuine evidence stays readable by every command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.programs import Ended, program, start

KEPT = Path(__file__).parents[2] / "fixtures/bundles"
LAYOUTS = sorted(path.name for path in KEPT.iterdir() if path.is_dir())


@pytest.fixture(params=LAYOUTS)
def bundle(request: pytest.FixtureRequest) -> Path:
    return KEPT / str(request.param)


def container(bundle: Path) -> str:
    (folder,) = (bundle / "containers").iterdir()
    return folder.name


async def forensics(*arguments: str | Path) -> Ended:
    ended = await start([program("forensics"), *(str(each) for each in arguments)])
    assert ended.code == 0, ended.err
    return ended


async def test_it_verifies(bundle: Path) -> None:
    said = json.loads((await forensics("verify", bundle, "-o", "json")).out)
    assert said["verified"] and not said["problems"]


async def test_the_pod_and_the_request_are_known_wherever_the_manifest_has_them() -> None:
    wanted = ["--pod", "shop/web-0", "--incident", "INC-7"]
    said = await forensics("verify", KEPT / "facts-beside-the-order", *wanted)
    assert "pod shop/web-0" in said.out and "incident INC-7, of alice@example.com" in said.out


async def test_its_files_and_changes_are_listed(bundle: Path) -> None:
    name = container(bundle)
    assert " pause\n" in (await forensics("ls", bundle, f"{name}:/bin/pause")).out
    assert "/etc/added" in (await forensics("ls", bundle, name, "--changes")).out


async def test_a_file_is_printed(bundle: Path) -> None:
    assert "evil:x:0:0" in (await forensics("cat", bundle, f"{container(bundle)}:/etc/passwd")).out


async def test_it_is_scanned(bundle: Path, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yar"
    rules.write_text('rule Evil { strings: $a = "evil:x:0:0" condition: $a }')
    said = json.loads((await forensics("scan", bundle, rules, "-o", "json")).out)
    assert [row["path"] for row in said["results"]] == ["/etc/passwd"]
    assert said["scanned"].keys() >= {"file", "log", "command line"}


async def test_it_is_compared_with_itself(bundle: Path) -> None:
    said = json.loads((await forensics("compare", bundle, bundle, "-o", "json")).out)
    assert not said["containers"][0]["differences"]


async def test_it_has_a_timeline(bundle: Path) -> None:
    assert "/etc/added" in (await forensics("timeline", bundle)).out


async def test_its_report_has_what_is_in_every_document(bundle: Path, tmp_path: Path) -> None:
    told = json.loads((await forensics("report", bundle, "-o", "json")).out)
    assert {each["rule"] for each in told["findings"]} >= {"uid-0-user"}
    assert not told["notLookedAt"]
    page = tmp_path / "report.html"
    await forensics("report", bundle, "-o", page)
    # The page has its changes as a tree: each row has its parent's number and what is added.
    assert "8080" in page.read_text() and '"A","/added"' in page.read_text()


async def test_it_is_fetched_whole(bundle: Path, tmp_path: Path) -> None:
    await forensics("fetch", bundle, tmp_path / "copy")
    for path in bundle.rglob("*"):
        if path.is_file():
            assert (tmp_path / "copy" / path.relative_to(bundle)).read_bytes() == path.read_bytes()


async def test_it_is_exported(bundle: Path, tmp_path: Path) -> None:
    await forensics("export", bundle, "--oci", tmp_path / "image")
    await forensics("export", bundle, "--seed", tmp_path / "seed")
    assert len(list((tmp_path / "seed").glob("*-export.tar"))) == 1


async def test_what_was_changed_in_it_is_found(bundle: Path, tmp_path: Path) -> None:
    """Whatever its layout is: that old evidence is read makes no forged evidence pass."""
    shutil.copytree(bundle, tmp_path / "forged")
    path = tmp_path / "forged/containers" / container(bundle) / "network.json"
    path.write_bytes(path.read_bytes().replace(b"8080", b"8081"))
    for command in (["verify"], ["report", "-o", "json"]):
        name, *options = command
        ended = await start([program("forensics"), name, str(tmp_path / "forged"), *options])
        assert ended.code == 3 and "network.json" in ended.out + ended.err
