"""Every member of any archive becomes one row, wherever the blocks are cut."""

from __future__ import annotations

import hashlib
import tarfile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forensics_core.tarindex.headers import MAX_EXTENSION, NotTar, padded
from forensics_core.tarindex.walk import TarWalk
from tests.unit.tarindex.archives import index, member, tar

FORMATS = {"pax": tarfile.PAX_FORMAT, "gnu": tarfile.GNU_FORMAT, "ustar": tarfile.USTAR_FORMAT}
LONG = "a-long-directory-name/" * 8 + "file"

names = st.text(
    st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1, max_size=300
).filter(lambda name: name not in {".", ".."})
contents = st.one_of(st.binary(max_size=40), st.integers(0, 9000).map(lambda size: b"x" * size))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@given(
    st.lists(st.tuples(names, contents), max_size=8),
    st.integers(1, 5000),
    st.sampled_from([0, 2**33]),
)
def test_any_files_cut_anywhere(files: list[tuple[str, bytes]], step: int, uid: int) -> None:
    archive = tar((member(f"./{name}", uid=uid, mtime=1.25), data) for name, data in files)
    rows = index(archive, step)
    assert [(row["path"], row["size"], row["sha256"]) for row in rows] == [
        (f"/{name}", len(data), sha256(data)) for name, data in files
    ]
    for row, (_, data) in zip(rows, files, strict=True):
        assert archive[row["data"] : row["data"] + row["size"]] == data
        assert (row["uid"], row["mtime"]) == (uid, "1.25")
        assert tarfile.TarInfo.frombuf(
            archive[row["header"] : row["header"] + 512], "utf-8", "surrogateescape"
        ).type in {tarfile.XHDTYPE, tarfile.REGTYPE}


@pytest.mark.parametrize("name", FORMATS)
def test_names_and_links_in_every_format(name: str) -> None:
    members = [
        (member(LONG), b"content"),
        (member("./link", tarfile.SYMTYPE, linkname="/etc/passwd"), b""),
        (member("./twin", tarfile.LNKTYPE, linkname="./" + LONG[:80]), b""),
        (member("./dir/", tarfile.DIRTYPE, mode=0o41777), b""),
        (member("./null", tarfile.CHRTYPE, devmajor=1, devminor=3), b""),
        (member("./disk", tarfile.BLKTYPE, devmajor=7, devminor=99), b""),
        (member("./pipe", tarfile.FIFOTYPE), b""),
    ]
    rows = index(tar(members, format=FORMATS[name]))
    assert [(row["path"], row["type"]) for row in rows] == [
        ("/" + LONG, "file"),
        ("/link", "symlink"),
        ("/twin", "hardlink"),
        ("/dir", "directory"),
        ("/null", "char"),
        ("/disk", "block"),
        ("/pipe", "fifo"),
    ]
    assert rows[1]["target"] == "/etc/passwd"
    assert rows[2]["target"] == "/" + LONG[:80]
    assert rows[3]["mode"] == "1777"
    assert (rows[4]["device"], rows[5]["device"]) == ([1, 3], [7, 99])


def test_long_names_and_links_of_gnu() -> None:
    link = member("./" + LONG * 2, tarfile.SYMTYPE, linkname=LONG * 3)
    (row,) = index(tar([(link, b"")], format=tarfile.GNU_FORMAT), step=100)
    assert (row["path"], row["target"]) == ("/" + LONG * 2, LONG * 3)


def test_numbers_in_base_256() -> None:
    info = member("./file", uid=2**40, mtime=-5)
    (row,) = index(tar([(info, b"")], format=tarfile.GNU_FORMAT))
    assert (row["uid"], row["mtime"]) == (2**40, "-5")


def test_names_that_are_not_utf8() -> None:
    name = b"./not-\xff\xfe\\".decode(errors="surrogateescape")
    (row,) = index(tar([(member(name), b"")], format=tarfile.GNU_FORMAT))
    assert row["path"] == {"text": "/not-\\xff\\xfe\\", "base64": "L25vdC3//lw="}


def test_attributes_and_lists_of_access() -> None:
    headers = {
        "SCHILY.xattr.user.plain": "line\nbreak = 5",
        "SCHILY.xattr.security.capability": b"\x01\x00\xff".decode(errors="surrogateescape"),
        "SCHILY.acl.access": "user::rw-,user:7:r--",
        "atime": "1.5",
        "ctime": "-2.000000001",
    }
    archive = tar([(member("./file", pax_headers=headers), b"")])
    (row,) = index(archive, step=7)
    assert row["xattrs"]["user.plain"] == "line\nbreak = 5"
    assert row["xattrs"]["security.capability"]["base64"] == "AQD/"
    assert row["acl"] == {"access": "user::rw-,user:7:r--"}
    assert (row["atime"], row["ctime"]) == ("1.5", "-2.000000001")


def test_attributes_too_long_for_a_row_are_counted() -> None:
    headers = {"SCHILY.xattr.user.long": "x" * 300_000}
    (row,) = index(tar([(member("./file", pax_headers=headers), b"")]))
    assert "xattrs" not in row and row["xattrsSize"] == 300_000


def test_defaults_of_the_whole_archive() -> None:
    archive = tar([(member("./a"), b""), (member("./b"), b"")], pax_headers={"gid": "77"})
    assert [row["gid"] for row in index(archive)] == [77, 77]


def test_what_comes_after_the_end_is_padding() -> None:
    archive = tar([(member("./a"), b"x")])
    assert index(archive + b"garbage" * 1000) == index(archive)


def test_a_file_that_is_cut_is_marked() -> None:
    archive = tar([(member("./a"), b"x"), (member("./b"), b"y" * 5000)])
    whole, cut = index(archive[: 512 * 6])
    assert "truncated" not in whole
    assert cut["truncated"] is True and "sha256" not in cut
    assert cut["size"] == 5000


def damaged(position: int, replacement: bytes) -> bytes:
    archive = bytearray(tar([(member("./file", pax_headers={"comment": "here"}), b"data")]))
    archive[position : position + len(replacement)] = replacement
    return bytes(archive)


@pytest.mark.parametrize(
    ("archive", "why"),
    [
        (b"no tar at all" * 100, "a header is damaged"),
        (damaged(0, b"XX"), "a header is damaged"),
        (damaged(512, b"99"), "a pax header is damaged"),
        (damaged(512, b"0 "), "a pax header is damaged"),
        (damaged(512, b"--"), "a pax header is damaged"),
        (damaged(512, b"16 comment=her\n\0"), "a pax header is damaged"),
    ],
)
def test_what_is_no_tar(archive: bytes, why: str) -> None:
    with pytest.raises(NotTar, match=why):
        index(archive)


@given(st.data())
def test_any_damage_is_an_error_or_other_rows(data: st.DataObject) -> None:
    """It never hangs, and never fails in a way that the stage does not expect."""
    headers = {"SCHILY.xattr.user.x": "y", "path": "./other"}
    archive = bytearray(tar([(member("./file", pax_headers=headers), b"data" * 200)] * 2))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(archive) - 1))
        archive[place] = data.draw(st.integers(0, 255))
    rows: list[Any] = []
    walk = TarWalk(rows.append)
    try:
        walk.feed(bytes(archive))
    except ValueError:
        return
    assert len(rows) <= 2


def test_sizes_that_cannot_be() -> None:
    for headers in ({"size": "-1"}, {"GNU.sparse.size": "5"}, {"uid": "many"}):
        info = member("./file", pax_headers=headers)
        with pytest.raises(ValueError, match=r"member|sparse|invalid literal"):
            index(_raw(info))


def test_old_sparse_files_end_the_index() -> None:
    with pytest.raises(NotTar, match="cannot read"):
        index(_raw(member("./file", tarfile.GNUTYPE_SPARSE)))


def _raw(info: tarfile.TarInfo) -> bytes:
    """Return a header as it is told to be."""
    if info.type == tarfile.GNUTYPE_SPARSE:
        return info.tobuf(tarfile.GNU_FORMAT)
    return info.tobuf(tarfile.PAX_FORMAT)


def test_a_header_that_is_too_long_is_passed_over() -> None:
    info = member("./x", tarfile.XHDTYPE, size=MAX_EXTENSION + 1)
    header = info.tobuf(tarfile.USTAR_FORMAT) + b"x" * padded(MAX_EXTENSION + 1)
    rows = index(header + tar([(member("./a"), b"data"), (member("./b"), b"")]))
    assert [(row["path"], row.get("headerUnread")) for row in rows] == [("/a", True), ("/b", None)]
    assert rows[0]["sha256"] == sha256(b"data")


def test_a_header_that_is_empty_or_has_no_size() -> None:
    empty = member("./x", tarfile.XHDTYPE).tobuf(tarfile.USTAR_FORMAT)
    assert [row["path"] for row in index(empty + tar([(member("./a"), b"")]))] == ["/a"]
    with pytest.raises(NotTar, match="no size"):
        index(member("./x", tarfile.XHDTYPE, size=-1).tobuf(tarfile.GNU_FORMAT))


def test_names_of_attributes_are_as_the_file_has_them() -> None:
    headers = {"SCHILY.xattr.user.a%3Db%2525": "y"}
    (row,) = index(tar([(member("./a", pax_headers=headers), b"")]))
    assert row["xattrs"] == {"user.a=b%25": "y"}


def test_members_of_unknown_kinds_keep_their_data() -> None:
    archive = tar([(member("./odd", b"D"), b"x" * 600), (member("./next"), b"")])
    rows = index(archive)
    assert [row["type"] for row in rows] == ["other", "file"]


def test_names_at_the_top() -> None:
    archive = tar((member(name, tarfile.DIRTYPE), b"") for name in (".", "./", "/etc/", "plain"))
    assert [row["path"] for row in index(archive)] == ["/", "/", "/etc", "/plain"]
