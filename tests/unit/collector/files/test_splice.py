"""Archives of several tars become one, wherever one of them breaks off."""

from __future__ import annotations

import io
import tarfile

import pytest

from collector.files.splice import MAX_CARRIED, RECORD, Splice

LONG = "d" * 90 + "/" + "é" * 200


def archive(*members: tuple[str, bytes], **pax: str) -> bytes:
    """Return a pax archive in which each member has an extended header; directories end in `/`."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name.rstrip("/"))
            info.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            info.size, info.mtime = len(data), 1.25
            info.pax_headers = pax
            tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


FIRST = archive(("./a/", b""), ("./a/one", b"1" * 700), ("./a/" + LONG, b"2" * 512), ("./b", b""))
SECOND = archive(("./a/", b""), ("./c", b"3" * 10))


def fed(splice: Splice, data: bytes, size: int = 10_240) -> bytes:
    blocks = (data[start : start + size] for start in range(0, len(data), size))
    return b"".join(bytes(piece) for block in blocks for piece in splice.feed(block))


def names(data: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
        return tar.getnames()


@pytest.mark.parametrize("size", [1, 7, 511, 512, 513, 1500, 10_240])
def test_what_passes_is_not_changed_however_it_is_cut_into_blocks(size: int) -> None:
    splice = Splice()
    assert fed(splice, FIRST, size) == FIRST
    assert splice.ended and not splice.cut and splice.last == b"./b"


@pytest.mark.parametrize("size", [1, 511, 512, 1500, 10_240])
def test_half_a_header_moves_to_the_front_of_the_next_block(size: int) -> None:
    splice, pieces = Splice(), list[list[bytes]]()
    for start in range(0, len(FIRST), size):
        block = splice.carried() + FIRST[start : start + size]
        pieces.append([bytes(piece) for piece in splice.feed(block)])
    assert b"".join(piece for some in pieces for piece in some) == FIRST
    assert all(len(some) <= 1 for some in pieces), "nothing is handed on in more pieces than come"
    assert splice.ended and splice.last == b"./b" and not splice.carried()


@pytest.mark.parametrize("size", [511, 10_240, 1_000_000])
@pytest.mark.parametrize("more", [0, 512, 10_240, 250_000])
def test_zeros_that_fill_a_long_record_are_left_out(size: int, more: int) -> None:
    assert len(FIRST) % RECORD == 0
    assert fed(Splice(), FIRST + bytes(more), size) == FIRST


def test_the_end_has_two_blocks_where_the_first_ends_a_record() -> None:
    data = archive(("./a", b"1" * (RECORD - 4 * 512)))
    assert len(data) == 2 * RECORD and not any(data[RECORD - 512 :])
    assert fed(Splice(), data + bytes(RECORD), 1000) == data


def test_what_comes_behind_the_end_and_is_not_zeros_is_kept() -> None:
    data = FIRST + bytes(RECORD) + b"surprise"
    assert fed(Splice(), data, len(data)) == data


def test_long_headers_stay_where_they_are() -> None:
    data = archive(("./a", b"1"), comment="x" * 2 * MAX_CARRIED)
    splice = Splice()
    first = b"".join(map(bytes, splice.feed(data[: MAX_CARRIED + 1])))
    assert splice.carried() == b""
    assert first + b"".join(map(bytes, splice.feed(data[MAX_CARRIED + 1 :]))) == data


def test_an_archive_that_breaks_off_anywhere_can_be_gone_on_with() -> None:
    begun = set()
    for end in range(0, FIRST.index(b"./b\0") + 512, 100):
        splice = Splice()
        data = fed(splice, FIRST[:end]) + b"".join(map(bytes, splice.mend())) + fed(splice, SECOND)
        found = names(data)
        assert found[-2:] == ["./a", "./c"] and splice.ended
        assert found[:-2] == names(FIRST)[: len(found) - 2]
        begun.add(len(found))
    assert begun == {2, 3, 4, 5}


@pytest.mark.parametrize("size", [1, 512, 10_240])
def test_directories_that_are_there_already_are_left_out(size: int) -> None:
    splice = Splice()
    splice.repeated = frozenset({b"./a", b"./c"})
    assert names(fed(splice, SECOND, size)) == ["./c"]


def test_the_size_of_a_file_of_many_gigabytes_is_in_its_extended_header() -> None:
    data = archive(("./huge", b""), size=str(9 * 2**30 + 1), note="a size=7\n")
    splice = Splice()
    fed(splice, data[: data.rindex(b"./huge") + 512])
    assert splice.cut == 9 * 2**30 + 512
    pieces = splice.mend()
    assert next(pieces) == bytes(1024 * 1024)


def test_names_of_gnus_own_format() -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo(LONG))
    splice = Splice()
    fed(splice, file.getvalue())
    assert splice.last == LONG.encode()


@pytest.mark.parametrize("place", [124, 1536 + 124])
def test_what_is_no_archive_passes_and_is_not_followed(place: int) -> None:
    data = FIRST[:place] + b"garbage" + FIRST[place + 7 :]
    for size in (1, 10_240):
        splice = Splice()
        assert fed(splice, data, size) == data
        assert splice.lost


def test_headers_that_are_too_long_are_not_held_back() -> None:
    splice = Splice(max_held=1000)
    assert fed(splice, FIRST, 100) == FIRST and splice.lost


def test_an_empty_stream_has_no_last_member() -> None:
    splice = Splice()
    assert splice.last == b"" and not list(splice.mend())
