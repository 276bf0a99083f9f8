"""What the node says of a pod: its kernel, its network's tables, its runtime's events."""

from __future__ import annotations

import errno
import json
import os
import platform
import socket
import struct
import subprocess
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import anyio
import pytest
from anyio import to_thread

from collector.artifacts import node, node_network
from collector.artifacts.node_capture import NodeCapture
from collector.artifacts.node_runtime import spell_buffer, write_runtime
from collector.attempt import Attempt
from collector.capture import capture
from collector.container import ContainerCapture
from collector.docker.runtime import DockerRuntime
from collector.local import CaptureOptions
from collector.node.ebpf import call_bpf
from collector.node.host import Host
from collector.node.kernel_log import KernelLog
from collector.node.modules import Modules
from collector.node.procfs import Process, machine_network
from collector.node.tables import Tables
from collector.runtimes.runtime import Runtime, RuntimeEvents, Unavailable
from forensics_core.api.order import ArtifactKind, Compression
from forensics_core.bundle.fetch import fetch
from forensics_core.bundle.manifest import Flag
from forensics_core.bundle.reader import open_bundle
from forensics_core.bundle.verify import verify
from forensics_core.bundle.writer import BundleWriter
from forensics_core.errors import DestinationFull, SourceError
from forensics_core.storage.local import LocalStorage
from lab.docker import DockerEngine
from tests.integration.collector.conftest import Bundle
from tests.integration.collector.folder_container import CONTAINER
from tests.integration.collector.test_capture import collect
from tests.integration.collector.test_trouble import order_for
from tests.unit.collector.node.bpf_objects import (
    EVIL,
    LOOT,
    bpf_is_permitted,
    closing,
    new_map,
    program,
)
from tests.unit.collector.node.namespaces import MAKES_RULES, new_network, space_of, within

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="of other namespaces")

OF_PROCESSES = {"node/kernel.json", "node/ebpf.json", "node/runtime.json"}
OF_NETWORK = {"node/network.json", "node/firewall.json", "node/conntrack.json"}
VOLATILE = CaptureOptions((ArtifactKind.PROCESSES, ArtifactKind.NETWORK))
INTRUDER = """
ip link set lo up
ip route add 198.51.100.0/24 dev lo
iptables-legacy -A OUTPUT -d 203.0.113.8 -j DROP
iptables -A OUTPUT -m conntrack --ctstate NEW -d 127.0.0.1 -j ACCEPT
iptables -A OUTPUT -d 203.0.113.7 -p tcp --dport 4444 -j DROP
"""


def inside(pid: int, script: str) -> None:
    """Run programs of this machine in a process's network namespace."""
    command = ["nsenter", f"--net=/proc/{pid}/ns/net", "sh", "-ec", script]
    subprocess.run(command, check=True)


def spy(pid: int) -> socket.socket:
    """Make a socket in a process's network namespace that hears every packet; this process holds
    it. Something is sent there, too."""

    def make() -> socket.socket:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.sendto(b"x", ("127.0.0.1", 4446))
        return socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))

    return within(pid, make)


def of_node(bundle: Bundle) -> dict[str, Any]:
    """Return what is in the files of the node, by their names without folder and ending."""
    return {path.stem: json.loads(path.read_bytes()) for path in (bundle.folder / "node").iterdir()}


def lacking(bundle: Bundle) -> dict[str, str]:
    found = bundle.capture.not_captured
    return {gap.what: gap.reason for gap in found if gap.what.startswith("node/")}


@pytest.mark.skipif(not MAKES_RULES, reason="makes firewall rules")
async def test_what_an_intruder_did_to_the_network_of_two_containers_is_there_once(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    name = f"web-{uuid4().hex[:6]}"
    async with docker.container(image, name=name) as one:
        shared = {"NetworkMode": f"container:{one}", "LogConfig": {"Type": "json-file"}}
        async with docker.container(image, name=f"{name}-2", HostConfig=shared) as two:
            pid = await docker.pid(one)
            await to_thread.run_sync(inside, pid, INTRUDER)
            with await to_thread.run_sync(spy, pid) as held:
                inode = os.fstat(held.fileno()).st_ino
                result = await collect(bundle, one, two, options=VOLATILE)
    assert not result.partial
    found = of_node(bundle)
    (network,) = found["network"]["namespaces"]
    assert set(network["containers"]) == {name, f"{name}-2"} and not network["host"]
    assert "198.51.100.0" in {row.get("destination") for row in network["routes"]}
    (packet,) = (row for row in network["sockets"] if row["inode"] == inode)
    assert packet["protocol"] == "packet" and os.getpid() in packet["pids"]
    (firewall,) = found["firewall"]["namespaces"]
    rules = json.dumps(firewall["rules"])
    assert socket.inet_aton("203.0.113.7").hex() in rules and "115c" in rules
    assert "203.0.113.8/255.255.255.255" in json.dumps(firewall["legacy"])
    assert "-d 203.0.113.7/32" in firewall["saved"]["iptables-save"]
    (tracked,) = found["conntrack"]["namespaces"]
    assert 4446 in {row["original"]["destinationPort"] for row in tracked["entries"]}
    assert not (await verify(str(bundle.folder))).problems


async def test_what_the_kernel_and_the_runtime_say(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    async with docker.container(image) as container:
        await collect(bundle, container, options=VOLATILE)
    found = of_node(bundle)
    assert found["kernel"]["release"] == os.uname().release
    assert found["kernel"]["modules"]["disagreements"] == []
    rows = found["runtime"]["events"]["rows"]
    assert {"create", "start"} <= {row["Action"] for row in rows}
    assert {row["Actor"]["ID"] for row in rows} == {container}
    assert {a.name for a in bundle.capture.artifacts if a.container is None} == {
        "order.json",
        *OF_PROCESSES,
        *OF_NETWORK,
    }
    assert set(found["ebpf"]) - {"unavailable"} >= {"method"}


@pytest.mark.skipif(not bpf_is_permitted(), reason="this kernel makes no such objects for us")
async def test_a_program_of_ebpf_with_who_holds_it(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    async with docker.container(image) as container:
        with new_map(LOOT.encode()) as room, program(EVIL.encode(), uses=room):
            await collect(bundle, container, options=VOLATILE)
    found = of_node(bundle)["ebpf"]
    (row,) = (row for row in found["programs"] if row["name"] == EVIL)
    assert os.getpid() in row["pids"]
    (kept,) = (each for each in found["maps"] if each["id"] in row["maps"])
    assert kept["name"] == LOOT and os.getpid() in kept["pids"]


@pytest.mark.parametrize(
    ("kinds", "names"),
    [
        ((ArtifactKind.PROCESSES,), OF_PROCESSES),
        ((ArtifactKind.NETWORK,), OF_NETWORK),
        ((ArtifactKind.INSPECT,), set[str]()),
    ],
)
async def test_only_what_was_asked_for(
    kinds: tuple[ArtifactKind, ...],
    names: set[str],
    docker: DockerEngine,
    image: str,
    runtime: DockerRuntime,
    bundle: Bundle,
) -> None:
    async with docker.container(image) as container:
        await collect(bundle, container, options=CaptureOptions(kinds))
    assert {name for name in bundle.names() if name.startswith("node/")} == names


async def test_nothing_of_the_node_where_nothing_runs(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    async with docker.container(image) as container:
        await docker.stop(container)
        await collect(bundle, container)
    assert not (bundle.folder / "node").exists()
    assert lacking(bundle) == {"node/": "NotRunning"}


class Remote(DockerRuntime):
    """The engine, as if it ran on another machine."""

    @property
    def machine(self) -> Host | None:
        return None


async def test_a_node_that_is_another_machine_is_a_gap(
    docker: DockerEngine, image: str, bundle: Bundle
) -> None:
    async with docker.container(image) as container, docker.client() as client:
        order = order_for(container, ArtifactKind.PROCESSES)
        runtime = Remote(client, docker.host)
        result = await capture(order, runtime, LocalStorage(bundle.folder))
    assert lacking(bundle) == {"node/": "Remote"} and not result.partial


async def test_a_capture_whose_time_is_over_names_each_file(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle
) -> None:
    async with docker.container(image) as container:
        writer = BundleWriter(LocalStorage(bundle.folder))
        attempt = Attempt(order_for(container), runtime, writer)
        attempt.clock -= 3600
        async with attempt.opened():
            await attempt.capture_all()
    gaps = {gap.what: gap.reason for gap in writer.not_captured if gap.what.startswith("node/")}
    assert gaps.keys() >= OF_PROCESSES and gaps["node/network"] == "NotVisible"
    assert {gaps[name] for name in OF_PROCESSES} == {"Deadline"}


async def test_a_bundle_with_files_of_the_node_is_read_like_any_other(
    docker: DockerEngine, image: str, runtime: DockerRuntime, bundle: Bundle, tmp_path: Path
) -> None:
    async with docker.container(image) as container:
        await collect(bundle, container, options=VOLATILE)
    async with open_bundle(bundle.folder.as_uri()) as reader:
        assert {each.name for each in reader.statement.predicate.artifacts} >= OF_PROCESSES
    home = tmp_path / "home"
    await fetch(str(bundle.folder), home)
    assert (home / "node/kernel.json").read_bytes() == (
        bundle.folder / "node/kernel.json"
    ).read_bytes()


class Machine:
    """What the files of the node ask of a runtime."""

    machine: Host | None = Host()

    async def events(self, *_: object) -> RuntimeEvents:
        raise Unavailable("It keeps none", reason="NotSupported")


@pytest.fixture
async def scene(bundle: Bundle) -> NodeCapture:
    """A capture under way, of a container without processes."""
    writer = BundleWriter(LocalStorage(bundle.folder))
    runtime, deadline = cast(Runtime, Machine()), anyio.current_time() + 3600
    web = ContainerCapture("web", CONTAINER, runtime, writer, Compression.NONE, deadline)
    return NodeCapture([web], ("shop/web-0",), (CONTAINER,))


def gaps(scene: NodeCapture) -> dict[str, str]:
    return {gap.what: gap.reason for gap in scene.bundle.not_captured}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Unavailable("x", reason="Hung"), "Hung"),
        (SourceError("x"), "Unreadable"),
        (PermissionError(errno.EPERM, "\udcff"), "NotPermitted"),
        (IndexError("x"), "Unexpected"),
    ],
)
async def test_what_fails_costs_its_own_file_only(
    scene: NodeCapture, error: Exception, reason: str
) -> None:
    async def fail(_: NodeCapture) -> None:
        raise error

    await scene.attempt("kernel.json", fail)
    assert gaps(scene) == {"node/kernel.json": reason}


async def test_a_destination_that_is_full_ends_the_capture(scene: NodeCapture) -> None:
    async def fail(_: NodeCapture) -> None:
        raise DestinationFull("x")

    with pytest.raises(DestinationFull):
        await scene.attempt("kernel.json", fail)


async def test_what_takes_too_long_is_a_gap(scene: NodeCapture) -> None:
    async def wait(_: NodeCapture) -> None:
        scene.captures[0].stop.request()
        await anyio.sleep_forever()

    await scene.attempt("kernel.json", wait)
    assert gaps(scene) == {"node/kernel.json": "Interrupted"}


async def test_namespaces_that_are_gone_or_refuse(
    scene: NodeCapture, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scene.captures[0].namespaces = {b"net:[1]": [2**22 - 1, os.getpid()]}
    await node_network.collect(scene)
    names = ("network.json", "conntrack.json", "firewall.json")
    assert gaps(scene) == {f"node/{name}, namespace net:[1]": "Gone" for name in names}
    assert bundle.json("node/network.json")["namespaces"] == []


async def test_more_namespaces_than_are_read(scene: NodeCapture) -> None:
    spaces = {b"net:[%d]" % number: [2**22 - 1] for number in range(70)}
    scene.captures[0].namespaces = spaces
    await node_network.collect(scene)
    assert gaps(scene)["node/network.json, namespaces"] == "TooMany"


@pytest.mark.skipif(not MAKES_RULES, reason="makes firewall rules")
async def test_files_are_cut_at_their_limit(scene: NodeCapture, bundle: Bundle) -> None:
    scene.limit = 50
    with new_network("iptables -A OUTPUT -j DROP") as pid:
        scene.captures[0].namespaces = {space_of(pid): [pid]}
        await node_network.collect(scene)
    assert gaps(scene)["node/network.json, its rest"] == "TooLarge"
    (row,) = bundle.json("node/network.json")["namespaces"]
    assert "links" in row["truncated"] and row["links"] == []
    flags = {each.name: each.flags for each in scene.bundle.artifacts}
    assert flags["node/network.json"] == (Flag.TRUNCATED,)


async def test_connections_of_the_node_that_are_the_pods(
    scene: NodeCapture, bundle: Bundle
) -> None:
    script = "ip link add name eth7 type bridge; ip address add 192.0.2.7/24 dev eth7"
    with new_network(script) as pid:
        scene.captures[0].namespaces = {space_of(pid): [pid]}
        await node_network.collect(scene)
    own, of_the_node = bundle.json("node/conntrack.json")["namespaces"]
    assert own["entries"] == [] and of_the_node["host"] and of_the_node["containers"] == {}
    assert of_the_node["addresses"] == ["192.0.2.7"] and of_the_node["entries"] == []


async def test_a_table_that_changed_and_objects_that_are_refused(scene: NodeCapture) -> None:
    file = node_network.NamespacesFile(scene, "network.json", "netlink")
    space = b"net:[1]"
    file.heads[space], file.tables[space] = {"namespace": "net:[1]"}, Tables(10)
    file.tables[space].changed.append("routes")
    file.tables[space].note_missing("rules", "NotPermitted", "not you")
    await file.store()
    assert gaps(scene) == {
        "node/network.json, its order": "ChangedWhileRead",
        "node/network.json, rules": "NotPermitted",
    }


async def test_modules_that_can_be_compared_by_two_ways_only(
    scene: NodeCapture, bundle: Bundle
) -> None:
    found = {"proc": {"one"}, "sysfs": {"one", "two"}}
    scene.modules = Modules(found=found, unavailable={"kallsyms": "refused"})
    await scene.attempt("kernel.json", node.write_kernel)
    told = bundle.json("node/kernel.json")["modules"]
    assert told["disagreements"] == [{"module": "two", "shownBy": ["sysfs"], "missingIn": ["proc"]}]
    assert gaps(scene) == {"node/kernel.json, modules by kallsyms": "Unreadable"}
    assert scene.symbols is None


async def test_objects_of_ebpf_beyond_the_limit(scene: NodeCapture, bundle: Bundle) -> None:
    if not bpf_is_permitted():
        pytest.skip("this kernel makes no such objects for us")
    scene.limit = 10
    with program(EVIL.encode()):
        await scene.attempt("ebpf.json", node.write_ebpf)
    assert gaps(scene)["node/ebpf.json, its rest"] == "TooLarge"
    assert bundle.json("node/ebpf.json")["programs"] == []


async def test_values_of_maps_that_are_not_all_there_are_told(
    scene: NodeCapture, bundle: Bundle
) -> None:
    if not bpf_is_permitted():
        pytest.skip("this kernel makes no such objects for us")
    scene.captures[0].namespaces = {space_of(os.getpid()): [os.getpid()]}
    with closing(call_bpf(0, struct.pack("=IIIIIII16s", 2, 4, 5000, 1, 0, 0, 0, b"big"))[0]):
        await node.look_at_holders(scene)
        await scene.attempt("ebpf.json", node.write_ebpf)
    assert gaps(scene)["node/ebpf.json, values"] == "TooLarge"


async def test_parts_of_the_runtimes_word_that_cannot_be_had(
    scene: NodeCapture, bundle: Bundle, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    (root / "var/log/journal/1").mkdir(parents=True)
    (root / "var/log/journal/1/system.journal").write_bytes(b"nothing of the sort")
    (tmp_path / "self").mkdir()
    (tmp_path / "self/root").symlink_to(root)
    cast(Machine, scene.runtime).machine = Host(tmp_path / "self")
    await write_runtime(scene)
    assert {what: why for what, why in gaps(scene).items() if "kernelLog" not in what} == {
        "node/runtime.json, events": "NotSupported",
        "node/runtime.json, nodeLog": "NotSupported",
        "node/runtime.json, /var/log/journal/1/system.journal": "Unreadable",
    }
    assert bundle.json("node/runtime.json")["events"] is None


class Forgetful(Machine):
    """An engine that remembers no more."""

    async def events(self, *_: object) -> RuntimeEvents:
        return RuntimeEvents(b'{"Type": "container"}', cut=True)


async def test_events_and_lines_of_logs_that_may_be_missing_are_told(
    scene: NodeCapture, bundle: Bundle, tmp_path: Path
) -> None:
    (tmp_path / "root/var/log").mkdir(parents=True)
    (tmp_path / "root/var/log/syslog").touch()
    (tmp_path / "root/var/log/syslog.1.gz").touch()
    (tmp_path / "root/var/log/kern.log").mkdir()
    (tmp_path / "self").mkdir()
    (tmp_path / "self/root").symlink_to(tmp_path / "root")
    scene.captures[0].runtime = cast(Runtime, Forgetful())
    cast(Machine, scene.runtime).machine = Host(tmp_path / "self")
    await write_runtime(scene)
    told = gaps(scene)
    assert told["node/runtime.json, older events"] == "TooMany"
    assert told["node/runtime.json, nodeLog, older lines"] == "TooLarge"
    assert len(bundle.json("node/runtime.json")["events"]["rows"]) == 1


async def test_lines_of_the_kernel_that_are_missing_are_told(scene: NodeCapture) -> None:
    assert spell_buffer(scene, KernelLog("kmsg", [])) == {"source": "kmsg", "rows": []}
    assert not gaps(scene)
    spell_buffer(scene, KernelLog("kmsg", [], lost=True))
    assert gaps(scene) == {"node/runtime.json, kernelLog, its rest": "TooLarge"}


async def test_lines_of_the_nodes_log_about_the_pod(
    scene: NodeCapture, bundle: Bundle, tmp_path: Path
) -> None:
    (tmp_path / "root/var/log").mkdir(parents=True)
    (tmp_path / "root/var/log/syslog").write_text("kubelet: shop/web-0 started\nother\n")
    (tmp_path / "self").mkdir()
    (tmp_path / "self/root").symlink_to(tmp_path / "root")
    cast(Machine, scene.runtime).machine = Host(tmp_path / "self")
    await write_runtime(scene)
    (file,) = bundle.json("node/runtime.json")["nodeLog"]
    assert file["lines"] == ["kubelet: shop/web-0 started"]


async def test_the_nodes_own_namespace(scene: NodeCapture, bundle: Bundle) -> None:
    own = space_of(os.getpid())
    scene.captures[0].namespaces = {own: [os.getpid()]}
    cast(Machine, scene.runtime).machine = None
    await node_network.collect(scene)
    (row,) = bundle.json("node/conntrack.json")["namespaces"]
    machine = await to_thread.run_sync(machine_network)
    assert row["host"] == (own == machine)
    assert "saved" not in bundle.json("node/firewall.json")["namespaces"][0]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (PermissionError(errno.EPERM, "x"), "NotPermitted"),
        (OSError(errno.EIO, "x"), "Unreadable"),
        (Unavailable("x", reason="Hung"), "Hung"),
    ],
)
async def test_a_namespace_that_cannot_be_read(
    scene: NodeCapture, error: Exception, reason: str
) -> None:
    def refuse(_: Tables, __: Process) -> dict[str, Any]:
        raise error

    file, own = node_network.NamespacesFile(scene, "network.json", "netlink"), space_of(os.getpid())
    await file.read(own, {}, [os.getpid()], refuse)
    assert gaps(scene) == {f"node/network.json, namespace {own.decode()}": reason}


async def test_more_open_files_than_are_looked_at(
    scene: NodeCapture, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.links = 1
    await scene.attempt("holders", node.look_at_holders)
    assert gaps(scene) == {"node/holders of sockets and programs": "TooMany"}


async def test_a_machine_whose_bpf_is_not_known(
    scene: NodeCapture, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "vax")
    await scene.attempt("ebpf.json", node.write_ebpf)
    each = ("programs", "maps", "links")
    assert gaps(scene) == {f"node/ebpf.json, {name}": "NotSupported" for name in each}
    assert set(bundle.json("node/ebpf.json")["unavailable"]) == set(each)


async def test_logs_of_a_machine_out_of_reach(scene: NodeCapture) -> None:
    cast(Machine, scene.runtime).machine = None
    await write_runtime(scene)
    assert gaps(scene)["node/runtime.json, nodeLog"] == "Remote"
