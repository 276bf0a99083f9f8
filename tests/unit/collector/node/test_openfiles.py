"""Open files have the numbers by which the index has them, without a word to the files."""

import os
from pathlib import Path

from collector.node.openfiles import mounted_devices, open_files
from collector.node.procfs import Process


def test_a_file_has_its_inode_device_flags_and_position(tmp_path: Path) -> None:
    file = tmp_path / "notes"
    file.write_text("some words")
    with file.open("rb") as opened, Process.open(os.getpid()) as process:
        os.lseek(opened.fileno(), 4, os.SEEK_SET)
        devices = mounted_devices(process.read("mountinfo"))
        rows = {row["fd"]: row for row in open_files(process, devices, 1000)}
        number = opened.fileno()
    found = file.stat()
    assert rows[number] == {
        "fd": number,
        "target": str(file),
        "inode": found.st_ino,
        "device": f"{os.major(found.st_dev)}:{os.minor(found.st_dev)}",
        "position": 4,
        "flags": rows[number]["flags"],
    }
    assert int(rows[number]["flags"], 8) & os.O_ACCMODE == os.O_RDONLY


def test_a_kernel_that_tells_no_inode_and_a_descriptor_that_was_closed(tmp_path: Path) -> None:
    folder = tmp_path / "7"
    (folder / "fd").mkdir(parents=True)
    (folder / "fdinfo").mkdir()
    for number, target in enumerate(("socket:[77]", "/etc/passwd", "pipe:[5]")):
        (folder / f"fd/{number}").symlink_to(target)
    (folder / "fd/3").write_text("no link: it cannot be read as one")
    (folder / "fdinfo/0").write_text("pos:\t0\nflags:\t02\nmnt_id:\t9\n")
    (folder / "fdinfo/1").write_text("nonsense")
    with Process.open(7, tmp_path) as process:
        rows = open_files(process, {}, 1000)
    assert rows == [
        {"fd": 0, "target": "socket:[77]", "position": 0, "flags": "02", "inode": 77},
        {"fd": 1, "target": "/etc/passwd"},
        {"fd": 2, "target": "pipe:[5]", "inode": 5},
    ]


def test_a_table_of_mounts_that_was_cut() -> None:
    assert mounted_devices(b"22 1 8:1 / / rw\nodd\nx y z w\n23 1 0:5") == {22: "8:1"}
