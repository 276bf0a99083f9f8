"""What a CRI runtime says, taken as it is."""

from __future__ import annotations

import json

import pytest

from collector.cri._proto import containerd_pb2 as containerd
from collector.cri._proto import runtime_pb2 as cri
from collector.cri.inspection import describe, destinations, details, refuse_if_sandboxed
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
