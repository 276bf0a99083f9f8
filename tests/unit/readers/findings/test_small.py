"""The rules over documents in memory see what they see in a bundle, and nothing holds them up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from forensics_core._internal.flaws import Flaws
from forensics_core.bundle.documents import read_verified
from forensics_core.bundle.layout import MOUNTS_INDEX, container_file
from forensics_core.bundle.reader import open_bundle
from forensics_core.readers.context import POD
from forensics_core.readers.findings.documents import rows_in
from forensics_core.readers.findings.find import find
from forensics_core.readers.findings.finding import Rule
from forensics_core.readers.findings.node import KERNEL
from forensics_core.readers.findings.small import FILES, find_in
from tests.unit.readers.evidence import (
    DIFF,
    INSPECT,
    NETWORK,
    PROCESSES,
    change,
    process,
    socket,
    write_evidence,
)

ANY = "0.0.0.0"  # noqa: S104 - what the kernel says of a socket that listens everywhere


def never() -> None:
    """Nobody is in a hurry."""


async def traces(folder: Path) -> Path:
    mounted = folder.parent / "mounted"
    (mounted / "home/.ssh").mkdir(parents=True)
    (mounted / "home/.ssh/authorized_keys").write_text("key")
    layer = {"path": "/bin/sh", "difference": "content", "sha256": {"image": "a", "node": "b"}}
    return await write_evidence(
        folder,
        [
            change("/tmp/x", mode="0755"),
            change("/etc/cron.d/x"),
            change("/var/log/wtmp", "D"),
        ],
        [
            process(7, "/tmp/x"),
            process(8, "/tmp/x", environ=("API_KEY=1",)),
            process(9, "/dev/shm/.x/miner"),
            process(10, "/data"),
            process(11, "/database/bin/postgres"),
        ],
        [socket("LISTEN", (ANY, 4444), (ANY, 0), 7), socket("LISTEN", (ANY, 80), (ANY, 0), 8)],
        inspect={"Config": {"ExposedPorts": {"80/tcp": {}}}},
        mounts=[
            {"path": "/", "state": "root"},
            {"path": "/proc", "state": "kernel"},
            {"path": "/dev/shm", "state": "captured"},
            {"path": "/data/", "state": "missing"},
            {"path": 7},
        ],
        layers=[{"diffId": "sha256:1", "result": "differs", "differences": [layer]}],
        mounted=mounted,
    )


async def documents(folder: Path) -> dict[str, bytes]:
    async with open_bundle(str(folder)) as bundle:
        return {
            name: await read_verified(bundle, bundle.objects[name], limit=1 << 20)
            for name in (container_file("web", file) for file in FILES)
            if name in bundle.objects
        }


async def test_small_documents_tell_what_the_bundle_does(tmp_path: Path) -> None:
    folder = await traces(tmp_path / "bundle")
    async with open_bundle(str(folder)) as bundle:
        whole = await find(bundle)
    small = find_in(await documents(folder), ["web"], never)
    assert small.findings == whole.findings
    assert small.totals["web", Rule.RUNS_NOT_IN_IMAGE] == 4
    rules = {each.rule for each in small.findings}
    assert rules >= {Rule.LOG_REMOVED, Rule.LAYER_DIFFERS, Rule.AUTHORIZED_KEYS}
    assert small.not_looked_at == []


async def test_a_changed_file_that_only_the_report_reads_is_named(tmp_path: Path) -> None:
    same = change("/etc/ssh/sshd_config", "C", notes=["identical"])
    rows = [change("/etc/passwd", "C"), change("/etc/ssh/sshd_config.d/x.conf"), same]
    folder = await write_evidence(tmp_path / "bundle", [*rows, change("/etc/group", "C")])
    found = find_in(await documents(folder), ["web"], never)
    assert [line for line in found.not_looked_at if "not read here" in line] == [
        "/etc/passwd of 'web' was changed, and is not read here",
        "/etc/ssh/sshd_config.d/x.conf of 'web' was changed, and is not read here",
    ]
    assert not found.not_genuine


async def test_what_there_is_no_document_of_is_named(tmp_path: Path) -> None:
    folder = await traces(tmp_path / "bundle")
    found = find_in({DIFF: (await documents(folder))[DIFF]}, ["web"], never)
    assert {each.rule for each in found.findings} == {
        Rule.CRON,
        Rule.NEW_EXECUTABLE,
        Rule.LOG_REMOVED,
    }
    assert [line.partition(" ")[0] for line in found.not_looked_at] == [PROCESSES, NETWORK]


def test_the_pods_ports_and_the_nodes_modules_are_looked_at() -> None:
    module = {"module": "rootkit", "shownBy": ["kallsyms"], "missingIn": ["/proc/modules"]}
    space = {"sockets": [socket("LISTEN", (ANY, port), (ANY, 0), 1) for port in (8080, 9)]}
    found = find_in(
        {
            KERNEL: json.dumps({"modules": {"disagreements": [module]}}).encode(),
            POD: b"spec: {containers: [{ports: [{containerPort: 8080}]}]}",
            NETWORK: json.dumps({"namespaces": [space]}).encode(),
        },
        ["web"],
        never,
    )
    assert [each.rule for each in found.findings] == [Rule.HIDDEN_MODULE, Rule.LISTENING]
    assert found.findings[1].subject.endswith(":9")


@pytest.mark.parametrize("name", [KERNEL, POD, INSPECT])
def test_a_document_that_is_none_is_named_and_the_others_are_looked_at(name: str) -> None:
    found = find_in({name: b"{[", DIFF: b'{"changes":[\n]}\n'}, ["web"], never)
    assert found.not_genuine
    assert any(line.startswith(name) for line in found.not_looked_at)


def test_a_row_of_the_index_that_is_none_hides_no_other() -> None:
    name = container_file("web", MOUNTS_INDEX)
    rest = '"type":"file","mode":"0600","uid":0,"gid":0,"size":1,"mtime":"","atime":"","ctime":""'
    rows = f'[]\n{{"path":"/mnt/.ssh/authorized_keys",{rest}}}\n{{"path":"x"}}\n'
    found = find_in({name: rows.encode(), DIFF: b'{"changes":[\n]}\n'}, ["web"], never)
    assert [(each.rule, each.artifact) for each in found.findings] == [(Rule.AUTHORIZED_KEYS, name)]
    assert found.not_genuine
    assert any(line.startswith(f"The index {name}") for line in found.not_looked_at)


def test_a_row_that_is_none_hides_no_other() -> None:
    good = json.dumps(change("/etc/cron.d/x"))
    found = find_in({DIFF: f'{{"changes":[\n[],\n{good}\n]}}\n'.encode()}, ["web"], never)
    assert [each.rule for each in found.findings] == [Rule.CRON]
    assert found.not_genuine


@pytest.mark.parametrize(
    "data", [b'{"changes":[\n{"path":"/x"}', b"", b'{"changes":[{"path":"/x"},1]}', b"[]", b"\xff"]
)
def test_a_list_that_is_not_whole_is_a_flaw(data: bytes) -> None:
    flaws = Flaws(DIFF, "is none")
    assert list(rows_in(data, flaws)) in ([], [{"path": "/x"}])
    assert flaws.total == 1


class Late(Exception):
    """There is no time left."""


async def test_a_look_ends_at_the_row_where_its_time_is_over(tmp_path: Path) -> None:
    rows = [change(f"/tmp/{number}") for number in range(100)]
    folder = await write_evidence(tmp_path / "bundle", rows)
    seen: list[int] = []

    def tick() -> None:
        seen.append(1)
        if len(seen) == 10:
            raise Late

    small = await documents(folder)
    with pytest.raises(Late):
        find_in(small, ["web"], tick)
    assert len(seen) == 10


@pytest.mark.parametrize("rule", Rule)
def test_every_rule_can_be_said_of_several(rule: Rule) -> None:
    assert rule.several(1) == rule.summary
    assert rule.several(2).startswith("2 ")
