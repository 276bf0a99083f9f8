"""What a recording may cost: memory while it runs, and bytes in the bundle."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class RecordingLimits:
    """Of one container's recording."""

    rows: int = 500_000
    """Events in the file; what happens again within one interval is one of them."""
    size: int = 128 * MIB
    """Bytes of all events together, before compression."""
    waiting: int = 8192
    """Events in memory, not yet stored."""
    waiting_size: int = 8 * MIB
    """Bytes in memory, not yet stored; as much for packets."""
    names: int = 20_000
    """Files of which it is known that they were written, for the remarks of the archive."""
    packets: int = 256 * MIB
    """Bytes of packets, before compression."""
    snaplen: int = 65_535
    """Bytes kept of one packet."""
    sockets: int = 16_384
    """Sockets of one network namespace that are compared."""
    interval: float = 0.25
    """Seconds between two looks at what is looked at: sockets, and processes where the kernel does
    not tell of them. Each look is followed by at least four times its own length without one."""
