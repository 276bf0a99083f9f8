"""What differs between two bundles: ranked, bounded, and without the noise of two replicas."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from click.testing import CliRunner, Result

from forensics_core.api.order import ArtifactKind
from forensics_core.bundle.layout import container_file
from forensics_core.bundle.manifest import Container
from forensics_core.bundle.writer import ArtifactSpec, BundleWriter
from forensics_core.cli.main import forensics
from forensics_core.readers.compare.difference import (
    MAX_KEPT,
    Area,
    Difference,
    DifferenceKind,
    Differences,
)
from forensics_core.readers.compare.files import ComparedFile, compare_files, same_moment
from forensics_core.readers.compare.packages import APK, DPKG, packages_in
from forensics_core.readers.findings.finding import Rule
from forensics_core.storage.blocks import one
from forensics_core.storage.storage import open_destination
from tests.bundles import capture, edit_manifest, listing, replace_object
from tests.integration.collector.folder_container import capture_tree
from tests.unit.readers.compare.images import layer, saved
from tests.unit.readers.evidence import process, socket

ANY = "0.0.0.0"  # noqa: S104  # an address in evidence
DPKG_STATUS = """Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36-9
Description: the C library
 Version: of a longer text

Package: gone
Status: deinstall ok config-files
Version: 1

Package: {name}
Status: install ok installed
Version: {version}
"""


def tree(folder: Path, files: Mapping[str, str]) -> Path:
    """Write a bundle of a container `web` with these files."""
    source = folder.with_name(f"{folder.name}-tree")
    for name, content in files.items():
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        os.utime(path, (7, 7))
    anyio.run(capture_tree, source, str(folder))
    return folder


def documents(folder: Path, name: str = "web", **lists: Any) -> Path:
    """Write a bundle of documents: `processes`, `namespaces`, `mounts`."""
    anyio.run(_documents, folder, name, lists)
    return folder


FILES = {
    "processes": ("processes.json", ArtifactKind.PROCESSES),
    "namespaces": ("network.json", ArtifactKind.NETWORK),
    "mounts": ("mounts.json", ArtifactKind.VOLUMES),
}


async def _documents(folder: Path, name: str, lists: dict[str, Any]) -> None:
    async with open_destination(str(folder)) as destination:
        bundle = BundleWriter(destination)
        for each, (file, kind) in FILES.items():
            data = listing({each: lists.get(each, [])}, each)
            await bundle.add(ArtifactSpec(container_file(name, file), kind, name), one(data))
        row = Container(name=name, container_id=f"docker://{name}", image_id="sha256:1")
        await bundle.finish(capture().model_copy(update={"containers": (row,)}))


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(forensics, ["compare", *map(str, arguments)])


def compared(*arguments: str | Path, code: int = 0) -> dict[str, Any]:
    result = invoke(*arguments, "-o", "json")
    assert result.exit_code == code, result.stderr
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def rows(said: dict[str, Any], *areas: str) -> list[tuple[str, str, str]]:
    (container,) = said["containers"]
    return sorted(
        (row["kind"], row["subject"], row["detail"])
        for row in container["differences"]
        if row["area"] in areas
    )


def test_packages_differ_by_version(tmp_path: Path) -> None:
    status = "var/lib/dpkg/status"
    one_side = tree(tmp_path / "a", {status: DPKG_STATUS.format(name="nmap", version="7.93")})
    other = tree(
        tmp_path / "b",
        {
            status: DPKG_STATUS.format(name="curl", version="7.88"),
            "var/lib/dpkg/status.d/base": "Package: base\nVersion: 12\n",
            "var/lib/dpkg/status.d/base.md5sums": "Package: none\nVersion: 12\n",
        },
    )
    assert rows(compared(one_side, other), "package") == [
        ("missing", "base", "version 12"),
        ("missing", "curl", "version 7.88"),
        ("only", "nmap", "version 7.93"),
    ]
    image = saved(tmp_path / "image.tar", layer({status: _status("nmap", "7.94")}))
    assert rows(compared(one_side, "--baseline", image), "package") == [
        ("different", "nmap", "version 7.93, was 7.94")
    ]


def _status(name: str, version: str) -> bytes:
    return DPKG_STATUS.format(name=name, version=version).encode()


def test_lists_of_packages_are_parsed_whatever_is_in_them() -> None:
    assert dict(packages_in(DPKG, b"\xff\n\nPackage\n\nVersion: 1\n\nPackage: x")) == {"x": ""}
    apk = b"V:0\n\nC:Q1\nP:musl\nV:1.2.4\nA:x86_64\n\nP:busybox\nV:1.36\n"
    assert dict(packages_in(APK[0], apk)) == {"musl": "1.2.4", "busybox": "1.36"}


def test_a_database_that_is_not_read_is_told_of(tmp_path: Path) -> None:
    folder = tree(tmp_path / "a", {"var/lib/rpm/rpmdb.sqlite": "SQLite"})
    (missing,) = [line for line in compared(folder, folder)["missing"] if "RPM" in line]
    assert "is not read here" in missing


def test_a_list_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    source = tmp_path / "a-tree" / "etc"
    source.mkdir(parents=True)
    with (source / "passwd").open("wb") as file:
        file.truncate(65 * 1024 * 1024)
    folder = tree(tmp_path / "a", {})
    assert "too large to be a list" in compared(folder, folder)["missing"][0]


def test_what_two_replicas_never_have_alike_is_no_difference(tmp_path: Path) -> None:
    def replica(name: str, pid: int, ip: str, port: int, peer: str) -> Path:
        nginx = process(pid, "/usr/sbin/nginx", "nginx", environ=("HOSTNAME=" + name,))
        sockets = [
            socket("LISTEN", (ANY, 80), (ANY, 0), pid),
            socket("LISTEN", (ip, 81), (ANY, 0), pid),
            socket("ESTABLISHED", (ip, 80), (peer, port), pid),
            socket("ESTABLISHED", (ip, port), ("10.96.0.1", 443), pid),
            socket("TIME_WAIT", (ip, port), (peer, 443), pid),
        ]
        mounts = [
            {"path": "/data", "type": "ext4", "source": name, "options": "rw,relatime"},
            {"path": "/proc", "type": "proc", "source": "proc"},
            {"path": "/", "type": "overlay", "source": name},
        ]
        return documents(
            tmp_path / name,
            processes=[nginx],
            namespaces=[{"sockets": sockets}, {"host": True, "sockets": [{"state": "LISTEN"}]}],
            mounts=mounts,
        )

    one_side = replica("a", 7, "10.0.0.5", 40112, "10.0.9.9")
    other = replica("b", 1007, "10.0.1.6", 51234, "10.0.8.8")
    said = compared(one_side, other)
    assert said["containers"][0]["differences"] == []
    assert "has no index of the files" in said["missing"][0]


def test_what_runs_and_talks_on_one_side_only_is_told_and_ranked(tmp_path: Path) -> None:
    mounts = [{"path": "/data", "type": "ext4", "options": "ro,relatime"}]
    healthy = documents(
        tmp_path / "b",
        processes=[process(1, "/bin/init"), process(2, "/bin/health", environ=("PROBE=1",))],
        namespaces=[{"sockets": [socket("LISTEN", ("::", 80), ("::", 0), 1)]}],
        mounts=[*mounts, {"path": "/cache", "type": "tmpfs"}],
    )
    udp = socket("CLOSE", (ANY, 53), (ANY, 0), 3) | {"protocol": "udp"}
    suspect = documents(
        tmp_path / "a",
        processes=[
            process(1, "/bin/init", environ=("LD_PRELOAD=/tmp/x.so",)),
            process(3, "/memfd:x (deleted)", "kworker", environ=("API_TOKEN=secret",)),
            {"pid": 4, "exe": 7, "cmdline": "no list", "environ": None},
        ],
        namespaces=[
            {
                "sockets": [
                    socket("LISTEN", (ANY, 4444), (ANY, 0), 3),
                    socket("ESTABLISHED", ("10.0.0.5", 40112), ("8.8.8.8", 443), 3),
                    socket("SYN_SENT", ("10.0.0.5", 40113), ("10.1.1.1", 22), 3),
                    socket("LISTEN", ("no address", 9), ("", 0), 3),
                    udp,
                    {"state": "LISTEN", "local": 7},
                    "no row",
                ]
            },
            {"sockets": "no list"},
        ],
        mounts=[{"path": "/data", "type": "ext4", "options": "rw"}, {"path": "/x", "type": "nfs"}],
    )
    said = compared(suspect, healthy)
    (container,) = said["containers"]
    found = [
        (row["area"], row["kind"], row["subject"], row.get("rule"))
        for row in container["differences"]
    ]
    assert found == [
        ("environment variable", "only", "LD_PRELOAD", "preload-in-environment"),
        ("process", "only", "/memfd:x (deleted): kworker", "memfd-program-running"),
        ("connection", "only", "tcp to 8.8.8.8:443", "outgoing-connection"),
        ("listening socket", "only", "tcp 0.0.0.0:4444", "undeclared-listening-socket"),
        ("listening socket", "only", "udp 0.0.0.0:53", "undeclared-listening-socket"),
        ("environment variable", "only", "API_TOKEN", "secret-in-environment"),
        ("listening socket", "only", " :0", None),
        ("listening socket", "only", "tcp no address:9", None),
        ("connection", "only", "tcp to 10.1.1.1:22", None),
        ("mount", "only", "/x", None),
        ("mount", "different", "/data", None),
        ("process", "missing", "/bin/health: /bin/health", None),
        ("listening socket", "missing", "tcp :::80", None),
        ("environment variable", "missing", "PROBE", None),
        ("mount", "missing", "/cache", None),
    ]
    assert "secret" not in json.dumps([row["detail"] for row in container["differences"]])
    assert container["totals"]["mount"] == {"only": 1, "different": 1, "missing": 1}


def test_containers_are_matched_by_name_or_as_they_are_named(tmp_path: Path) -> None:
    web, api = documents(tmp_path / "a", "web"), documents(tmp_path / "b", "api")
    for arguments in ((web, api), (f"{web}:web", f"{api}:api")):
        (container,) = compared(*arguments)["containers"]
        assert (container["suspect"], container["healthy"]) == ("web", "api")
    assert invoke(f"{web}:web", api).exit_code == 2
    assert "no container 'db'" in invoke(f"{web}:db", api).stderr
    odd = documents(tmp_path / "odd:web", "web")
    assert compared(odd, web)["suspect"].endswith("odd%3Aweb/")


def test_bundles_without_a_container_in_common_are_not_compared(tmp_path: Path) -> None:
    web, several = documents(tmp_path / "a", "web"), documents(tmp_path / "b", "api")

    def add(document: dict[str, Any]) -> None:
        containers = document["predicate"]["containers"]
        containers.append({**containers[0], "name": "db"})

    edit_manifest(several, add)
    result = invoke(web, several)
    assert result.exit_code == 2 and "no container of the same name" in result.stderr
    image = saved(tmp_path / "image.tar", layer({"x": b""}))
    assert "has 2 containers" in invoke(several, "--baseline", image).stderr
    (container,) = compared(f"{web}:web", f"{several}:db")["containers"]
    assert container["healthy"] == "db"


def test_there_has_to_be_one_thing_to_compare_with(tmp_path: Path) -> None:
    web = documents(tmp_path / "a")
    (tmp_path / "image.tar").touch()
    for arguments in ((web,), (web, web, "--baseline", tmp_path / "image.tar")):
        result = invoke(*arguments)
        assert result.exit_code == 2 and "Name what to compare with" in result.stderr


def test_attributes_of_files_are_compared(tmp_path: Path) -> None:
    healthy = tree(tmp_path / "b", {"x": "1"})
    (tmp_path / "a-tree").mkdir()
    path = tmp_path / "a-tree" / "x"
    path.touch()
    os.setxattr(path, "user.origin", b"\xff")
    (row,) = rows(compared(tree(tmp_path / "a", {"x": "1"}), healthy), "file")
    assert row == ("different", "/x", "attributes ['user.origin'], were []")


def test_other_images_and_archives_that_were_cut_are_told_of(tmp_path: Path) -> None:
    one_side, other = tree(tmp_path / "a", {"x": "1"}), tree(tmp_path / "b", {"x": "1"})

    def change(document: dict[str, Any]) -> None:
        document["predicate"]["containers"][0]["imageId"] = "sha256:7"
        document["predicate"]["artifacts"][0]["flags"] = ["truncated"]

    edit_manifest(other, change)
    (container,) = compared(one_side, other)["containers"]
    assert container["notes"][0] == "The containers are of different images"
    assert "The healthy one's files are not all there" in container["notes"][1]
    assert "Note: The containers are of different images" in invoke(one_side, other).stderr


def test_what_was_tampered_with_is_named_and_the_rest_is_compared(tmp_path: Path) -> None:
    suspect = documents(tmp_path / "a", processes=[process(1, "/tmp/x")])
    healthy = documents(tmp_path / "b")
    (suspect / "containers/web/network.json").write_bytes(b"other")
    (suspect / "containers/web/mounts.json").unlink()
    said = compared(suspect, healthy, code=3)
    assert not said["genuine"] and "network.json is not what" in said["missing"][1]
    assert rows(said, "process") == [("only", "/tmp/x: /tmp/x", "process 1 x")]
    result = invoke(suspect, healthy)
    assert result.exit_code == 3 and "Note: " in result.stderr and "/tmp/x" in result.stdout


def test_mounts_of_wrong_types_are_passed_over(tmp_path: Path) -> None:
    suspect = documents(tmp_path / "a")
    replace_object(suspect, "containers/web/mounts.json", b'{"mounts": {"path": 7}}')
    edit_manifest(
        suspect,
        lambda document: [
            row.update(originalSha256=row["sha256"], originalSize=row["size"])
            for row in document["predicate"]["artifacts"]
        ],
    )
    assert rows(compared(suspect, documents(tmp_path / "b")), "mount") == []


def test_a_user_with_root_s_number_is_ranked_before_other_changes(tmp_path: Path) -> None:
    users = "root:x:0:0:root:/root:/bin/sh\n"
    suspect = tree(tmp_path / "a", {"etc/passwd": users + "toor::0:0::/:/bin/sh\n", "x": "y"})
    said = compared(suspect, tree(tmp_path / "b", {"etc/passwd": users, "x": "z"}))
    found = [(row["subject"], row.get("rule")) for row in said["containers"][0]["differences"]]
    assert found == [
        ("/etc/passwd", "uid-0-user"),
        ("/etc/passwd", "time-put-back"),
        ("/x", "time-put-back"),
    ]


class Side:
    """Files without a bundle."""

    def __init__(self, *files: ComparedFile) -> None:
        self._files = files
        self.changed: tuple[ComparedFile, ...] | None = None

    async def files(self) -> AsyncGenerator[Sequence[ComparedFile], None]:
        files, self._files = self._files, self.changed or self._files
        yield files


def file(path: str, kind: str = "file", mode: int = 0o644, **facts: Any) -> ComparedFile:
    made = ComparedFile(os.fsencode(path), kind, mode, 0, 0, 1, "aa", b"", "7.5")
    return made._replace(**facts)


async def contrasts(one: ComparedFile, other: ComparedFile) -> list[str]:
    found = Differences("web", "web")
    await compare_files(Side(one), Side(other), found)
    return [row.detail for row in found.found]


@pytest.mark.parametrize(
    ("facts", "detail"),
    [
        ({"sha256": "bb", "size": 2}, "content: 2 bytes, SHA-256 bb; was 1 bytes, aa"),
        ({"mode": 0o4755}, "mode 4755, was 0644"),
        ({"uid": 7}, "owner 7:0, was 0:0"),
        ({"device": (1, 3)}, "device (1, 3), was ()"),
        ({"xattrs": {"user.x": "eA=="}}, "attributes ['user.x'], were []"),
        ({"kind": "symlink", "target": b"/x", "size": 0},
         ("symlink, mode 0644, owner 0:0, to /x; "
         "was file, mode 0644, owner 0:0, 1 bytes, SHA-256 aa")),
    ],
)  # fmt: skip
async def test_what_differs_of_a_file_is_told(facts: dict[str, Any], detail: str) -> None:
    assert await contrasts(file("/a", **facts), file("/a")) == [detail]


async def test_another_target_of_a_link_is_told() -> None:
    link = file("/a", "symlink", target=b"/new")
    assert await contrasts(link, link._replace(target=b"/old")) == ["to /new, was /old"]


async def test_times_and_which_name_of_a_file_comes_first_are_no_difference() -> None:
    first = file("/a", mtime="9"), file("/b", "hardlink", target=b"/a")
    second = file("/b"), file("/a", "hardlink", target=b"/b")
    found = Differences("web", "web")
    await compare_files(Side(*first), Side(*second), found)
    assert not found.totals


async def test_deleted_files_are_alike_by_their_content_whatever_process_holds_them() -> None:
    folders = [file(path, "directory", sha256="") for path in ("/(deleted)", "/(deleted)/7")]
    ours = [*folders, file("/(deleted)/7/exe")]
    theirs = [file("/(deleted)/1007/exe"), file("/(deleted)/1007/fd/3", sha256="bb")]
    found = Differences("web", "web")
    await compare_files(Side(*ours), Side(*theirs), found)
    assert not found.totals
    await compare_files(Side(*theirs), Side(*ours), found)
    assert [(row.subject, row.kind) for row in found.found] == [
        ("/(deleted)/1007/fd/3", DifferenceKind.ONLY)
    ]


async def test_a_path_that_comes_twice_counts_once() -> None:
    found = Differences("web", "web")
    await compare_files(Side(file("/a"), file("/a", mode=0o755)), Side(), found)
    assert found.totals == {(Area.FILE, DifferenceKind.ONLY): 1}


async def test_beyond_a_bound_only_the_suspect_s_side_of_a_change_is_told() -> None:
    ours = [file(f"/{number}", sha256="bb") for number in range(3)]
    found = Differences("web", "web")
    theirs = Side(*[file(f"/{number}") for number in range(3)])
    await compare_files(Side(*ours), theirs, found, most_changed=1)
    assert sorted("was" in row.detail for row in found.found) == [False, False, True]


async def test_a_file_whose_other_side_is_gone_the_second_time_is_told_still() -> None:
    healthy = Side(file("/a", sha256="bb"))
    healthy.changed = (file("/b"),)
    found = Differences("web", "web")
    await compare_files(Side(file("/a")), healthy, found)
    assert {(row.subject, row.kind) for row in found.found} == {
        ("/a", DifferenceKind.DIFFERENT), ("/b", DifferenceKind.MISSING),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("one_time", "other", "same"),
    [
        ("7.5", "7.5", True), ("7.5", "7", True), ("7.5", "7.6", False), ("7", "8", False),
        ("", "7", False), ("7", "x", False),
    ],
)  # fmt: skip
def test_times_are_equal_as_far_as_both_are_known(one_time: str, other: str, same: bool) -> None:
    assert same_moment(one_time, other) is same


def test_many_differences_of_a_kind_are_counted_and_the_first_kept() -> None:
    found = Differences("web", "web")
    for number in range(MAX_KEPT + 10):
        found.add(Difference(Area.FILE, DifferenceKind.ONLY, f"/{number}"))
    found.add(Difference(Area.FILE, DifferenceKind.ONLY, "/x", "", Rule.CRON))
    assert len(found.found) == MAX_KEPT + 1 and found.totals.total() == MAX_KEPT + 11
    assert found.ranked()[0].subject == "/x"


def test_lines_for_people_end_somewhere(tmp_path: Path) -> None:
    suspect = tree(tmp_path / "a", {f"{number}": "x" for number in range(502)})
    result = invoke(suspect, tree(tmp_path / "b", {"0": "x"}))
    assert result.stdout.splitlines()[-1] == "501 differences, 1 not shown: -o json"
