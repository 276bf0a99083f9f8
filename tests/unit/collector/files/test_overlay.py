"""Overlay options in the four spellings of the kernel."""

import pytest

from collector.files.overlay import (
    OverlayDirectories,
    layers_beside,
    mount_points,
    parse_mountinfo,
    parse_options,
)

LINE = b"36 25 0:31 / / rw,relatime master:1 - overlay overlay rw,%s"


def parsed(options: bytes) -> OverlayDirectories | None:
    return parse_mountinfo(LINE % options)


def test_absolute_paths() -> None:
    layers = parsed(b"lowerdir=/l/2:/l/1,upperdir=/u,workdir=/w")
    assert layers == OverlayDirectories(b"/u", (b"/l/2", b"/l/1")) and layers.complete


def test_relative_paths_are_known_to_be_incomplete() -> None:
    layers = parsed(b"lowerdir=l2:l1,upperdir=3/fs,workdir=3/work")
    assert layers == OverlayDirectories(b"3/fs", (b"l2", b"l1")) and not layers.complete


def test_one_option_a_layer() -> None:
    layers = parsed(b"lowerdir+=/l/2,lowerdir+=/l/1,datadir+=/data,upperdir=/u,workdir=/w")
    assert layers == OverlayDirectories(b"/u", (b"/l/2", b"/l/1"), data=(b"/data",))


def test_octal_escapes() -> None:
    layers = parsed(rb"lowerdir=/a\040b:/with\134:colon:/with\054comma,upperdir=/u\134x")
    assert layers == OverlayDirectories(rb"/u\x", (b"/a b", b"/with:colon", b"/with,comma"))


def test_layers_that_only_hold_content_are_told_apart() -> None:
    layers = parsed(b"lowerdir=/l/2:/l/1::/data/2::/data/1,upperdir=/u")
    assert layers == OverlayDirectories(b"/u", (b"/l/2", b"/l/1"), data=(b"/data/2", b"/data/1"))
    relative = parsed(b"lowerdir=/l/1::data,upperdir=/u")
    assert relative and not relative.complete


def test_attributes_of_users_count_only_where_mounted_so() -> None:
    one, other = parsed(b"lowerdir=/l,upperdir=/u"), parsed(b"lowerdir=/l,upperdir=/u,userxattr")
    assert one and other
    assert (one.marks, other.marks) == (b"trusted.overlay.", b"user.overlay.")


@pytest.mark.parametrize("options", [b"lowerdir=/l", b"upperdir=/u", b"", b"lowerdir=,upperdir=/u"])
def test_what_is_no_writable_overlay(options: bytes) -> None:
    assert parse_options(options.split(b",")) is None


def test_the_last_mount_on_a_point_is_the_one_in_sight() -> None:
    table = LINE % b"lowerdir=/l,upperdir=/u" + b"\n37 25 0:32 / / rw - ext4 /dev/vda rw"
    assert parse_mountinfo(table) is None
    assert parse_mountinfo(b"garbage\n\n - \n") is None
    assert parse_mountinfo(LINE % b"lowerdir=/l,upperdir=/u", b"/elsewhere") is None


def test_a_carriage_return_ends_no_line() -> None:
    row = b"1 0 0:1 / /a\r2\\0400\\0400:1\\040/\\040/b rw - tmpfs t rw\n"
    assert mount_points(row) == [b"/a\r2 0 0:1 / /b"]


def test_mount_points_are_spelled_out() -> None:
    assert mount_points(b"1 2 0:1 / /a\\040b rw - tmpfs none rw\nshort") == [b"/a b"]


def test_the_folders_of_cri_o() -> None:
    storage = b"/var/lib/containers/storage/overlay"
    layers = layers_beside(storage + b"/abc/merged", b"l/ONE:l/TWO\n")
    assert layers == OverlayDirectories(
        storage + b"/abc/diff", (storage + b"/l/ONE", storage + b"/l/TWO")
    )
