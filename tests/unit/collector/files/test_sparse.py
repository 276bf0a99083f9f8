"""Where a file has data, whatever its file system says of holes."""

from __future__ import annotations

import ctypes
import errno
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from collector.files import pax, sparse, statx
from collector.files.safe_open import opened


def _failing(code: int) -> Callable[..., int]:
    def fail(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    return fail


def test_pieces_of_a_file_with_holes(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w+b") as file:
        for offset in (0, 1 << 20, 2 << 20):
            os.pwrite(file.fileno(), b"x" * 4096, offset)
        file.truncate(4 << 20)
        pieces = sparse.data_pieces(file.fileno(), 4 << 20)
        assert pieces == [(0, 4096), (1 << 20, 4096), (2 << 20, 4096)]
        # What lies behind the last that are told apart is read with its holes.
        assert sparse.data_pieces(file.fileno(), 4 << 20, 2) == [(0, 4096), (1 << 20, 3 << 20)]
        # It grew: what lies behind its size is not looked at.
        assert sparse.data_pieces(file.fileno(), 1 << 19) == [(0, 4096)]
        assert sparse.data_pieces(file.fileno(), 100) == [(0, 100)]


def test_a_file_system_that_knows_no_holes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "file").open("w+b") as file:
        for code, pieces in ((errno.EINVAL, [(0, 9)]), (errno.ENXIO, [])):
            monkeypatch.setattr(os, "lseek", _failing(code))
            assert sparse.data_pieces(file.fileno(), 9) == pieces
        monkeypatch.setattr(os, "lseek", _failing(errno.EIO))
        with pytest.raises(OSError, match="Input/output"):
            sparse.data_pieces(file.fileno(), 9)


def test_a_hole_at_the_end_and_one_all_through(tmp_path: Path) -> None:
    for number, data in enumerate((b"begin", b"")):
        path = tmp_path / str(number)
        path.write_bytes(data)
        os.truncate(path, 1 << 20)
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            pieces = sparse.data_pieces(file.fileno(), found.st_size)
            parts = [sparse.member(b"./dir/file", found, file.fileno(), pieces)]
            parts += [sparse.read(file.fileno(), *step) for step in sparse.steps(pieces, 1000)]
        with tarfile.open(fileobj=io.BytesIO(b"".join(parts) + pax.END)) as archive:
            member = archive.getmember("./dir/file")
            content = archive.extractfile(member)
            assert content and content.read() == data.ljust(1 << 20, b"\0")


def test_what_is_known_of_a_file_without_the_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    with opened(os.open(tmp_path / "file", os.O_PATH)) as place:
        known = statx.statx(place)
        with monkeypatch.context() as older:  # no C library of ours is as old
            older.setattr(ctypes, "CDLL", lambda *_, **__: object())
            statx.statx_function.cache_clear()
            assert statx.statx(place) == known._replace(birth=None) and known.birth
            os.close(other := os.dup(place))
            with pytest.raises(OSError, match="Bad file"):
                statx.statx(other)
        statx.statx_function.cache_clear()
    with pytest.raises(OSError, match="Bad file"):
        statx.statx(place)
