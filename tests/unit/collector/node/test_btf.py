"""A kernel's description that is not as it should be ends in an error, never in a hang."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from collector.node.btf import NoLayout, StructLayout, layouts

INT, STRUCT, TYPEDEF = 1, 4, 8


def described(folder: Path, *types: bytes) -> Path:
    """Write a description of these types, the second and so on: the first one is a number."""
    number = struct.pack("=IIII", 0, INT << 24, 4, 32)
    names, data = b"\0file\0f_inode\0", number + b"".join(types)
    head = struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(data), len(data), len(names))
    path = folder / "vmlinux"
    path.write_bytes(head + data + names)
    return path


def structure(name: int, *members: tuple[int, int]) -> bytes:
    head = struct.pack("=III", name, STRUCT << 24 | len(members), 64)
    return head + b"".join(struct.pack("=III", name, kind, 64) for name, kind in members)


def typedef(of: int) -> bytes:
    return struct.pack("=III", 0, TYPEDEF << 24, of)


def only(
    wanted: dict[str, tuple[str, ...]], path: Path, most: int = 1024 * 1024
) -> dict[str, StructLayout]:
    (found,) = layouts([wanted], path, most=most)
    if isinstance(found, NoLayout):
        raise found
    return found


def test_members_of_members_without_a_name_are_found(tmp_path: Path) -> None:
    path = described(tmp_path, structure(1, (0, 3)), typedef(4), structure(0, (6, 1)))
    assert only({"file": ("f_inode",)}, path)["file"].at == {"f_inode": 16}


def test_a_type_that_stands_for_itself_is_no_layout(tmp_path: Path) -> None:
    path = described(tmp_path, structure(1, (0, 3)), typedef(4), typedef(3))
    with pytest.raises(NoLayout, match="cannot be understood"):
        only({"file": ("f_inode",)}, path)


def test_members_without_end_are_no_layout(tmp_path: Path) -> None:
    deep = [structure(0, *[(0, number + 1)] * 1000) for number in range(3, 8)]
    path = described(tmp_path, structure(1, (0, 3)), *deep, structure(0, (6, 1)))
    with pytest.raises(NoLayout, match="cannot be understood"):
        only({"file": ("f_inode",)}, path)


def test_a_structure_of_which_the_kernel_has_no_name_is_missing(tmp_path: Path) -> None:
    path = described(tmp_path, structure(0, (6, 1)))
    with pytest.raises(NoLayout, match=r"no inode\.f_inode"):
        only({"inode": ("f_inode",)}, path)


def test_a_description_that_is_too_long_is_not_read_whole(tmp_path: Path) -> None:
    path = described(tmp_path, structure(1, (6, 1)))
    with pytest.raises(NoLayout, match="more than 40 bytes"):
        only({"file": ("f_inode",)}, path, 40)


def test_a_structure_that_is_missing_costs_only_its_own_group(tmp_path: Path) -> None:
    path = described(tmp_path, structure(1, (6, 1)))
    lacking, found = layouts([{"inode": ("i_ino",)}, {"file": ("f_inode",)}], path)
    assert isinstance(lacking, NoLayout)
    assert not isinstance(found, NoLayout)
    assert found["file"].at == {"f_inode": 8}


def test_what_is_no_description_is_no_layout(tmp_path: Path) -> None:
    path = tmp_path / "vmlinux"
    path.write_bytes(bytes(64))
    with pytest.raises(NoLayout, match="another byte order"):
        layouts([{"file": ("f_inode",)}], path)
    path.write_bytes(b"")
    with pytest.raises(NoLayout, match="cannot be understood"):
        layouts([{"file": ("f_inode",)}], path)
