"""Other people's tools read a bundle: every command of docs/readers.md, and dissect's loader."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
import zstandard

from lab.dissect import install_dissect
from lab.docker import DockerEngine
from lab.readers import ALL, ROOT, CommandBlock, blocks, missing, search_path
from lab.visited import PORT, SECRET, VisitedBundle, captured_visit
from tests.bundles import edit_manifest, replace_object

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="a capture of memory needs root"),
    pytest.mark.timeout(600),
]
PAGE = ROOT / "docs/readers.md"
PLUGIN = str(ROOT / "integrations/dissect")
BLOCKS = blocks(PAGE)
NOTHING = b"Path doesn't exist"
RULE = f'rule visit {{ strings: $secret = "{SECRET}" condition: $secret }}\n'


@pytest.fixture(scope="module")
def case(docker: DockerEngine, tmp_path_factory: pytest.TempPathFactory) -> VisitedBundle:
    """A sealed capture of a container that somebody was in."""
    return anyio.run(captured_visit, docker, tmp_path_factory.mktemp("visit"))


@pytest.fixture(scope="module")
def dissect() -> None:
    install_dissect()


@pytest.fixture
def desk(case: VisitedBundle, tmp_path: Path) -> Path:
    """The folder that the page's commands are run in."""
    shutil.copytree(case.bundle.parent, tmp_path / "cases")
    shutil.copy(case.public_key, tmp_path)
    (tmp_path / "integrations").symlink_to(ROOT / "integrations")
    (tmp_path / "rules.yar").write_text(RULE)
    (tmp_path / "signatures").mkdir()
    (tmp_path / "signatures/visit.ndb").write_text(f"Visit:0:*:{SECRET.encode().hex()}\n")
    return tmp_path


def shell(script: str, folder: Path, *, code: int = 0) -> str:
    """Run a script as a user would, and return its output."""
    command = ["bash", "-euo", "pipefail", "-c", script]
    env = {**os.environ, "PATH": search_path(), "HOME": str(folder), "NO_COLOR": "1"}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == code, f"{script}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def of_container(script: str, case: VisitedBundle) -> str:
    """Return the page's script with the container's own name, which is another one each time."""
    name = case.container.name
    return re.sub(r"-c web\b", f"-c {name}", script.replace("containers/web", f"containers/{name}"))


def named(block: CommandBlock) -> str:
    return f"{BLOCKS.index(block)}-{block.tool}"


def in_file(name: str, *words: str) -> Callable[[Path, str], bool]:
    return lambda desk, _: all(word in (desk / name).read_text() for word in words)


def said(*words: str) -> Callable[[Path, str], bool]:
    return lambda _, output: all(word in output for word in words)


EXPECTED: dict[str, Callable[[Path, str], bool]] = {
    "forensics verify": said("Seal: valid", "Verified: "),
    "cosign verify": said("Verified OK"),
    "openssl dgst": said("Verified OK"),
    "notCaptured": said("state of the kernel and the node: OutOfScope"),
    "rootfs.index": lambda _, output: output == "",
    "tar -tvf": in_file("files.txt", "etc/crontab", "root/.ssh/authorized_keys"),
    "cat tree/etc/hostname": said("shop-1"),
    "users,services": said("beacon.service", "/tmp/.x/beacon", "ssh-ed25519", "curl http://evil"),
    "processes,cmdline": said("STOLEN", SECRET, "sleep 474747", str(PORT)),
    "-f netstat": said(f":{PORT}", "/nc"),
    "(deleted)": lambda _, output: output.strip().isdigit(),
    "web.tar": said("root", "shop-1", "containerd-shim"),
    "--uac": said("root", "shop-1", "containerd-shim"),
    "mactime": in_file("case.csv", "/root/.ssh/authorized_keys"),
    "log2timeline": in_file("plaso.jsonl", "/root/.ssh/authorized_keys"),
    "trivy": in_file("packages.json", "openssl", "3.0.9-1"),
    "yara -N": in_file("hits.txt", "visit tree/etc/os-note"),
    "memory-hits": in_file("memory-hits.txt", "visit"),
    "clamscan": in_file("clamav.txt", "Visit.UNOFFICIAL FOUND"),
    "gdb": in_file("threads.txt", "LWP", "AT_PHDR"),
}
"""What a block's result has to have, by a word of it."""


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.run], ids=named)
def test_a_command_of_the_page_does_what_it_says(
    block: CommandBlock, case: VisitedBundle, desk: Path, dissect: None
) -> None:
    reason = missing(block.tool)
    if reason and ALL not in os.environ:
        pytest.skip(reason)
    assert not reason
    before = set((desk / "cases").rglob("*"))
    output = shell(of_container(block.script, case), desk)
    expected = [check for word, check in EXPECTED.items() if word in block.script]
    assert all(check(desk, output) for check in expected), output
    assert expected or block.tool == "sha256sum", "nobody knows what this should do"
    assert set((desk / "cases").rglob("*")) == before, "the evidence is as it was"


def test_the_page_has_a_command_or_a_reason_for_each_tool() -> None:
    text = PAGE.read_text()
    marked = [line for line in text.splitlines() if line.startswith("<!-- ")]
    assert len(marked) == len(BLOCKS)
    indented = re.findall(r"(?m)^(?:    .*\n)+", text)
    assert len("".join(indented).splitlines()) == sum(len(b.script.splitlines()) for b in BLOCKS)
    told = text.rpartition("## What the tests do not run")[2]
    assert all(f"`{block.tool}`" in told for block in BLOCKS if not block.run)
    tools = {block.tool for block in BLOCKS}
    assert {"target-query", "log2timeline", "mactime", "cosign", "openssl", "trivy"} <= tools
    assert {"yara", "clamscan", "gdb", "ratarmount", "jq", "sha256sum", "tar"} <= tools


def test_clamav_calls_a_compressed_archive_clean(case: VisitedBundle, desk: Path) -> None:
    if reason := missing("clamscan"):
        pytest.skip(reason)
    packed = f"cases/42/containers/{case.container.name}/rootfs.tar.zst"
    assert f"{packed}: OK" in shell(f"clamscan -d signatures --no-summary {packed}", desk).replace(
        f"{desk}/", ""
    )


def test_timesketchs_client_accepts_every_line(desk: Path) -> None:
    if reason := missing("timesketch_importer"):
        pytest.skip(reason)
    (desk / "check.py").write_text(
        "import json, sys, pandas\n"
        "from timesketch_import_client import importer\n"
        "class Local(importer.ImportStreamer):\n"
        "    def _ready(self): pass\n"
        "    def _upload_data_buffer(self, end_stream, data_lines=None, retry_count=0):\n"
        "        print(len(data_lines if data_lines is not None else self._data_lines))\n"
        "        for row in self._data_lines:\n"
        "            assert {'message', 'datetime', 'timestamp_desc'} <= row.keys(), row\n"
        "    def close(self): pass\n"
        "streamer = Local()\n"
        "streamer.set_entry_threshold(10**9)\n"
        "streamer.add_file('case.jsonl')\n"
        "streamer.flush()\n"
    )
    shell("forensics timeline cases/42 --format timesketch > case.jsonl", desk)
    python = shutil.which("timesketch_importer", path=search_path())
    assert python
    output = shell(f"{Path(python).parent}/python check.py", desk)
    lines = len((desk / "case.jsonl").read_text().splitlines())
    assert str(lines) in output.split()


def query(folder: Path, function: str, *, quiet: bool = True) -> subprocess.CompletedProcess[str]:
    command = [shutil.which("target-query", path=search_path()) or "", "--no-cache", "--json"]
    options = [*(["-q"] if quiet else []), f"--plugin-path={PLUGIN}", "-f", function, str(folder)]
    return subprocess.run([*command, *options], capture_output=True, text=True, check=False)


def records(folder: Path, function: str) -> list[dict[str, Any]]:
    done = query(folder, function)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return [row for row in rows if row.get("_type") == "record"]


def content(folder: Path, path: str) -> subprocess.CompletedProcess[bytes]:
    command = [shutil.which("target-fs", path=search_path()) or "", f"--plugin-path={PLUGIN}"]
    return subprocess.run([*command, str(folder), "cat", path], capture_output=True, check=False)


def test_dissect_reads_the_tree_mounts_proc_and_deleted_files(
    case: VisitedBundle, dissect: None
) -> None:
    assert [row["name"] for row in records(case.container, "users")] == ["root", "app"]
    assert {row["hostname"] for row in records(case.container, "users")} == {"shop-1"}
    commands = {row["pid"]: row["cmdline"] for row in records(case.container, "cmdline")}
    (held,) = [pid for pid, command in commands.items() if command == "/tmp/.x/sleep 474747"]
    program = content(case.container, f"/(deleted)/{held}/exe").stdout
    assert program == (case.bundle.parents[1] / "rootfs/bin/busybox").read_bytes()
    assert content(case.container, "/dev/shm/note").stdout == b"note of the visitor\n"
    holes = content(case.container, "/srv/holes").stdout
    assert len(holes) == 8 * 1024 * 1024 + 3 and holes.strip(b"\0") == b"end"
    assert content(case.container, "/srv/everything/etc/os-note").stdout == SECRET.encode()
    assert content(case.container, f"/proc/{held}/cmdline").stdout.startswith(b"/tmp/.x/sleep")
    (row,) = [r for r in records(case.container, "walkfs") if r["path"] == "/root/.bash_history"]
    assert row["size"] == 30 and row["btime"] > "2026"


def test_dissect_opens_all_containers_of_a_bundle(case: VisitedBundle, dissect: None) -> None:
    assert {row["hostname"] for row in records(case.bundle, "users")} == {"shop-1"}


def test_dissect_is_given_nothing_that_is_not_as_the_manifest_says(
    case: VisitedBundle, desk: Path, dissect: None
) -> None:
    """The index of one archive, and a file in another, where the seek table still holds."""
    web = desk / "cases/42/containers" / case.container.name
    (web / "mounts.index.jsonl.zst").write_bytes(zstandard.compress(b'{"path":"/etc/evil"}\n'))
    frames = (web / "rootfs.tar.zst").read_bytes()
    plain = zstandard.ZstdDecompressor().stream_reader(frames, read_across_frames=True).read()
    forged = plain.replace(SECRET.encode(), b"X" * len(SECRET))
    write_frames(web / "rootfs.tar.zst", forged)
    done = query(web, "users", quiet=False)
    assert "mounts.index.jsonl.zst is not what the manifest says" in done.stderr
    assert done.returncode == 0 and '"name": "app"' in done.stdout
    assert NOTHING in content(web, "/etc/evil").stdout
    found = content(web, "/etc/os-note")
    assert found.stdout == b"" and b"it is not what the index says" in found.stderr
    assert content(web, "/etc/crontab").stdout.startswith(b"*/5")


def write_frames(path: Path, data: bytes) -> None:
    size = 4 * 1024 * 1024
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    packed = [zstandard.compress(piece) for piece in pieces]
    table = b"".join(
        len(one).to_bytes(4, "little") + len(piece).to_bytes(4, "little")
        for one, piece in zip(packed, pieces, strict=True)
    )
    body = table + len(pieces).to_bytes(4, "little") + b"\0" + 0x8F92EAB1.to_bytes(4, "little")
    head = 0x184D2A5E.to_bytes(4, "little") + len(body).to_bytes(4, "little")
    path.write_bytes(b"".join(packed) + head + body)


HOSTILE = (
    {"path": "/../../etc/up", "type": "file"},
    {"path": "/etc", "type": "symlink", "target": "/proc"},
    {"path": "/etc/passwd/below", "type": "file"},
    {"path": "/bad", "type": "file", "mode": "worse"},
    {"path": "/endless", "type": "hardlink", "target": "/endless"},
    {"path": "/round", "type": "symlink", "target": "/round"},
    {"path": "/far", "type": "file", "size": 1 << 60, "data": 1 << 61, "mode": "0644"},
    {"path": "/raw", "type": "file", "size": 1, "data": 0, "mode": "0644", "sha256": "0" * 64},
    {"path": {"text": "x", "base64": "//4="}, "type": "file", "mode": "0644"},
    {"path": ["no", "name"], "type": "file"},
    {"path": {"text": "no bytes"}, "type": "file"},
    {"path": "/time", "type": "file", "mode": "0644", "mtime": "1e999999999"},
    {"path": "/size", "type": "file", "mode": "0644", "size": "much"},
    {"path": "/map", "type": "file", "size": 9, "mode": "0644", "sparse": True, "stored": 512},
)


def test_dissect_survives_an_index_of_a_hostile_node(
    case: VisitedBundle, desk: Path, dissect: None
) -> None:
    bundle = desk / "cases/42"
    name = f"containers/{case.container.name}/mounts.index.jsonl.zst"
    data = "".join(json.dumps(row) + "\n" for row in HOSTILE).encode()
    replace_object(bundle, name, zstandard.compress(data))
    web = bundle / "containers" / case.container.name
    done = query(web, "users", quiet=False)
    assert "Left out of" in done.stderr and "leads out of the container" in done.stderr
    assert "Traceback" not in done.stderr
    for path, why in (("/raw", "the index says"), ("/far", "ends before it"), ("/map", "invalid")):
        found = content(web, path)
        assert found.stdout == b"" and why in found.stderr.decode()
    assert content(web, "/etc/crontab").stdout


def test_dissect_hides_what_lies_beneath_a_mount_that_was_not_captured(
    case: VisitedBundle, desk: Path, dissect: None
) -> None:
    bundle = desk / "cases/42"
    name = f"containers/{case.container.name}/mounts.json"
    rows = json.loads((bundle / name).read_bytes())
    rows["mounts"].append({"path": "/srv", "type": "nfs", "state": "missing", "reason": "Hung"})
    replace_object(bundle, name, json.dumps(rows).encode())
    web = bundle / "containers" / case.container.name
    assert NOTHING in content(web, "/srv/holes").stdout
    assert "Mounted on /srv, and not captured: Hung" in query(web, "users", quiet=False).stderr


def test_a_bundle_of_another_kind_is_not_ours(
    case: VisitedBundle, desk: Path, dissect: None
) -> None:
    edit_manifest(desk / "cases/42", lambda document: document.update(predicateType="other"))
    done = query(desk / "cases/42/containers" / case.container.name, "users", quiet=False)
    assert "it is of another kind" in done.stderr and '"name": "app"' not in done.stdout


def test_uac_has_memory_bodyfile_and_deleted_files(case: VisitedBundle, tmp_path: Path) -> None:
    shell(f"forensics export {case.bundle} --uac {tmp_path}/uac", tmp_path)
    (archive,) = (tmp_path / "uac").glob("uac-*-linux-*.tar")
    with tarfile.open(archive) as tar:
        names = {member.name: member for member in tar}
        file = tar.extractfile(names["bodyfile/bodyfile.txt"])
        assert file and b"/root/.ssh/authorized_keys|" in file.read()
        held = [name for name in names if re.fullmatch(r"live_response/process/proc/\d+/exe", name)]
        assert len(held) == 1 and names[held[0]].mode == 0o4755
        assert names["[root]/srv/holes"].size == 8 * 1024 * 1024 + 3
    assert "live_response/process/processes.json" in names and "[root]/dev/shm/note" in names
    assert any(name.startswith("memory_dump/") and name.endswith(".core") for name in names)
    log = archive.with_suffix(".log").read_text()
    assert f"SHA-256 of {archive.name}" in log and "Not captured: state of the kernel" in log
