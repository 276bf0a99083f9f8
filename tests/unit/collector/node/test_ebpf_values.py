"""What is in maps of eBPF, as far as it is small and can be read without a change."""

from __future__ import annotations

import ctypes
import errno
import struct
from typing import Any

import pytest

from collector.node.ebpf import call_bpf, objects
from collector.node.ebpf_values import MAX_VALUES, values
from tests.unit.collector.node.bpf_objects import LOOT, bpf_is_permitted, closing, new_map

bpf = pytest.mark.skipif(not bpf_is_permitted(), reason="this kernel makes no such objects for us")


def put(descriptor: int, key: bytes, value: bytes) -> None:
    asked, content = ctypes.create_string_buffer(key), ctypes.create_string_buffer(value)
    places = ctypes.addressof(asked), ctypes.addressof(content)
    call_bpf(2, struct.pack("=I4xQQQ", descriptor, *places, 0))


def made(kind: int, key: int, value: int, most: int) -> int:
    return call_bpf(0, struct.pack("=IIIIIII16s", kind, key, value, most, 0, 0, 0, b"probe"))[0]


@bpf
def test_values_of_a_map_by_its_id() -> None:
    with new_map(LOOT.encode()) as room:
        put(room, struct.pack("=I", 1), b"secret\0\0")
        (row,) = (row for row in objects("map") if row["name"] == LOOT)
        assert "values" not in row
        (row,) = objects("map", [row["id"]], with_values={row["id"]})
    assert row["values"] == [
        {"key": f"0{number}000000", "value": "secret" if number == 1 else ""} for number in range(3)
    ]
    assert "valuesCut" not in row


@bpf
@pytest.mark.parametrize("size", [4, 4096])
def test_the_first_values_of_a_large_map(size: int) -> None:
    with closing(made(1, 4, size, 1000)) as room:
        for number in range(500):
            put(room, struct.pack("=I", number), b"x" * size)
        found = values(call_bpf, room, "hash", 4, size)
    assert found["valuesCut"] and 0 < len(found["values"]) <= MAX_VALUES
    assert found["values"][0]["value"] == "x" * size


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [("percpu_array", 4, 4), ("queue", 0, 4), ("hash", 4, 5000), ("array", 0, 4)],
)
def test_maps_that_are_not_read(kind: str, key: int, value: int) -> None:
    assert values(call_bpf, -1, kind, key, value) == {}


def test_values_that_go_meanwhile() -> None:
    def vanishing(command: int, attributes: bytes) -> Any:
        if command == 1:
            raise OSError(errno.ENOENT, "gone")
        return 0, attributes

    found = values(vanishing, 3, "hash", 4, 4)
    assert found == {"values": [], "valuesCut": True}  # of more keys than are asked for


@pytest.mark.parametrize("refused", [1, 4])
def test_a_map_that_the_kernel_does_not_show_is_not_taken_for_an_empty_one(refused: int) -> None:
    def refusing(command: int, attributes: bytes) -> Any:
        if command == refused:
            raise OSError(errno.EPERM, "made with BPF_F_WRONLY")
        return 0, attributes

    assert values(refusing, 3, "hash", 4, 4) == {"values": [], "valuesCut": True}
