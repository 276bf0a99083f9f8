"""What a CRI runtime says, taken as it is."""

from __future__ import annotations

import json

import pytest

from collector.cri._proto import containerd_pb2 as containerd
from collector.cri._proto import runtime_pb2 as cri
from collector.cri.inspection import (
    describe,
    destinations,
    details,
    exec_session,
    exec_sessions,
    refuse_if_sandboxed,
)
from collector.runtimes.runtime import ContainerInfo
from forensics_core.errors import UsageError


def described(info: str, task: containerd.Process | None = None) -> ContainerInfo:
    said = cri.ContainerStatusResponse(
        status=cri.ContainerStatus(
            id="abc", metadata=cri.ContainerMetadata(name="web"), state=cri.CONTAINER_RUNNING
        ),
        info={"info": info},
    )
    pod = cri.PodSandbox(id="p", runtime_handler="runc")
    return describe("containerd", said, pod, task)


def test_the_process_is_what_containerd_says() -> None:
    task = containerd.Process(pid=42, status=containerd.TASK_PAUSED)
    assert described('{"pid": 7}').pid == 7
    found = described('{"pid": 7}', task)
    assert (found.pid, found.state) == (42, "paused")


@pytest.mark.parametrize("garbage", ["{", "[]", "null", '{"pid": "7"}', '{"pid": -1}', "[" * 10**5])
def test_garbage_is_kept_and_believed_nothing_of(garbage: str) -> None:
    found = described(garbage)
    assert found.pid is None and json.loads(found.document)["sandbox"]["id"] == "p"
    assert isinstance(details(found), dict)


@pytest.mark.parametrize(
    ("handler", "kind", "product"),
    [
        ("kata-qemu", "", "Kata"),
        ("", "io.containerd.kata.v2", "Kata"),
        ("gvisor", "", "gVisor"),
        ("", "io.containerd.runsc.v1", "gVisor"),
    ],
)
def test_sandboxed_runtimes_are_refused(handler: str, kind: str, product: str) -> None:
    found = described(json.dumps({"runtimeType": kind}))
    with pytest.raises(UsageError, match=f"'web' runs in {product}"):
        refuse_if_sandboxed(found, handler)
    refuse_if_sandboxed(described('{"runtimeType": "io.containerd.runc.v2"}'), "runc")


def test_destinations_come_from_the_specification() -> None:
    spec = {"mounts": [{"destination": "/proc"}, "odd"]}
    assert destinations(spec) == {"/proc", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"}
    assert "/proc" not in destinations({"mounts": None})


def test_exec_sessions_are_those_that_the_shim_names() -> None:
    details = containerd.ProcessDetails(exec_id="session-1").SerializeToString()
    kind = "types.containerd.io/containerd.runc.v1.ProcessDetails"
    said = containerd.ListPidsResponse(
        processes=[
            containerd.ProcessInfo(pid=7),
            containerd.ProcessInfo(pid=8, info=containerd.Typed(type_url=kind, value=details)),
            containerd.ProcessInfo(pid=9, info=containerd.Typed(type_url=kind, value=b"\xff")),
            containerd.ProcessInfo(pid=10, info=containerd.Typed(type_url=kind)),
            containerd.ProcessInfo(pid=11, info=containerd.Typed(type_url="x", value=details)),
        ]
    )
    assert exec_sessions(said) == [(8, "session-1")]


def test_an_exec_session_is_told_whole() -> None:
    task = containerd.Process(id="session-1", status=containerd.TASK_STOPPED, terminal=True)
    found = exec_session(8, task)
    assert (found["id"], found["running"], found["terminal"]) == ("session-1", False, True)
    assert found["command"] is None and found["said"]["status"] == "TASK_STOPPED"


def test_a_container_was_made_when_its_pod_was() -> None:
    status = cri.ContainerStatus(id="abc", created_at=7 * 10**9)
    said = cri.ContainerStatusResponse(status=status)
    assert describe("containerd", said, None).made == 7
    assert describe("containerd", said, cri.PodSandbox(created_at=3 * 10**9)).made == 3
    assert describe("containerd", cri.ContainerStatusResponse(), None).made == 0
