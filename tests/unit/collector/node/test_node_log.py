"""Lines of the node's own logs about a pod."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from collector.node import node_log
from collector.node.host import Host
from collector.node.node_log import find_kernel_lines, find_lines
from tests.unit.collector.node.test_journal import packed


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """The root of a machine with logs."""
    (tmp_path / "self").mkdir()
    root = tmp_path / "root"
    (root / "var/log/journal/3d12").mkdir(parents=True)
    (root / "var/log/journal/3d12/system.journal").write_bytes(packed("compact"))
    (root / "var/log/syslog").write_bytes(b"about shop/web-0 \xff\nof others\nweb 4f2a91 ends\n")
    (root / "var/log/messages").mkdir()
    os.mkfifo(root / "var/log/daemon.log")
    (tmp_path / "self/root").symlink_to(root)
    return root


def host(machine: Path) -> Host:
    return Host(machine.parent / "self")


def test_lines_of_files_and_of_the_journal(machine: Path) -> None:
    found = find_lines(host(machine), ["shop/web-0", "4f2a91", ""])
    text, journal = found.files
    assert text["path"] == "/var/log/syslog" and text["matches"] == 2
    assert text["lines"][0]["text"] == "about shop/web-0 \\xff"
    assert text["lines"][1] == "web 4f2a91 ends"
    assert journal["path"] == "/var/log/journal/3d12/system.journal"
    assert [row["PRIORITY"] for row in journal["lines"]] == ["6", "4"]
    assert found.unreadable == {
        "/var/log/messages": "It is not a regular file",
        "/var/log/daemon.log": "It is not a regular file",
    }
    assert not found.older.total


def test_the_kernels_own_lines(machine: Path) -> None:
    log = machine / "var/log"
    told = packed("plain").replace(b"_TRANSPORT=driver", b"_TRANSPORT=kernel")
    (log / "journal/3d12/system.journal").write_bytes(told)
    (log / "kern.log").write_bytes(b"Nov 27 vm kernel: [1.5] evil: loading out-of-tree module\n")
    (log / "syslog").write_bytes(b"Nov 27 vm sshd[7]: of others\n")
    found = find_kernel_lines(host(machine))
    journal, text = found.files
    assert [row["MESSAGE"].split(" ")[0] for row in journal["lines"]] == ["Journal", "Runtime"]
    assert text["path"] == "/var/log/kern.log" and "out-of-tree module" in text["lines"][0]


def test_a_machine_whose_logs_have_none_of_them(machine: Path) -> None:
    assert find_kernel_lines(host(machine)).files == []


def test_a_journal_that_is_none(machine: Path) -> None:
    (machine / "var/log/journal/3d12/system.journal").write_bytes(b"nothing of the sort")
    found = find_lines(host(machine), ["web"])
    assert "/var/log/journal/3d12/system.journal" in found.unreadable


def test_a_machine_without_logs(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self/root").symlink_to(tmp_path)
    found = find_lines(Host(tmp_path / "self"), ["web"])
    assert (found.files, found.unreadable) == ([], {})


def test_a_link_does_not_lead_out_of_the_machine(machine: Path) -> None:
    (machine.parent / "outside").write_text("web\n")
    (machine / "var/log/kubelet.log").symlink_to(machine.parent / "outside")
    paths = [row["path"] for row in find_lines(host(machine), ["web"]).files]
    assert "/var/log/kubelet.log" not in paths


def test_of_very_many_lines_the_newest_are_kept(machine: Path) -> None:
    lines = b"".join(b"%07d web " % number + b"x" * 1000 + b"\n" for number in range(3000))
    (machine / "var/log/syslog").write_bytes(lines)
    found = find_lines(host(machine), ["web "])
    (row, _) = found.files
    assert "lines of /var/log/syslog" in str(found.older)
    assert row["matches"] == 3000 and 900 < len(row["lines"]) < 1100
    assert row["lines"][-1].startswith("0002999") and row["from"] == 0


def test_rotated_logs_and_archived_journals_are_looked_through_and_others_named(
    machine: Path,
) -> None:
    log, archived = machine / "var/log", "journal/3d12/system@0-1.journal"
    (log / archived).write_bytes(packed("plain"))
    (log / "syslog.1").write_text("before: shop/web-0\n")
    (log / "syslog.2.gz").touch()
    (log / "syslog.3").write_text("long ago: shop/web-0\n")
    os.utime(log / "syslog.3", (1000, 1000))
    (log / "k3s.log").write_bytes(bytes(node_log.MAX_TAIL + 7))
    found = find_lines(host(machine), ["shop/web-0"], since=2000)
    lines = {row["path"]: len(row["lines"]) for row in found.files}
    assert lines["/var/log/syslog.1"] == 1 and lines[f"/var/log/{archived}"] == 2
    assert "/var/log/syslog.3" not in lines
    told = str(found.older)
    assert "/var/log/syslog.2.gz" in told and "the first 7 bytes of /var/log/k3s.log" in told


def test_journals_of_later_than_a_container_was_made_that_are_left_out_are_named(
    machine: Path,
) -> None:
    found = node_log.NodeLog(_entries=10)
    (machine / "var/log/journal/3d12/user-7.journal").write_bytes(packed("plain"))
    found.look(host(machine), "/var/log/journal/3d12/user-7.journal", [b"shop/web-0"])
    assert "user-7.journal before 20" in str(found.older)
    quiet = node_log.NodeLog(since=4e9, _entries=10)
    quiet.look(host(machine), "/var/log/journal/3d12/user-7.journal", [b"shop/web-0"])
    assert not quiet.older.total
    many = [machine / f"var/log/journal/{number}" for number in range(node_log.MAX_JOURNALS)]
    for folder in many:
        folder.mkdir()
    assert "1 folders of journals" in str(find_lines(host(machine), ["web"]).older)
