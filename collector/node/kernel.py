"""What the kernel says of itself: its version, how it was started, what taints and guards it.

Source: proc(5), Documentation/admin-guide/tainted-kernels.rst, kernel_lockdown(7)
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from collector.documents import portable
from collector.node.netlink_fields import NetlinkRow
from collector.node.procfs import host_proc

SECURITYFS = Path("/sys/kernel/security")
_FILE = 64 * 1024
_TAINTS = (
    *("proprietary module", "forced module", "out of specification", "forced unload"),
    *("machine check", "bad page", "user request", "died", "ACPI table overridden", "warning"),
    *("staging driver", "firmware workaround", "out-of-tree module", "unsigned module"),
    *("soft lockup", "live patch", "auxiliary", "randomised structs", "kernel test"),
    "mutating firmware calls",
)
_LETTERS = "PFSRMBUDAWCIOELKXTNJ"
SYSCTLS = (
    *("kernel/core_pattern", "kernel/core_uses_pid", "kernel/dmesg_restrict", "kernel/hostname"),
    *("kernel/kexec_load_disabled", "kernel/kptr_restrict", "kernel/modprobe"),
    *("kernel/modules_disabled", "kernel/perf_event_paranoid", "kernel/randomize_va_space"),
    *("kernel/sysrq", "kernel/unprivileged_bpf_disabled", "kernel/unprivileged_userns_clone"),
    *("kernel/yama/ptrace_scope", "kernel/ftrace_enabled", "kernel/kprobes-optimization"),
    *("kernel/poweroff_cmd", "kernel/hotplug", "kernel/cap_last_cap", "kernel/io_uring_disabled"),
    *("user/max_user_namespaces", "vm/unprivileged_userfaultfd", "vm/mmap_min_addr"),
    *("net/core/bpf_jit_enable", "net/core/bpf_jit_harden", "fs/suid_dumpable"),
    *("fs/protected_hardlinks", "fs/protected_symlinks", "fs/protected_regular"),
    *("fs/binfmt_misc/status", "debug/kprobes-optimization"),
)
"""What decides how far somebody gets on the node, and what runs as root on their behalf."""
HOOKS = {
    "kprobes": Path("/sys/kernel/debug/kprobes/list"),
    "ftrace": Path("/sys/kernel/tracing/enabled_functions"),
}
"""Functions of the kernel that something hangs in, where these file systems are mounted."""
_STATUS = re.compile(rb"\[(\w+)\]")


def describe_kernel(security: Path = SECURITYFS) -> NetlinkRow:
    """Return what can be read; a file that is not there, or refuses, is null. It blocks."""
    proc = host_proc()
    lockdown = _read(security / "lockdown")
    chosen = _STATUS.search(lockdown or b"")
    return {
        "version": _text(proc / "version"),
        "release": _text(proc / "sys/kernel/osrelease"),
        "commandLine": _text(proc / "cmdline"),
        "bootId": _text(proc / "sys/kernel/random/boot_id"),
        "uptime": _text(proc / "uptime"),
        "bootTime": _boot_time(proc),
        "taint": decode_taint(taint(proc)),
        "securityModules": _text(security / "lsm"),
        "lockdown": chosen[1].decode() if chosen else None,
        "selinux": _text(Path("/sys/fs/selinux/enforce")),
        "apparmor": _text(Path("/sys/module/apparmor/parameters/enabled")),
        "sysctls": {name: _text(proc / "sys" / name) for name in SYSCTLS},
        "hooks": {name: _text(place) for name, place in HOOKS.items()},
    }


def taint(proc: Path | None = None) -> int:
    """Return the kernel's taint; 0 where it is not told."""
    told = _read((proc or host_proc()) / "sys/kernel/tainted") or b""
    return int(told) if told.strip().isdigit() else 0


def decode_taint(value: int) -> NetlinkRow:
    """Return a taint with the letter and the words of each of its bits."""
    places = [place for place in range(value.bit_length()) if value >> place & 1]
    return {
        "value": value,
        "flags": [
            {"bit": place, "letter": _LETTERS[place], "meaning": _TAINTS[place]}
            if place < len(_TAINTS)
            else {"bit": place, "letter": "", "meaning": "unknown"}
            for place in places
        ],
    }


def _boot_time(proc: Path) -> int | None:
    match = re.search(rb"^btime (\d+)$", _read(proc / "stat") or b"", re.MULTILINE)
    return int(match[1]) if match else None


def _text(place: Path) -> object:
    content = _read(place)
    return None if content is None else portable(content.strip())


def _read(place: Path) -> bytes | None:
    with suppress(OSError), place.open("rb") as file:
        return file.read(_FILE)
    return None
