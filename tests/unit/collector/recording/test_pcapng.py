"""The blocks of a pcapng file are what its specification says."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from collector.recording import pcapng
from collector.recording.pcapng import Direction, link_type


def blocks(data: bytes) -> Iterator[tuple[int, bytes]]:
    while data:
        kind, length = struct.unpack_from("<II", data)
        assert length % 4 == 0 and data[length - 4 : length] == struct.pack("<I", length)
        yield kind, data[8 : length - 4]
        data = data[length:]


def options(data: bytes) -> dict[int, bytes]:
    found = {}
    while data:
        kind, length = struct.unpack_from("<HH", data)
        found[kind] = data[4 : 4 + length]
        data = data[4 + length + -length % 4 :]
    return found


def test_a_file_with_one_packet() -> None:
    data = pcapng.section() + pcapng.interface("eth0", link_type(1), 65535)
    data += pcapng.packet(0, 2**33 + 5, b"odd", 100, Direction.OUT) + pcapng.statistics(0, 7, 3)
    section, interface, packet, statistics = blocks(data)
    assert section[0] == 0x0A0D0D0A and section[1][:4] == struct.pack("<I", 0x1A2B3C4D)
    assert interface[1][:8] == struct.pack("<HHI", 1, 0, 65535)
    assert options(interface[1][8:]) == {2: b"eth0", 9: b"\x09", 0: b""}
    assert struct.unpack_from("<IIIII", packet[1]) == (0, 2, 5, 3, 100)
    assert packet[1][20:24] == b"odd\0" and options(packet[1][24:])[2] == struct.pack("<I", 2)
    assert options(statistics[1][12:])[5] == struct.pack("<Q", 3)


def test_tunnels_have_no_head_and_what_is_unknown_is_said_to_be() -> None:
    assert [link_type(number) for number in (1, 772, 0xFFFE, 4711)] == [1, 1, 101, 147]
