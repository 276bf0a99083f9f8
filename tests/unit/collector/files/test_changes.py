"""The overlay's rules, layer by layer: what each makes of a path."""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from collector.files.changes import ChangeSet, OpenLayers
from collector.files.hashing import HashingBudget, HashingSteps
from collector.files.lower_layers import LowerDirectory
from collector.files.safe_open import FOLDER, PLACE, opened
from collector.files.walk_queue import WalkQueue

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may make an overlay's marks")

OLD = 1_600_000_000
MARKS = "trusted.overlay."
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")
"""`cap_net_raw+ep`"""


class Stack:
    """Layers in folders: `upper`, and `lower_layers` with the topmost first."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.upper, self.lower, self.base = (folder / name for name in ("upper", "lower", "base"))
        for layer in (self.upper, self.lower, self.base):
            layer.mkdir()
        self._stack = stack

    def open(self, marks: bytes = MARKS.encode()) -> OpenLayers:
        upper, *lower_layers = (
            self._stack.enter_context(opened(os.open(layer, FOLDER)))
            for layer in (self.upper, self.lower, self.base)
        )
        return OpenLayers(upper, tuple(lower_layers), marks)

    def rows(self, **limits: Any) -> dict[str, dict[str, Any]]:
        changes = ChangeSet(self.open(), **limits)
        found = [row for row in changes.rows() if row]
        rows = {row["path"]: row for row in found}
        assert len(rows) == len(found), "a path has two rows"
        return rows

    def kinds(self) -> dict[str, str]:
        return {path: row["kind"] for path, row in self.rows().items()}


@pytest.fixture
def layers(tmp_path: Path) -> Iterator[Stack]:
    with ExitStack() as stack:
        yield Stack(tmp_path, stack)


def put(path: Path, text: str = "x", mtime: int = OLD) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (mtime, mtime))
    return path


def mark(path: Path, name: str, value: bytes = b"y") -> None:
    os.setxattr(path, MARKS + name, value)


def whiteout(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mknod(path, stat.S_IFCHR, os.makedev(0, 0))


def test_added_changed_deleted(layers: Stack) -> None:
    put(layers.base / "etc/old")
    put(layers.lower / "etc/conf")
    put(layers.upper / "etc/conf", "longer")
    put(layers.upper / "etc/new")
    whiteout(layers.upper / "etc/old")
    assert layers.kinds() == {"/etc": "C", "/etc/conf": "C", "/etc/new": "A", "/etc/old": "D"}


def test_a_row_has_everything(layers: Stack) -> None:
    put(layers.upper / "tool", "#!")
    (layers.upper / "tool").chmod(0o4755)
    os.chown(layers.upper / "tool", 7, 8)
    (layers.upper / "tool").chmod(0o4755)
    row = layers.rows()["/tool"]
    assert row.pop("ctime") > "2024"
    assert row == {
        "kind": "A",
        "path": "/tool",
        "type": "file",
        "mode": "4755",
        "uid": 7,
        "gid": 8,
        "size": 2,
        "mtime": "2020-09-13T12:26:40.000000000Z",
        "nlink": 1,
        "notes": ["setuid", "newExecutable"],
        "program": "script",
        "sha256": hashlib.sha256(b"#!").hexdigest(),
    }


def test_a_whiteout_of_what_never_was_is_nothing(layers: Stack) -> None:
    whiteout(layers.upper / "ghost")
    whiteout(layers.lower / "hidden")
    put(layers.base / "hidden")
    whiteout(layers.upper / "hidden")
    assert layers.kinds() == {}


def test_a_whiteout_by_attribute(layers: Stack) -> None:
    put(layers.lower / "etc/old")
    put(layers.upper / "etc/old", "")
    mark(layers.upper / "etc/old", "whiteout", b"")
    mark(layers.upper / "etc", "opaque", b"x")
    assert layers.kinds() == {"/etc": "C", "/etc/old": "D"}


def test_marks_that_the_container_made_mean_nothing(layers: Stack) -> None:
    put(layers.lower / "etc/old")
    put(layers.upper / "etc/new", "")
    os.setxattr(layers.upper / "etc", "user.overlay.opaque", b"y")
    os.setxattr(layers.upper / "etc/new", "user.overlay.whiteout", b"")
    assert layers.kinds() == {"/etc": "C", "/etc/new": "A"}
    rootless = [row for row in ChangeSet(layers.open(b"user.overlay.")).rows() if row]
    assert {row["path"]: row["kind"] for row in rootless} == {"/etc": "C", "/etc/old": "D"}


def test_a_replaced_directory_lists_what_is_lost_at_every_depth(layers: Stack) -> None:
    put(layers.base / "app/deep/lost")
    put(layers.base / "app/deep/kept")
    put(layers.lower / "app/also-lost")
    whiteout(layers.lower / "app/gone-before")
    put(layers.base / "app/gone-before")
    put(layers.upper / "app/deep/kept", "other")
    mark(layers.upper / "app", "opaque")
    assert layers.kinds() == {
        "/app": "C",
        "/app/deep": "C",
        "/app/deep/kept": "C",
        "/app/deep/lost": "D",
        "/app/also-lost": "D",
    }
    assert "opaque" in layers.rows()["/app"]["notes"]


def test_an_opaque_directory_of_the_image_hides_too(layers: Stack) -> None:
    put(layers.base / "app/below")
    (layers.lower / "app").mkdir()
    mark(layers.lower / "app", "opaque")
    put(layers.upper / "app/below")
    assert layers.kinds() == {"/app": "C", "/app/below": "A"}


def test_types_that_changed(layers: Stack) -> None:
    put(layers.lower / "was-dir/inside")
    put(layers.lower / "was-file")
    put(layers.upper / "was-dir")
    put(layers.upper / "was-file/inside")
    rows = layers.rows()
    assert {path: row["kind"] for path, row in rows.items()} == {
        "/was-dir": "C",
        "/was-dir/inside": "D",
        "/was-file": "C",
        "/was-file/inside": "A",
    }
    assert (rows["/was-dir"]["was"], rows["/was-file"]["was"]) == ("directory", "file")


def test_copied_up_for_nothing_and_edited_in_secret(layers: Stack) -> None:
    for name, text in (("twin", "same"), ("secret", "good"), ("touched", "same")):
        put(layers.lower / name, text)
    put(layers.upper / "twin", "same")
    put(layers.upper / "secret", "evil")
    put(layers.upper / "touched", "same", OLD + 1)
    (layers.lower / "link").symlink_to("a")
    (layers.upper / "link").symlink_to("b")
    os.utime(layers.lower / "link", (OLD, OLD), follow_symlinks=False)
    os.utime(layers.upper / "link", (OLD, OLD), follow_symlinks=False)
    notes = {path: row["notes"] for path, row in layers.rows().items()}
    assert notes == {
        "/twin": ["identical"],
        "/secret": ["mtimeRestored"],
        "/touched": [],
        "/link": ["mtimeRestored"],
    }
    assert layers.rows()["/link"]["target"] == "b"


def test_content_that_stayed_in_the_image(layers: Stack) -> None:
    put(layers.base / "big", "content")
    put(layers.upper / "big", "")
    os.truncate(layers.upper / "big", 7)
    os.utime(layers.upper / "big", (OLD, OLD))
    (layers.upper / "big").chmod(0o4755)
    mark(layers.upper / "big", "metacopy", b"")
    row = layers.rows()["/big"]
    assert row["sha256"] == hashlib.sha256(b"content").hexdigest()
    assert row["notes"] == ["metacopy", "setuid"] and row["mode"] == "4755"


def program(path: Path, text: str = "#!/bin/sh", mode: int = 0o755, mtime: int = OLD) -> Path:
    put(path, text, mtime).chmod(mode)
    return path


def test_executable_files_that_the_image_does_not_have_so(layers: Stack) -> None:
    program(layers.upper / "new")
    program(layers.upper / "elf", "\x7fELF...")
    program(layers.upper / "data", "plain")
    put(layers.upper / "script", "#!/bin/sh")
    put(layers.lower / "enabled", "#!/bin/sh")
    program(layers.upper / "enabled")
    program(layers.lower / "edited")
    program(layers.upper / "edited", "#!/bin/sh -x", mtime=OLD + 1)
    program(layers.lower / "forged")
    program(layers.upper / "forged", "#!/bin/ev")
    program(layers.lower / "owned")
    os.chown(program(layers.upper / "owned"), 7, 7)
    rows = layers.rows()
    marked = {path: (row.get("program"), row["notes"]) for path, row in rows.items()}
    assert marked == {
        "/new": ("script", ["newExecutable"]),
        "/elf": ("ELF", ["newExecutable"]),
        "/data": (None, []),
        "/script": (None, []),
        "/enabled": ("script", ["newExecutable"]),
        "/edited": ("script", ["executableChanged"]),
        "/forged": ("script", ["mtimeRestored", "executableChanged"]),
        "/owned": ("script", []),
    }


def test_executable_files_whose_content_is_in_the_image(layers: Stack) -> None:
    program(layers.lower / "enabled", mode=0o644)
    program(layers.upper / "enabled")
    mark(layers.upper / "enabled", "metacopy", b"")
    program(layers.lower / "owned")
    program(layers.upper / "owned", mtime=OLD + 1)
    mark(layers.upper / "owned", "metacopy", b"")
    program(layers.upper / "orphan")
    mark(layers.upper / "orphan", "metacopy", b"")
    notes = {path: row["notes"] for path, row in layers.rows().items()}
    assert notes == {
        "/enabled": ["metacopy", "newExecutable"],
        "/owned": ["metacopy"],
        "/orphan": ["metacopy", "notHashed"],
    }


def test_rights_that_the_image_does_not_give(layers: Stack) -> None:
    for name in ("both", "more", "owner", "linked"):
        put(layers.lower / name).chmod(0o4644)
        put(layers.upper / name).chmod(0o4644)
    (layers.upper / "more").chmod(0o6644)
    os.chown(layers.upper / "owner", 7, 7)
    (layers.upper / "owner").chmod(0o4644)
    (layers.lower / "linked").unlink()
    (layers.lower / "linked").symlink_to("both")
    put(layers.upper / "new").chmod(0o2644)
    notes = {path: row["notes"] for path, row in layers.rows().items()}
    assert notes == {
        "/both": ["identical"],
        "/more": ["setgid"],
        "/owner": ["setuid"],
        "/linked": ["typeChanged", "setuid"],
        "/new": ["setgid"],
    }


def test_capabilities_that_the_image_does_not_give(layers: Stack) -> None:
    value = bytes.fromhex("0100000200200000" + "00" * 12)
    for folder, names in ((layers.upper, ("new", "kept")), (layers.lower, ("kept", "gone"))):
        for name in names:
            os.setxattr(put(folder / name), "security.capability", value)
    put(layers.upper / "gone")
    rows = layers.rows()
    marked = {path: (row.get("capabilities"), row["notes"]) for path, row in rows.items()}
    assert marked == {
        "/new": ("cap_net_raw=ep", ["capabilitiesAdded"]),
        "/kept": ("cap_net_raw=ep", ["identical"]),
        "/gone": (None, ["capabilitiesRemoved", "xattrsChanged"]),
    }


def test_content_that_stayed_in_the_image_under_another_name(layers: Stack) -> None:
    put(layers.base / "srv/old", "content")
    put(layers.upper / "srv/new", "")
    mark(layers.upper / "srv/new", "metacopy", b"")
    mark(layers.upper / "srv/new", "redirect", b"old")
    whiteout(layers.upper / "srv/old")
    put(layers.upper / "srv/orphan", "")
    mark(layers.upper / "srv/orphan", "metacopy", b"")
    rows = layers.rows()
    assert rows["/srv/new"]["sha256"] == hashlib.sha256(b"content").hexdigest()
    assert rows["/srv/old"]["kind"] == "D"
    assert rows["/srv/orphan"]["notes"] == ["metacopy", "notHashed"]


def test_content_that_an_image_s_layer_does_not_have_itself(layers: Stack) -> None:
    for folder in (layers.lower, layers.upper):
        put(folder / "tool", "same")
    mark(layers.lower / "tool", "metacopy", b"")
    row = layers.rows()["/tool"]
    assert row["notes"] == [] and "sha256" in row


@pytest.mark.parametrize("redirect", [b"/a/dir", b"dir"])
def test_a_renamed_directory(layers: Stack, redirect: bytes) -> None:
    put(layers.lower / "a/dir/member")
    put(layers.lower / "a/dir/lost")
    put(layers.upper / "a/moved/member", "changed")
    mark(layers.upper / "a/moved", "redirect", redirect)
    whiteout(layers.upper / "a/moved/lost")
    whiteout(layers.upper / "a/dir")
    rows = layers.rows()
    assert rows["/a/moved"]["kind"] == "A" and rows["/a/moved"]["from"] == "/a/dir"
    assert rows["/a/moved/member"]["notes"] == ["moved"]
    assert rows["/a/dir"]["kind"] == "D" and rows["/a/moved/lost"]["kind"] == "D"


def test_a_directory_renamed_from_nowhere(layers: Stack) -> None:
    put(layers.upper / "moved/member")
    mark(layers.upper / "moved", "redirect", b"/no/such/place")
    assert layers.kinds() == {"/moved": "A", "/moved/member": "A"}


def test_nothing_is_opened_that_could_block_or_act(layers: Stack) -> None:
    os.mkfifo(layers.upper / "pipe")
    os.mknod(layers.upper / "disk", stat.S_IFBLK | 0o600, os.makedev(7, 99))
    os.mknod(layers.upper / "zero", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    os.mknod(layers.upper / "listener", stat.S_IFSOCK | 0o600)
    rows = layers.rows()
    assert {row["type"] for row in rows.values()} == {"fifo", "block", "character", "socket"}
    assert rows["/disk"]["device"] == "7:99" and "sha256" not in rows["/pipe"]


def test_names_of_any_bytes_and_times_of_no_calendar(layers: Stack) -> None:
    (layers.upper / os.fsdecode(b"odd\xff\n")).write_text("x")
    (layers.upper / "back\\xff").write_text("x")
    os.utime(layers.upper / "back\\xff", (-(2**31), -(2**31)))
    rows = layers.rows()
    assert rows["/odd\\xff\n"]["raw"] == "L29kZP8K"
    assert "raw" not in rows["/back\\xff"]
    assert rows["/back\\xff"]["mtime"].startswith("1901-12-13T20:45:52")


def test_links_are_described_and_not_followed(layers: Stack) -> None:
    (layers.upper / "escape").symlink_to("/etc")
    (layers.upper / "passwd").symlink_to("/etc/passwd")
    rows = layers.rows()
    assert rows.keys() == {"/escape", "/passwd"}
    assert rows["/passwd"]["target"] == "/etc/passwd" and "sha256" not in rows["/passwd"]


def test_a_directory_that_became_a_link_under_our_hands(layers: Stack) -> None:
    put(layers.upper / "a/inside")
    put(layers.upper / "b/inside")
    changes = ChangeSet(layers.open())
    seen = []
    for row in changes.rows():
        if row:
            seen.append(row["path"])
        if row and row["path"] == "/b":
            for name in ("a", "b"):
                shutil.rmtree(layers.upper / name)
            (layers.upper / "a").symlink_to("/etc")
    assert seen == ["/a", "/b"] and changes.changed.first == ["/a", "/b"]


def test_very_deep_directories(layers: Stack) -> None:
    folder, name = os.open(layers.upper, FOLDER), "d" * 200
    for _ in range(60):
        os.mkdir(name, dir_fd=folder)
        inner = os.open(name, FOLDER, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(folder)
    assert max(map(len, layers.rows())) == 60 * 201
    shutil.rmtree(layers.upper)
    layers.upper.mkdir()


def test_hundreds_of_layers(tmp_path: Path) -> None:
    for number in range(300):
        put(tmp_path / str(number) / "shared" / str(number))
    put(tmp_path / "upper/shared/7", "edited")
    put(tmp_path / "upper/shared/new")
    with ExitStack() as stack:
        folders = [tmp_path / "upper", *(tmp_path / str(n) for n in range(300))]
        upper, *lower_layers = (stack.enter_context(opened(os.open(f, FOLDER))) for f in folders)
        layers = OpenLayers(upper, tuple(lower_layers), MARKS.encode())
        rows = {row["path"]: row["kind"] for row in ChangeSet(layers).rows() if row}
    assert rows == {"/shared": "C", "/shared/7": "C", "/shared/new": "A"}


def test_lists_and_hashes_have_an_end(layers: Stack) -> None:
    for number in range(10):
        put(layers.upper / f"{number}", "0123456789")
    changes = ChangeSet(layers.open(), max_rows=4, hashing=HashingBudget(max_file=5))
    rows = [row for row in changes.rows() if row]
    assert len(rows) == 4 and changes.cut == "TooLarge"
    assert all(row["notes"] == ["notHashed"] and "sha256" not in row for row in rows)


def test_a_directory_whose_names_make_no_rows_and_are_too_many_is_named(layers: Stack) -> None:
    """Whiteouts of what never was fill a directory, and what lies behind them is not looked at."""
    for number in range(6):
        whiteout(layers.upper / f"full/{number}")
    changes = ChangeSet(layers.open(), max_rows=4)
    assert [row["path"] for row in changes.rows() if row] == ["/full"]
    assert not changes.cut and str(changes.unlisted) == "/full"


def test_a_directory_of_the_image_with_more_names_than_are_asked_for(layers: Stack) -> None:
    for number in range(3):
        put(layers.lower / f"{number}")
        put(layers.base / f"{number}")
    opened_layers = layers.open()
    pieces = tuple((root, b"") for root in opened_layers.lower_layers)
    for limit, cut in ((2, True), (3, False)):
        with LowerDirectory(pieces, opened_layers.marks) as folder:
            assert len([*folder.members(limit)]) == limit and folder.cut == cut


def test_a_lost_directory_has_an_end_too(layers: Stack) -> None:
    for number in range(10):
        put(layers.lower / f"app/{number}")
    (layers.upper / "app").mkdir()
    mark(layers.upper / "app", "opaque")
    assert len(layers.rows(max_rows=5)) == 5


def test_long_files_let_others_have_a_turn(layers: Stack) -> None:
    with (layers.upper / "long").open("wb") as file:
        file.truncate(200 * 1024 * 1024)
    lists = [*ChangeSet(layers.open()).batches()]
    assert lists.count([]) >= 3 and sum(map(len, lists)) == 1


def test_many_rows_come_in_parts(layers: Stack) -> None:
    for number in range(200):
        put(layers.upper / f"{number:03}")
    lists = [*ChangeSet(layers.open()).batches()]
    paths = [json.loads(row)["path"] for each in lists for row in each]
    assert paths == [f"/{number:03}" for number in range(200)]
    assert max(map(len, lists)) < 100


def test_a_list_of_very_long_paths_has_an_end(layers: Stack) -> None:
    deep = layers.upper.joinpath(*(f"{'d' * 250}" for _ in range(12)))
    deep.mkdir(parents=True)
    for number in range(500):
        (deep / f"{number}").mkdir()
    changes = ChangeSet(layers.open(), max_bytes=200_000)
    assert sum(len(row) for each in changes.batches() for row in each) < 2 * 200_000
    assert changes.cut == "TooLarge"


def test_directories_that_are_too_deep_or_too_many(layers: Stack) -> None:
    put(layers.upper / "deep/deeper/inside")
    for number in range(5):
        put(layers.upper / f"many/{number}/inside")
    changes = ChangeSet(layers.open(), waiting=WalkQueue(max_path=10, max_weight=3 * 700))
    rows = {row["path"]: row for row in changes.rows() if row}
    assert rows["/deep/deeper"]["notes"] == ["notListed"]
    assert rows["/many/4"]["notes"] == ["notListed"] and "/many/0/inside" in rows
    assert "/deep/deeper" in changes.unlisted.first and not changes.cut


def test_the_budget_for_hashes_ends_the_hashes_and_not_the_list(layers: Stack) -> None:
    for name in ("a", "b", "c"):
        put(layers.upper / name, "0123456789")
    hashing = HashingBudget(max_total=25)
    rows = layers.rows(hashing=hashing)
    assert [row["notes"] for row in rows.values()] == [[], [], ["notHashed"]]
    assert hashing.skipped == 1
    rows = layers.rows(hashing=HashingBudget(until=time.monotonic()))
    assert [row["notes"] for row in rows.values()] == [["notHashed"]] * 3


def test_time_that_is_up_ends_the_list(layers: Stack) -> None:
    put(layers.upper / "a")
    changes = ChangeSet(layers.open(), until=time.monotonic())
    assert [*changes.batches()] == [[]] and changes.cut == "Deadline"


def test_holes_are_hashed_as_zeros_unless_they_are_giant(layers: Stack) -> None:
    with (layers.upper / "sparse").open("wb") as file:
        file.seek(5 * 1024 * 1024 + 17)
        file.write(b"middle")
        file.truncate(9 * 1024 * 1024 + 5)
    content = (layers.upper / "sparse").read_bytes()
    assert layers.rows()["/sparse"]["sha256"] == hashlib.sha256(content).hexdigest()
    limited = layers.rows(hashing=HashingBudget(max_holes=8 * 1024 * 1024))
    assert limited["/sparse"]["notes"] == ["notHashed"]


def test_a_file_that_grows_for_ever(layers: Stack) -> None:
    hashing = HashingBudget(max_file=2 * 1024 * 1024)
    with (layers.upper / "log").open("wb") as file, opened(os.open(file.name, PLACE)) as place:
        file.write(bytes(3 * 1024 * 1024))
        file.flush()
        assert _last(hashing.digest(place, 1)) is None


def _last(digest: HashingSteps) -> str | None:
    while True:
        try:
            next(digest)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def test_attributes_that_differ(layers: Stack) -> None:
    for folder in (layers.lower, layers.upper):
        for name in ("ping", "same", "plain"):
            put(folder / name)
        (folder / "dir").mkdir()
        os.utime(folder / "dir", (OLD, OLD))
    os.setxattr(layers.upper / "ping", "security.capability", CAPABILITY)
    os.setxattr(layers.lower / "plain", "user.gone", b"1")
    os.setxattr(layers.upper / "dir", "user.kept", b"\xff")
    os.setxattr(layers.upper / "same", "trusted.overlay.origin", b"x")
    put(layers.upper / "new")
    os.setxattr(layers.upper / "new", "security.capability", CAPABILITY)
    rows = layers.rows()
    told = base64.b64encode(CAPABILITY).decode()
    assert rows["/ping"]["xattrs"] == {"security.capability": told}
    assert rows["/ping"]["notes"] == ["capabilitiesAdded", "xattrsChanged"]
    assert rows["/plain"]["xattrs"] == {"user.gone": None}
    assert rows["/dir"]["xattrs"] == {"user.kept": "/w=="}
    assert rows["/dir"]["notes"] == ["xattrsChanged"]
    assert rows["/same"]["notes"] == ["identical"] and "xattrs" not in rows["/same"]
    assert rows["/new"]["xattrs"] == {"security.capability": told}
    assert rows["/new"]["notes"] == ["capabilitiesAdded"]


def test_attributes_in_masses_are_only_counted(layers: Stack) -> None:
    put(layers.upper / "file")
    os.setxattr(layers.upper / "file", "user.name", b"value")
    assert layers.rows(max_xattrs=10)["/file"]["xattrsSize"] == 14


def test_a_redirect_that_leads_nowhere_good(layers: Stack) -> None:
    put(layers.lower / "etc/passwd")
    for name, redirect in (("a", b"/../etc"), ("b", b"..")):
        put(layers.upper / name / "passwd")
        mark(layers.upper / name, "redirect", redirect)
    assert set(layers.kinds().values()) == {"A"}


def test_what_cannot_be_read_costs_only_itself(
    layers: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fails is not to be had: an attribute that the kernel refuses stands for it."""
    put(layers.upper / "bad")
    put(layers.upper / "good")
    put(layers.lower / "broken/one")
    put(layers.upper / "broken/two")
    put(layers.upper / "broken/deep/three")
    failing = {(layers.upper / "bad").stat().st_ino, (layers.lower / "broken").stat().st_ino}
    real = os.listxattr

    def listxattr(path: str) -> list[str]:
        if os.stat(path).st_ino in failing:  # noqa: PTH116  # as it is called
            raise OSError(errno.EIO, "Input/output error")
        return real(path)

    monkeypatch.setattr(os, "listxattr", listxattr)
    changes = ChangeSet(layers.open())
    rows = {row["path"]: row for row in changes.rows() if row}
    assert rows["/bad"]["notes"] == ["unreadable"] and rows["/good"]["notes"] == []
    assert rows["/broken"]["notes"] == ["unreadable"] and "/broken/deep/three" in rows
    assert changes.unreadable.first == ["/bad", "/broken"]


def test_an_image_that_cannot_be_read(layers: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same: a place that the kernel does not open stands for a disk that fails."""
    put(layers.lower / "etc/conf")
    put(layers.upper / "etc/conf", "longer")
    put(layers.upper / "tmp")
    broken = (layers.lower / "etc").stat().st_ino
    real = os.open

    def refuse(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if dir_fd is not None and os.fstat(dir_fd).st_ino == broken:
            raise OSError(errno.EIO, "Input/output error")
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", refuse)
    rows = layers.rows()
    assert rows["/etc/conf"] == {"kind": "C", "path": "/etc/conf", "notes": ["unreadable"]}
    assert rows["/tmp"]["notes"] == []


def test_what_the_runtime_mounts_on_is_told_apart(layers: Stack) -> None:
    put(layers.upper / "etc/hosts", "")
    put(layers.upper / "etc/hostname", "written into")
    rows = layers.rows()
    assert rows["/etc/hosts"]["notes"] == ["mountPlaceholder"]
    assert rows["/etc/hostname"]["notes"] == []
