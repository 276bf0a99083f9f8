"""What the extended attribute `security.capability` of a file grants, as text.

decode(value)   # "cap_net_raw=ep", or "cap_net_raw=ep [rootid=100000]"

It is spelled as `getcap -n` does and `setcap` understands; `rootid` is the user that counts as root
where the capabilities hold, of a user namespace.

Source: capabilities(7), include/uapi/linux/capability.h, cap_to_text(3)
"""

from __future__ import annotations

import struct

ATTRIBUTE = b"security.capability"
_NAMES = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
]
"""By their numbers."""
_EFFECTIVE = 0x000001
_WORDS = {0x01000000: 1, 0x02000000: 2, 0x03000000: 2}
"""How many words of 32 capabilities each of the two sets has, by revision."""
_WITH_ROOT = 0x03000000


def decode(value: bytes) -> str:
    """Return what the attribute grants. What is no such attribute is `invalid`."""
    try:
        (magic,) = struct.unpack_from("<I", value)
        words = _WORDS[magic & 0xFF000000]
        numbers = struct.unpack_from(f"<{2 * words}I", value, 4)
        root = struct.unpack_from("<I", value, 4 + 8 * words) if _has_root(magic) else (0,)
    except (struct.error, KeyError):
        return "invalid"
    # Words of both sets take turns, the lower ones first.
    permitted = sum(number << 32 * place for place, number in enumerate(numbers[::2]))
    inheritable = sum(number << 32 * place for place, number in enumerate(numbers[1::2]))
    granted = _spelled(permitted, inheritable, bool(magic & _EFFECTIVE))
    return f"{granted} [rootid={root[0]}]" if root[0] else granted


def _has_root(magic: int) -> bool:
    return magic & 0xFF000000 == _WITH_ROOT


def _spelled(permitted: int, inheritable: int, effective: bool) -> str:
    """Return the capabilities by what they are in: `e`, `i`, `p`; `=` where there are none."""
    groups = {
        "ip": permitted & inheritable,
        "p": permitted & ~inheritable,
        "i": inheritable & ~permitted,
    }
    clauses = [
        f"{_named(bits)}={'e' if effective else ''}{flags}"
        for flags, bits in groups.items()
        if bits
    ]
    return " ".join(clauses) or "="


def _named(bits: int) -> str:
    """Return the names; nothing, which means all, where all that there are are set."""
    if bits & ALL == ALL:
        return ""
    numbers = (number for number in range(bits.bit_length()) if bits >> number & 1)
    return ",".join(
        f"cap_{_NAMES[number]}" if number < len(_NAMES) else str(number) for number in numbers
    )


ALL = (1 << len(_NAMES)) - 1
