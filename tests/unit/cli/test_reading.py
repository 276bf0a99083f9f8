"""`verify`, `fetch` and `ls`, on bundles in folders."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import pytest
from click.testing import CliRunner

from forensics_core.bundle.seal import generate_key, sign
from forensics_core.cli.main import forensics
from tests.bundles import (
    CHANGES,
    DIFF,
    INSPECT,
    ROOTFS,
    artifact,
    edit_manifest,
    replace_object,
    write_bundle,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    anyio.run(write_bundle, str(tmp_path / "bundle"))
    return tmp_path / "bundle"


def invoke(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(forensics, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


def invoke_json(*arguments: str | Path) -> tuple[int, Any, str]:
    code, out, err = invoke(*arguments, "-o", "json")
    return code, json.loads(out), err


def manifest_sha256(folder: Path) -> str:
    return hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()


def finished_at(folder: Path) -> str:
    manifest = json.loads((folder / "manifest.json").read_bytes())
    return str(manifest["predicate"]["finishedAt"])


def seal(folder: Path) -> Path:
    private, public = generate_key()
    manifest = (folder / "manifest.json").read_bytes()
    (folder / "manifest.sigstore.json").write_bytes(sign(manifest, private))
    key = folder.parent / "key.pub"
    key.write_bytes(public)
    return key


def stored(folder: Path) -> int:
    skipped = {"manifest.json", "manifest.sigstore.json"}
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in skipped)
    return sum(path.stat().st_size for path in files)


def test_verify_ends_with_what_was_verified(folder: Path) -> None:
    code, out, err = invoke("verify", folder)
    assert code == 0
    last = f"4 artifacts, {stored(folder)} bytes, manifest sha256:{manifest_sha256(folder)}"
    ended = finished_at(folder)
    assert out.splitlines() == [
        "Evidence: web on node-1",
        f"Captured: 2026-08-01T10:11:12Z to {ended[:19]}Z",
        f"Request:  UID {UUID(int=0x4F2A)}, attempt 1",
        f"Verified: {last}",
    ]
    assert err.startswith("Verifying: 5/5 objects")


def test_verify_as_json_says_nothing_else(folder: Path) -> None:
    code, data, err = invoke_json("verify", folder)
    assert (code, err) == (0, "")
    assert data == {
        "location": folder.as_uri() + "/",
        "verified": True,
        "manifestSha256": manifest_sha256(folder),
        "artifacts": 4,
        "bytes": stored(folder),
        "seal": "absent",
        "evidence": {
            "pod": None,
            "containers": ["web"],
            "requester": None,
            "reason": "",
            "incident": "",
            "startedAt": "2026-08-01T10:11:12Z",
            "finishedAt": finished_at(folder),
            "request": {"uid": str(UUID(int=0x4F2A)), "attempt": 1},
            "location": f"{folder}/",
            "copy": False,
        },
        "problems": [],
        "notes": [],
        "extras": [],
        "extrasTotal": 0,
        "fetched": None,
    }


def of_shop(document: dict[str, Any]) -> None:
    document["predicate"]["containers"] = []
    document["predicate"]["order"].update(
        pod={"namespace": "shop", "name": "we\x1bb-0", "uid": "u-1"},
        incident="INC-7",
        requester={"name": "alice", "attested": False},
    )


def test_verify_says_of_what_the_evidence_is_and_for_whom(folder: Path) -> None:
    edit_manifest(folder, of_shop)
    code, out, _ = invoke("verify", folder, "--uid", "u-1", "--incident", "INC-7")
    assert code == 0
    assert out.splitlines()[0] == "Evidence: pod shop/we\\x1bb-0, UID u-1"
    assert out.splitlines()[2].endswith(", attempt 1, incident INC-7, of alice, not attested")


@pytest.mark.parametrize(
    ("option", "value"),
    [("--pod", "shop/web-1"), ("--pod", "web-1"), ("--uid", "u-2"), ("--incident", "INC-8")],
)
def test_verify_ends_with_3_for_other_evidence(folder: Path, option: str, value: str) -> None:
    edit_manifest(folder, of_shop)
    code, out, err = invoke("verify", folder, option, value)
    assert code == 3
    assert out.startswith("OtherEvidence: manifest.json: it is evidence of another ")
    assert "Verified" not in out
    assert "does not verify" in err


@pytest.mark.parametrize("option", ["--pod", "--uid", "--incident"])
def test_an_empty_value_holds_evidence_against_nothing_and_is_refused(
    folder: Path, option: str
) -> None:
    code, _, err = invoke("verify", folder, option, "")
    assert code == 2
    assert "any evidence would do" in err


def test_verify_names_files_that_nobody_named_and_the_evidence_is_intact(folder: Path) -> None:
    (folder / "signature").write_text("")
    code, out, err = invoke("verify", folder)
    assert (code, "Error" in err) == (0, False)
    assert out.startswith("Extra: signature: not part of the evidence, which is intact\n")
    assert invoke_json("verify", folder)[1]["extras"] == ["signature"]
    assert invoke("verify", folder, "--strict")[0] == 3


def test_verify_names_the_first_of_many_such_files(folder: Path) -> None:
    for number in range(30):
        (folder / f"more{number:02}").touch()
    code, out, _ = invoke("verify", folder)
    assert code == 0
    lines = [line for line in out.splitlines() if line.startswith("Extra: ")]
    assert len(lines) == 21
    assert lines[-1] == "Extra: 10 more: not part of the evidence, which is intact"


def test_verify_names_what_is_wrong_and_ends_with_3(folder: Path) -> None:
    (folder / DIFF).write_text("{}")
    (folder / "ev\x1bil").write_text("")
    code, out, err = invoke("verify", folder)
    assert code == 3
    lines = out.splitlines()
    assert lines[0].startswith(f"Mismatch: {DIFF}: it is truncated")
    assert lines[1] == "Extra: ev\\x1bil: not part of the evidence"
    assert "Verified" not in out
    assert err.splitlines()[-1].startswith("Error: file:///")
    assert "does not verify" in err


def test_verify_as_json_lists_the_problems(folder: Path) -> None:
    (folder / DIFF).unlink()
    code, data, err = invoke_json("verify", folder)
    assert code == 3
    assert data["verified"] is False
    assert data["problems"] == [{"kind": "Missing", "name": DIFF, "message": "it is not there"}]
    assert err.startswith("Error: ")


def test_verify_checks_the_seal_with_a_key(folder: Path) -> None:
    key = seal(folder)
    assert "Note: The bundle is sealed" in invoke("verify", folder)[1]
    code, out, _ = invoke("verify", folder, "--key", key)
    assert code == 0
    assert "\nSeal: valid" in out
    key.write_bytes(generate_key()[1])
    code, out, _ = invoke("verify", folder, "--key", key)
    assert code == 3
    assert "Mismatch: manifest.sigstore.json" in out


def test_a_key_that_is_none_is_wrong_usage(folder: Path) -> None:
    seal(folder)
    code, _, err = invoke("verify", folder, "--key", folder / DIFF)
    assert code == 2
    assert "ECDSA on P-256" in err


@pytest.mark.parametrize(
    ("location", "code", "why"),
    [
        ("/nonexistent", 1, "There is nothing at"),
        ("ftp://host/x", 2, "not a location"),
        ("s3://a", 2, "no S3 bucket"),
    ],
)
@pytest.mark.parametrize("command", [["verify"], ["ls"], ["ls", "--changes"]])
def test_locations_that_are_none(command: list[str], location: str, code: int, why: str) -> None:
    result, _, err = invoke(*command, location)
    assert result == code
    assert why in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("photos", "There is no bundle at"),
        ("unfinished", "has no manifest.json: it is unfinished"),
        ("photos/summer/beach.jpg", "is a file, and a bundle is a folder"),
    ],
)
def test_a_location_with_something_else_says_what_to_name(
    tmp_path: Path, place: str, why: str
) -> None:
    for name in ("photos/summer/beach.jpg", "unfinished/containers/web/diff.json"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    code, _, err = invoke("ls", tmp_path / place)
    assert code == 1 and why in err


def test_fetch_says_what_it_brought_and_where(folder: Path, tmp_path: Path) -> None:
    code, out, err = invoke("fetch", folder, tmp_path / "copy", "--decompress")
    assert code == 0
    assert out.startswith("Fetched: 4 artifacts, ")
    assert str(tmp_path / "copy") in out
    assert err.startswith("Fetching: 5/5 objects")
    assert (tmp_path / "copy/containers/web/rootfs.tar").exists()
    assert invoke("verify", tmp_path / "copy")[0] == 0


def test_a_part_of_a_bundle_is_fetched_and_verified_by_the_same_globs(
    folder: Path, tmp_path: Path
) -> None:
    select = ["--select", "*/diff.json", "--select", "context/*"]
    code, out, err = invoke("fetch", folder, tmp_path / "copy", *select)
    assert code == 0 and "Fetched: 2 artifacts" in out and "Only 2 of" in out
    code, out, _ = invoke("verify", tmp_path / "copy", *select)
    assert code == 0 and "Verified: 2 artifacts" in out
    code, _, err = invoke("verify", tmp_path / "copy")
    assert code == 3 and "give the same --select" in err
    code, _, err = invoke("verify", tmp_path / "copy", "--select", "nothing")
    assert code == 2 and "No object of the bundle" in err


def test_fetch_as_json(folder: Path, tmp_path: Path) -> None:
    code, data, err = invoke_json("fetch", folder, tmp_path / "copy")
    assert (code, err) == (0, "")
    assert data["verified"] is True
    assert data["folder"] == str(tmp_path / "copy")
    assert not (tmp_path / "copy/containers/web/rootfs.tar").exists()


def test_fetch_names_what_is_wrong_and_ends_with_3(folder: Path, tmp_path: Path) -> None:
    (folder / INSPECT).write_text("tampered")
    code, out, err = invoke("fetch", folder, tmp_path / "copy")
    assert code == 3
    assert out.startswith(f"Mismatch: {INSPECT}: ")
    assert ".unverified" in err
    assert (tmp_path / f"copy/{INSPECT}.unverified").read_text() == "tampered"


def test_fetch_into_a_folder_in_use_fails(folder: Path) -> None:
    code, _, err = invoke("fetch", folder, folder)
    assert code == 1
    assert "not empty" in err


def test_ls_lists_artifacts_and_what_is_missing(folder: Path) -> None:
    code, out, err = invoke("ls", folder)
    assert (code, err) == (0, "")
    assert f"Manifest  sha256:{manifest_sha256(folder)}" in out
    assert "Captured  2026-08-01 10:11:12 UTC to " in out
    rows = out.splitlines()
    assert any(row.split()[-2:] == ["changedWhileRead", ROOTFS] for row in rows)
    assert any(row.split() == ["14", "B", "14", "B", "-", INSPECT] for row in rows)
    assert rows[-1].split() == ["web", "processes", "NotPermitted", "no", "CAP_SYS_PTRACE"]


def test_ls_of_a_bundle_without_gaps_mentions_none(folder: Path) -> None:
    edit_manifest(folder, lambda document: document["predicate"].update(notCaptured=[]))
    assert "Not captured" not in invoke("ls", folder)[1]


def test_ls_as_json(folder: Path) -> None:
    code, data, _ = invoke_json("ls", folder, "web")
    assert code == 0
    assert [row["name"] for row in data["artifacts"]] == [INSPECT, DIFF, ROOTFS]
    assert data["notCaptured"][0]["reason"] == "NotPermitted"
    assert data["containers"][0]["containerId"] == "docker://4f2a"
    assert data["partial"] is True


def test_ls_of_one_container_leaves_others_out(folder: Path) -> None:
    def edit(document: dict[str, Any]) -> None:
        document["predicate"]["containers"].append({"name": "db", "containerId": "docker://1"})
        artifact(document, DIFF)["container"] = "db"

    edit_manifest(folder, edit)
    assert DIFF in invoke("ls", folder, "db")[1]
    assert DIFF not in invoke("ls", folder, "web")[1]
    code, _, err = invoke("ls", folder, "--changes")
    assert code == 2
    assert "Name one of: db, web" in err
    assert invoke("ls", folder, "db", "--changes")[0] == 0


def test_ls_of_an_unknown_container(folder: Path) -> None:
    code, _, err = invoke("ls", folder, "nothing")
    assert code == 2
    assert "It has: web" in err


def test_ls_with_a_path_says_that_there_is_no_index(folder: Path) -> None:
    code, _, err = invoke("ls", folder, "web:/etc")
    assert code == 1
    assert "no index" in err
    assert "fetch --decompress" in err


def test_ls_changes_escapes_what_an_intruder_named(folder: Path) -> None:
    code, out, err = invoke("ls", folder, "--changes")
    assert (code, err) == (0, "")
    assert out == "A /tmp/\\x1b[2Jx\\n\n"
    code, data, _ = invoke_json("ls", folder, "web", "--changes")
    assert data == {"container": "web", "changes": CHANGES["changes"]}


def test_ls_changes_that_were_tampered_with(folder: Path) -> None:
    replace_object(folder, DIFF, b"[]")
    assert invoke("ls", folder, "--changes")[0] == 3
