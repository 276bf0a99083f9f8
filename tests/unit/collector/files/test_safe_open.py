"""Nothing outside of a hostile tree is ever opened."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.files.safe_open import (
    FOLDER,
    PLACE,
    attribute,
    open_data,
    open_in_root,
    open_strictly,
    opened,
)

SWAPS = int(os.environ.get("FORENSICS_TEST_SWAPS", "2000"))
"""How often the attacker swaps; a soak sets 100000."""


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "root/etc/passwd").write_text("inside")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("outside")
    with opened(os.open(tmp_path / "root", FOLDER)) as folder:
        yield folder


def content(place: int) -> str:
    with opened(place), opened(open_data(place)) as data:
        return os.read(data, 100).decode()


@pytest.mark.parametrize("target", ["/etc", "../etc", "../../../../etc", "/proc/self/root/etc"])
def test_links_stay_inside(root: int, tmp_path: Path, target: str) -> None:
    (tmp_path / "root/link").symlink_to(target)
    try:
        place = open_in_root(root, "/link/passwd")
    except FileNotFoundError:
        assert "proc" in target
    else:
        assert content(place) == "inside"


def test_strictly_there_are_no_links_at_all(root: int, tmp_path: Path) -> None:
    (tmp_path / "root/link").symlink_to("etc")
    for path, code in ((b"link/passwd", errno.ELOOP), (b"../etc/passwd", errno.EXDEV)):
        with pytest.raises(OSError) as caught:
            open_strictly(root, path, PLACE)
        assert caught.value.errno == code
    assert content(open_strictly(root, b"etc/passwd", PLACE)) == "inside"


def test_only_regular_files_have_data(root: int, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "root/pipe")
    with (
        opened(open_strictly(root, b"pipe", PLACE)) as place,
        pytest.raises(OSError, match="not a regular file"),
    ):
        open_data(place)


def test_attributes_that_are_not_there(root: int) -> None:
    with opened(open_strictly(root, b"etc/passwd", PLACE)) as place:
        assert attribute(place, b"user.none") is None
        with pytest.raises(OSError):
            attribute(place, b"user." + b"x" * 300)


def test_a_directory_that_is_swapped_for_a_link_while_it_is_read(root: int, tmp_path: Path) -> None:
    """The attacker's loop runs beside the reader; only what is inside is ever read."""
    inside, done = tmp_path / "root", threading.Event()
    (inside / "evil").symlink_to(tmp_path / "etc")

    def swap() -> None:
        for _ in range(SWAPS):
            (inside / "etc").rename(inside / "aside")
            (inside / "evil").rename(inside / "etc")
            (inside / "etc").rename(inside / "evil")
            (inside / "aside").rename(inside / "etc")
        done.set()

    attacker = threading.Thread(target=swap)
    attacker.start()
    seen, refused = set[str](), 0
    while not done.is_set():
        for opener in (open_in_root, open_strictly):
            try:
                seen.add(content(opener(root, b"etc/passwd", PLACE)))
            except OSError as error:
                assert error.errno in {errno.ELOOP, errno.ENOENT}
                refused += 1
    attacker.join()
    assert seen == {"inside"} and refused
