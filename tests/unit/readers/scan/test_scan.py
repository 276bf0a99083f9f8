"""Rules and lists over a bundle: what is found where, and what cannot be relied on."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import anyio
import pytest
from click.testing import CliRunner, Result

from forensics_core.api.order import ArtifactKind, Compression
from forensics_core.bundle.writer import ArtifactSpec, BundleWriter
from forensics_core.cli.main import forensics
from forensics_core.storage.blocks import one
from forensics_core.storage.storage import open_destination
from tests.bundles import capture, listing
from tests.integration.collector.folder_container import capture_tree

WEB = "containers/web/"
ROOTFS = WEB + "rootfs.tar.zst"
RULES = """
rule Marker : evil test { strings: $a = "M4RK" $b = { 4d 34 ?? 4b 21 } condition: any of them }
rule Large { condition: filesize > 40 }
"""
MARK = b"x\x1b[2J\\'\" M4RK!"


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "marks.yar"
    path.write_text(RULES)
    return path


@pytest.fixture
async def tree(tmp_path: Path) -> Path:
    """A bundle of a folder: its files have hostile names, one has holes, one another name."""
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / "evil\x1b[2J\u202e\n").write_bytes(MARK)
    (folder / "not\udcffutf8").write_bytes(b"M4RK")
    (folder / "good").write_bytes(b"as in the image")
    (folder / "empty").touch()
    os.link(folder / "good", folder / "hard")
    (folder / "soft").symlink_to("good")
    with (folder / "sparse").open("wb") as file:
        file.write(b"begin M4")
        file.seek(8 * 1024 * 1024)
        file.write(b"RK no M4RK")
        file.truncate(64 * 1024 * 1024)
    await capture_tree(folder, str(tmp_path / "bundle"))
    return tmp_path / "bundle"


def write(folder: Path, files: dict[str, tuple[ArtifactKind, bytes]]) -> Path:
    anyio.run(_write, folder, files)
    return folder


async def _write(folder: Path, files: dict[str, tuple[ArtifactKind, bytes]]) -> None:
    async with open_destination(str(folder)) as destination:
        bundle = BundleWriter(destination)
        for name, (kind, data) in files.items():
            packed = Compression.ZSTD if name.endswith(".zst") else Compression.NONE
            await bundle.add(ArtifactSpec(name, kind, "web", compression=packed), one(data))
        await bundle.finish(capture())


def invoke(*arguments: str | Path) -> Result:
    words = ["scan", *(str(argument) for argument in arguments)]
    return CliRunner().invoke(forensics, words)


def scanned(*arguments: str | Path, code: int = 0) -> dict[str, Any]:
    result = invoke(*arguments, "-o", "json")
    assert result.exit_code == code, result.stderr
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def tar_of(**files: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return packed.getvalue()


def test_each_rule_that_matches_a_file_has_a_row_with_what_is_there(
    tree: Path, rules: Path
) -> None:
    told = scanned(tree, rules)
    rows = {(row["path"], row["rule"]): row for row in told["results"]}
    evil = rows["/evil\x1b[2J\u202e\n", "Marker"]
    assert evil == {
        "type": "match",
        "container": "web",
        "artifact": ROOTFS,
        "kind": "file",
        "path": "/evil\x1b[2J\u202e\n",
        "sha256": hashlib.sha256(MARK).hexdigest(),
        "rule": "Marker",
        "namespace": "marks",
        "tags": ["evil", "test"],
        "hits": [
            {"pattern": "$a", "offset": 9, "length": 4, "excerpt": "M4RK"},
            {"pattern": "$b", "offset": 9, "length": 5, "excerpt": "M4RK!"},
        ],
        "hitsTotal": 2,
    }
    assert ("/not\udcffutf8", "Marker") in rows
    assert told["matches"] == len(told["results"]) and told["genuine"] and not told["missing"]
    assert told["scanned"] == {"file": 5}


def test_what_lies_before_a_hole_is_not_next_to_what_lies_behind(tree: Path, rules: Path) -> None:
    told = scanned(tree, rules)
    large, row = (one for one in told["results"] if one["path"] == "/sparse")
    offset = 8 * 1024 * 1024 + 6
    assert large["rule"] == "Large"
    assert row["hits"] == [{"pattern": "$a", "offset": offset, "length": 4, "excerpt": "M4RK"}]


def test_lines_for_people_steer_no_terminal(tree: Path, rules: Path) -> None:
    result = invoke(tree, rules)
    assert result.exit_code == 0
    assert r'/evil\x1b[2J\u202e\n: marks.Marker (evil, test): $a at 0x9 "M4RK"' in result.stdout
    assert r"/not\xffutf8" in result.stdout
    assert result.stdout.replace("\n", "").isprintable()
    assert "4 matches; scanned: 5 files" in result.stderr


def test_the_exit_code_can_tell_of_matches(tree: Path, rules: Path) -> None:
    assert invoke(tree, rules, "--fail-on-match").exit_code == 1
    rules.write_text("rule Never { condition: false }")
    result = invoke(tree, rules, "--fail-on-match")
    assert (result.exit_code, result.stdout) == (0, "")
    assert (scanned(tree, rules))["results"] == []


def test_deleted_files_memory_logs_and_processes_are_scanned(tmp_path: Path, rules: Path) -> None:
    processes = [
        {"pid": 7, "comm": "sh", "cmdline": ["sh", "-c", "M4RK"], "environ": ["A=1", "B=M4RK"]},
        {
            "pid": 8,
            "comm": {"text": "a\\xff", "base64": "Yf8="},
            "environ": [{"base64": "TTRSSw=="}],
        },
        {"pid": 9, "environ": [{"text": "M4RK"}, 7], "cmdline": "M4RK"},
    ]
    folder = write(
        tmp_path / "bundle",
        {
            WEB + "deleted.tar.zst": (ArtifactKind.PROCESSES, tar_of(**{"7/exe": b"..M4RK"})),
            WEB + "memory/7.core.zst": (ArtifactKind.MEMORY, b"\0" * 5_000_000 + b"M4RK"),
            WEB + "logs/0.log": (ArtifactKind.LOGS, b"GET /M4RK\n"),
            WEB + "logs/0.log.1.gz": (ArtifactKind.LOGS, gzip.compress(b"GET /old/M4RK\n")),
            WEB + "processes.json": (
                ArtifactKind.PROCESSES,
                listing({"processes": processes}, "processes"),
            ),
            WEB + "network.json": (ArtifactKind.NETWORK, b'{"M4RK": 1}'),
        },
    )
    assert "1 core, " in invoke(folder, rules).stderr
    told = scanned(folder, rules)
    found = {
        (row["artifact"].removeprefix(WEB), row["kind"], row["path"], row["hits"][0]["offset"])
        for row in told["results"]
        if row["rule"] == "Marker"
    }
    assert found == {
        ("deleted.tar.zst", "file", "/7/exe", 2),
        ("memory/7.core.zst", "memory", "", 5_000_000),
        ("logs/0.log", "log", "", 5),
        ("logs/0.log.1.gz", "log", "", 9),
        ("processes.json", "command line", "process 7 sh", 6),
        ("processes.json", "environment", "process 7 sh", 6),
        ("processes.json", "environment", "process 8 a\\xff", 0),
        ("processes.json", "environment", "process 9 ", 0),
    }
    assert "process 7 sh (environment): marks.Marker" in invoke(folder, rules).stdout


def test_a_match_across_two_windows_is_found_once_and_a_rule_has_one_row(
    tmp_path: Path, rules: Path
) -> None:
    window = 32 * 1024 * 1024
    content = bytearray(window * 2 + 100)
    for place in (5, window - 2, window + 1000, 2 * window - 1024 * 1024):
        content[place : place + 4] = b"M4RK"
    core = {WEB + "memory/7.core.zst": (ArtifactKind.MEMORY, bytes(content))}
    told = scanned(write(tmp_path / "bundle", core), rules)
    marker, large = told["results"]
    assert [hit["offset"] for hit in marker["hits"]] == [
        5, window - 2, window + 1000, 2 * window - 1024 * 1024,
    ]  # fmt: skip
    assert (marker["hitsTotal"], large["rule"], told["inWindows"]) == (4, "Large", 1)


def test_only_the_first_matches_of_a_rule_are_shown_and_all_are_counted(
    tmp_path: Path, rules: Path
) -> None:
    log = {WEB + "logs/0.log": (ArtifactKind.LOGS, b"M4RK " * 100)}
    told = scanned(write(tmp_path / "bundle", log), rules)
    assert len(told["results"][0]["hits"]) == 20 and told["results"][0]["hitsTotal"] == 100
    assert ", 97 more" in invoke(tmp_path / "bundle", rules).stdout


def test_several_files_of_rules_have_namespaces_of_their_own(
    tree: Path, rules: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other" / "marks.yar"
    other.parent.mkdir()
    other.write_text(RULES)
    told = scanned(tree, rules, other, "-c", "web")
    assert {row["namespace"] for row in told["results"]} == {"marks", "marks-2"}


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (b"rule X { condition: nothing }", "unknown identifier"),
        (b'include "/etc/passwd"', "include"),
        (b"\xff\xfe", "not text in UTF-8"),
        (b"YARA-X\0compiled", "syntax error"),
    ],
)
def test_rules_that_are_none_are_wrong_usage(
    tree: Path, rules: Path, source: bytes, why: str
) -> None:
    rules.write_bytes(source)
    result = invoke(tree, rules)
    assert result.exit_code == 2, result.stderr
    assert why in result.stderr and "marks.yar" in result.stderr and not result.stdout
    assert "\x1b" not in result.stderr and "root:x" not in result.stderr


def test_something_has_to_be_looked_for_where_there_is_something(tree: Path, rules: Path) -> None:
    assert "nothing to look for" in invoke(tree).stderr
    assert "no container 'db'" in invoke(tree, rules, "-c", "db").stderr
    assert invoke(tree, rules, "-c", "db").exit_code == 2


def test_an_archive_that_was_tampered_with_is_named_and_the_rest_is_scanned(
    tmp_path: Path, rules: Path
) -> None:
    log = b"M4RK in the log"
    names = {
        ROOTFS: (ArtifactKind.FILESYSTEM, tar_of(a=b"M4RK", b=os.urandom(9_000_000))),
        WEB + "mounts.tar.zst": (ArtifactKind.VOLUMES, b"no archive" * 100),
        WEB + "logs/0.log": (ArtifactKind.LOGS, log),
        WEB + "logs/1.log": (ArtifactKind.LOGS, log),
    }
    folder = write(tmp_path / "bundle", names)
    stored = bytearray((folder / ROOTFS).read_bytes())
    stored[6_000_000] ^= 1
    (folder / ROOTFS).write_bytes(stored)
    (folder / WEB / "logs/0.log").write_bytes(log.swapcase())
    told = scanned(folder, rules, code=3)
    found = [row["artifact"] for row in told["results"] if row["rule"] == "Marker"]
    assert found == [ROOTFS, WEB + "logs/1.log"]
    assert not told["genuine"]
    assert [line.split()[0] for line in told["missing"]] == [
        ROOTFS, WEB + "mounts.tar.zst", WEB + "logs/0.log",
    ]  # fmt: skip
    result = invoke(folder, rules)
    assert result.exit_code == 3 and "do not rely on what is shown of it" in result.stderr


def test_rules_that_take_too_long_for_a_file_are_named_and_the_next_file_is_scanned(
    tmp_path: Path, rules: Path
) -> None:
    rules.write_text(
        RULES + "rule Slow { condition: filesize > 1000 and for all i in (0..filesize - 1) : "
        "(for all j in (0..filesize - 1) : (uint8(i) + uint8(j) < 600)) }"
    )
    files = {
        WEB + "logs/0.log": (ArtifactKind.LOGS, b"M4RK" + bytes(3_000_000)),
        WEB + "logs/1.log": (ArtifactKind.LOGS, b"M4RK"),
    }
    folder = write(tmp_path / "bundle", files)
    told = scanned(folder, rules, "--timeout", "1", code=1)
    assert told["timedOut"] == [WEB + "logs/0.log"] and told["timedOutTotal"] == 1
    assert [row["artifact"] for row in told["results"]] == [WEB + "logs/1.log"]
    result = invoke(folder, rules, "--timeout", "1")
    assert "rules took too long: containers/web/logs/0.log" in result.stderr


def test_hashes_alone_are_compared_by_the_index_without_the_archive(
    tree: Path, tmp_path: Path
) -> None:
    (tree / ROOTFS).unlink()
    good, bad = tmp_path / "good", tmp_path / "bad.csv"
    good.write_text(f"{hashlib.sha256(b'as in the image').hexdigest()}  /good\n")
    bad.write_text(f"sha256,name\n{hashlib.sha256(MARK).hexdigest()},Dropper \x1b[2J\n")
    told = scanned(tree, "--known", good, "--known", bad)
    (ioc,) = told["results"]
    assert (ioc["type"], ioc["known"], ioc["label"]) == ("file", "ioc", "Dropper \x1b[2J")
    assert told["known"] == {"ioc": 1, "known good": 1, "unknown": 3}
    result = invoke(tree, "--known", good, "--known", bad)
    assert r"\n: ioc Dropper \x1b[2J sha256:" in result.stdout and "\x1b" not in result.stdout
    assert "Files: 1 ioc, 1 known good, 3 unknown" in result.stderr
    assert invoke(tree, "--known", bad, "--fail-on-match").exit_code == 1
    every = scanned(tree, "--known", good, "--files")
    assert {row["path"]: row["known"] for row in every["results"]} == {
        "/evil\x1b[2J\u202e\n": "unknown",
        "/not\udcffutf8": "unknown",
        "/good": "known good",
        "/empty": "unknown",
        "/sparse": "unknown",
    }


def test_older_hashes_are_made_of_what_is_read(tree: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    digest = hashlib.new("md5", MARK, usedforsecurity=False).hexdigest()
    bad.write_text(f"md5,name\n{digest},Dropper\n")
    told = scanned(tree, "--known", bad)
    assert [row["path"] for row in told["results"]] == ["/evil\x1b[2J\u202e\n"]
    (tree / ROOTFS).unlink()
    (missing,) = scanned(tree, "--known", bad, code=3)["missing"]
    assert "rootfs.tar.zst does not exist, though the manifest names it" in missing


def test_a_match_in_a_known_file_says_so(tree: Path, rules: Path, tmp_path: Path) -> None:
    good = tmp_path / "good"
    good.write_text(hashlib.sha256(b"M4RK").hexdigest())
    told = scanned(tree, rules, "--known", good)
    known = {row["path"]: row.get("known") for row in told["results"]}
    assert (known["/not\udcffutf8"], known["/sparse"]) == ("known good", None)
    assert (
        'Marker (evil, test): $a at 0x0 "M4RK" [known good]'
        in invoke(tree, rules, "--known", good).stdout
    )


@pytest.mark.parametrize("name", ["sha256", "sha1", "md5"])
@pytest.mark.parametrize("form", ["{0}\n", "{0}  /var/run/empty\n", "hash,name\n{0},empty\n"])
@pytest.mark.parametrize("with_rules", [True, False])
def test_an_empty_file_is_known_by_every_hash(
    tree: Path, rules: Path, tmp_path: Path, name: str, form: str, with_rules: bool
) -> None:
    listed = tmp_path / "list"
    listed.write_text(form.format(hashlib.new(name, b"").hexdigest()))
    told = scanned(tree, *([rules] if with_rules else []), "--known", f"good={listed}", "--files")
    known = {row["path"] for row in told["results"] if row.get("known") == "known good"}
    assert known == {"/empty"}
    assert told["known"]["known good"] == 1
