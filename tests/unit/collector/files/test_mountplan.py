"""What becomes of a mount, by the kernel's table and what the runtime says."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from collector.files.mounted import SeenMount, Survey, is_memory, measure_all
from collector.files.mountplan import MAX_RUNTIME_FILE, PlannedMount, State, plan
from collector.files.mounttable import holder, parse_table
from collector.node.deletedfiles import SharedDescriptor
from collector.runtimes.declared import Declared, declared
from collector.runtimes.runtime import ContainerInfo

TABLE = rb"""72 48 0:39 / / rw,relatime master:2 - overlay overlay rw,upperdir=/u
73 72 0:42 / /proc rw - proc proc rw
74 72 0:43 / /dev rw,nosuid - tmpfs tmpfs rw,size=65536k
54 73 0:43 /null /proc/keys rw,nosuid - tmpfs tmpfs rw
88 74 0:47 / /dev/shm rw - tmpfs shm rw
90 72 0:60 / /secret rw - tmpfs tmpfs rw
91 72 0:60 / /copy\040of\040it rw - tmpfs tmpfs rw
92 72 254:0 /hosts /etc/hosts rw - ext4 /dev/vda rw
93 72 0:70 / /mnt rw - fuse.evil evil rw
94 93 0:71 / /mnt/in rw - tmpfs tmpfs rw
95 72 0:80 /run/x /x rw - tmpfs tmpfs rw
cut
"""


def seen(table: bytes = TABLE, space: bytes = b"mnt:[1]") -> Survey:
    mounts = [SeenMount(mount, 7, mount.point, space) for mount in parse_table(table)]
    return Survey(mounts, spaces={(space, b"/"): 7})


def planned(found: Survey, told: tuple[Declared, ...] = ()) -> dict[bytes, PlannedMount]:
    return {each.path: each for each in plan(found, told, "running")}


def test_the_table_is_understood() -> None:
    mounts = list(parse_table(TABLE))
    assert len(mounts) == 11 and mounts[6].point == b"/copy of it"
    assert mounts[0].options == b"rw,relatime,rw,upperdir=/u"
    for path, point in ((b"/dev/shm/x", b"/dev/shm"), (b"/devil", b"/"), (b"/dev", b"/dev")):
        found = holder(path, mounts)
        assert found and found.point == point
    assert holder(b"x", mounts) is None


def test_each_mount_has_its_fate() -> None:
    found = seen()
    found.mounts[7].is_file, found.mounts[7].size = True, 10
    fates = planned(found, (Declared("/secret", "bind", "/var/lib/kubelet/secret"),))
    states = {path.decode(): str(each.state) for path, each in fates.items()}
    assert states == {
        "/": "root",
        "/proc": "kernel",
        "/dev": "captured",
        "/proc/keys": "captured",
        "/dev/shm": "captured",
        "/secret": "missing",
        "/copy of it": "missing",  # the same file system: a Secret does not come in by the back
        "/etc/hosts": "captured",
        "/mnt": "missing",
        "/mnt/in": "captured",
        "/x": "missing",
    }
    assert fates[b"/proc/keys"].same_as == b"/dev/null" and not fates[b"/proc/keys"].to_read
    assert fates[b"/secret"].volume and fates[b"/copy of it"].volume
    assert fates[b"/x"].source == b"tmpfs[/run/x]"


def test_what_was_deleted_after_it_was_bound_is_captured_where_it_is_bound() -> None:
    table = rb"""72 48 0:39 / / rw - overlay overlay rw,upperdir=/u
80 72 0:39 /opt/tool//deleted /srv/a rw - overlay overlay rw,upperdir=/u
81 72 0:39 /opt/other /srv/b rw - overlay overlay rw,upperdir=/u
"""
    fates = planned(seen(table))
    assert (fates[b"/srv/a"].state, fates[b"/srv/a"].same_as) == (State.CAPTURED, b"")
    assert fates[b"/srv/b"].outcome.reason == "MountedTwice"


def test_what_may_hang_is_not_touched_nor_what_lies_behind_it() -> None:
    found = seen()
    measure_all(found.mounts)  # nothing of process 7 is looked at
    by_path = {each.path: each for each in found.mounts}
    assert "may hang" in by_path[b"/mnt"].obstacle
    assert "leads through" in by_path[b"/mnt/in"].obstacle and not is_memory(by_path[b"/mnt/in"])
    assert planned(found)[b"/mnt/in"].outcome.reason == "Unreadable"


def test_a_runtime_file_that_was_filled_up_is_missing_from_what_was_asked_for() -> None:
    found = seen()
    found.mounts[7].is_file, found.mounts[7].size = True, MAX_RUNTIME_FILE + 1
    outcome = planned(found)[b"/etc/hosts"].outcome
    assert (outcome.state, outcome.reason, outcome.asked) == (State.MISSING, "TooLarge", True)


def test_a_tmpfs_over_the_root_is_no_root() -> None:
    found = seen(TABLE + b"99 72 0:99 / / rw - tmpfs tmpfs rw\n")
    fates = [each.outcome for each in plan(found, (), "running") if each.path == b"/"]
    assert [outcome.state for outcome in fates] == [State.ROOT, State.MISSING]
    assert fates[1].reason == "Stacked"


@pytest.mark.parametrize(
    ("row", "state", "reason"),
    [
        (Declared("/proc", "proc", "proc"), State.KERNEL, ""),
        (Declared("/etc/hosts", "bind", "/var/hosts"), State.CAPTURED, ""),
        (Declared("/cache", "tmpfs", "tmpfs"), State.MISSING, "Gone"),
        (Declared("/data", "bind", "/srv"), State.MISSING, "NotSupported"),
    ],
)
def test_an_ended_container_by_what_its_runtime_says(
    row: Declared, state: State, reason: str
) -> None:
    (each,) = plan(Survey(), [row], "exited")
    assert (each.state, each.outcome.reason) == (state, reason)
    assert each.row()["path"] == row.path
    (far,) = plan(Survey(), [row], "running", remote=True)
    assert far.state is (State.KERNEL if row.kind == "proc" else State.MISSING)
    (hidden,) = plan(Survey(), [row], "running")
    assert hidden.outcome.reason in {"", "NotVisible"}


def container(document: Any) -> ContainerInfo:
    text = json.dumps(document).encode()
    return ContainerInfo("docker://4f2a", "web", "", "", "running", None, (), text)


def test_what_docker_declares() -> None:
    rows = declared(
        container(
            {
                "HostsPath": "/var/h",
                "HostnamePath": "",
                "HostConfig": {"Tmpfs": {"/t": ""}, "IpcMode": "host"},
                "Mounts": [
                    {"Type": "volume", "Source": "/v", "Destination": "/data"},
                    {"Type": "tmpfs", "Destination": "/m"},
                    "nonsense",
                ],
            }
        )
    )
    assert {row.path: (row.kind, row.is_volume) for row in rows} == {
        "/etc/hosts": ("bind", False),
        "/t": ("tmpfs", False),
        "/dev/shm": ("bind", True),  # the machine's own
        "/data": ("volume", True),
        "/m": ("tmpfs", False),
    }


def test_what_an_oci_specification_declares() -> None:
    mounts = [
        {"destination": "/dev/shm", "type": "bind", "source": "/run/containerd/x/shm"},
        {"destination": "/data", "type": "bind", "source": "/srv"},
        {"destination": "relative", "type": "bind", "source": "/srv"},
    ]
    rows = declared(container({"info": {"info": {"runtimeSpec": {"mounts": mounts}}}}))
    assert [(row.path, row.is_volume) for row in rows] == [("/dev/shm", False), ("/data", True)]


@pytest.mark.parametrize("document", [[], {}, {"Mounts": 5}, {"info": {"info": []}}])
def test_a_runtime_that_says_nothing(document: Any) -> None:
    assert declared(container(document)) == []


ELSEWHERE = rb"""99 98 0:39 / / rw - overlay overlay rw
100 99 0:90 / /srv rw - tmpfs tmpfs rw
101 99 0:60 / /mnt rw - tmpfs tmpfs rw
102 99 0:47 / /shm rw - tmpfs shm rw
103 99 254:0 /data /data rw - ext4 /dev/vda rw
"""


def test_file_systems_in_memory_that_only_some_processes_see() -> None:
    found = seen()
    found.mounts += [
        SeenMount(mount, 9, mount.point, b"mnt:[2]") for mount in parse_table(ELSEWHERE)
    ]
    fates = planned(found, secret())
    theirs = fates[b"/(kept)/9/root/srv"]
    assert theirs.to_read and theirs.row()["namespace"] == "mnt:[2]"
    # What all see is there already; of a Secret, and of what is no memory, nothing comes that way.
    assert fates[b"/(kept)/9/root/shm"].same_as == b"/dev/shm"
    for path in (b"/mnt", b"/data"):
        (outcome,) = (
            each.outcome
            for each in plan(found, secret(), "running")
            if each.path == path and each.seen and each.seen.space == b"mnt:[2]"
        )
        assert outcome.reason == "OtherNamespace"


def secret() -> tuple[Declared, ...]:
    return (Declared("/secret", "bind", "/var/lib/kubelet/secret"),)


def test_what_another_mount_covers_has_a_name_of_its_own() -> None:
    table = b"".join(b"%d 72 0:%d / /t rw - tmpfs tmpfs rw\n" % (n, n) for n in (200, 201, 202))
    found = seen(TABLE + table)
    places = [SharedDescriptor(os.open("/", os.O_PATH)) for _ in range(2)]
    for mount, place in zip(found.mounts[-3:], places, strict=False):
        mount.covered = place
    fates = planned(found)
    assert [fates[path].place for path in (b"/t (covered)", b"/t (covered 2)")] == places
    assert fates[b"/t"].to_read and fates[b"/t"].place is None
