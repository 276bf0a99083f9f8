"""Which files are a pod's logs, on a node that may be hostile."""

from __future__ import annotations

from pathlib import Path

from collector.cri import logfiles
from collector.node.host import Host

HOST = Host()


def names(log_path: Path | str) -> list[str]:
    return [log.name for log in logfiles.names(HOST, str(log_path))]


def test_current_previous_and_rotated(tmp_path: Path) -> None:
    order = ["0.log", "1.log.20260101-000000.gz", "1.log.20260102-000000", "1.log"]
    for name in order:
        (tmp_path / name).write_text(name)
    (tmp_path / "notes.txt").touch()
    assert names(tmp_path / "1.log") == order
    kinds = {log.name: log.media_type for log in logfiles.names(HOST, str(tmp_path / "1.log"))}
    assert kinds["1.log.20260101-000000.gz"] == "application/gzip"
    assert kinds["1.log"] == "text/plain"


def test_what_only_has_the_name_of_a_log_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "0.log").touch()
    (tmp_path / "1.log").symlink_to("/etc/passwd")
    (tmp_path / "2.log").mkdir()
    assert names(tmp_path / "0.log") == ["0.log", "1.log", "2.log"]


def test_the_current_log_is_expected_even_if_it_is_gone(tmp_path: Path) -> None:
    (tmp_path / "0.log").touch()
    assert names(tmp_path / "1.log") == ["0.log", "1.log"]


def test_a_folder_that_cannot_be_listed() -> None:
    assert names("/no/such/folder/0.log") == ["0.log"]
    assert names("") == []


def test_the_newest_is_last(tmp_path: Path) -> None:
    order = ["9.log.20260101", "9.log.20260102", "9.log", "10.log.20260103.gz", "10.log"]
    for name in order:
        (tmp_path / name).touch()
    assert names(tmp_path / "10.log") == order
    (tmp_path / "odd").touch()
    assert names(tmp_path / "odd") == ["odd", *order]
