"""The findings of a status: from small, verified documents, bounded, and never in anybody's way."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from forensics_core.api.findings import FindingsStatus
from forensics_core.bundle.expected import ExpectedObject
from forensics_core.bundle.manifest import Container
from forensics_core.bundle.reader import open_bundle
from forensics_core.errors import AccessDenied, DestinationUnreachable
from forensics_core.operator.evidence.findings import (
    FindingsReader,
    OwnDocuments,
    deadline,
    findings_status,
)
from forensics_core.readers.findings.finding import Finding, Rule
from forensics_core.readers.findings.look import Findings
from forensics_core.readers.findings.node import KERNEL
from forensics_core.readers.findings.small_documents import (
    LIMIT,
    MAX_CONTAINERS,
    NO_DOCUMENTS,
    SmallDocuments,
    small_documents,
)
from forensics_core.storage.local import LocalStorage
from tests.bundles import edit_manifest, replace_object
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

LONG = 60.0
"""Seconds that no look takes."""


class Store(LocalStorage):
    """A folder that does something else first when it is read from."""

    before: Callable[[str], None] = staticmethod(lambda name: None)
    hangs = False

    async def read(self, name: str, version_id: str | None = None) -> AsyncGenerator[bytes, None]:
        self.before(name)
        if self.hangs:
            await anyio.sleep_forever()
        async for block in super().read(name, version_id):
            yield block


async def scene(folder: Path) -> Path:
    hostile = "/tmp/\x1b[2J\u202e<!channel>" + "x" * 500
    return await write_evidence(
        folder,
        [change("/tmp/m", mode="0755"), change(hostile, mode="0755"), change("/etc/cron.d/a")],
        [process(7, "/tmp/m", "m", "--password=hush"), process(8, "/tmp/m", environ=("KEY=1",))],
        [socket("ESTABLISHED", ("10.0.0.1", 5), ("8.8.8.8", 443), 7)],
        inspect={"Config": {}},
    )


async def documents_of(folder: Path) -> SmallDocuments:
    async with open_bundle(str(folder)) as bundle:
        return small_documents(bundle.statement)


async def look(folder: Path, store: Store | None = None) -> FindingsStatus | None:
    reader = FindingsReader(LONG, 1)
    return await reader.find(store or Store(folder), await documents_of(folder), "ns/one")


async def test_the_status_tells_counts_and_what_to_look_at_first(tmp_path: Path) -> None:
    found = await look(await scene(tmp_path / "bundle"))
    assert found is not None
    assert (found.total, found.not_looked_at) == (6, 0)
    counts = found.by_severity
    assert (counts.high, counts.medium, counts.low) == (3, 3, 0)
    assert [(one.rule, one.severity, one.count, one.container) for one in found.first] == [
        ("running-program-not-in-image", "High", 2, "web"),
        ("cron", "High", 1, "web"),
        ("new-executable", "Medium", 2, "web"),
    ]
    assert found.first[0].message == (
        "2 programs run that are not in the image: process 7 m, process 8 m"
    )


async def test_messages_are_bounded_and_steer_no_terminal(tmp_path: Path) -> None:
    found = await look(await scene(tmp_path / "bundle"))
    assert found is not None
    said = found.first[2].message
    assert said.isprintable() and len(said) <= 200
    assert "\\x1b[2J\\u202e" in said
    everything = json.dumps(found.model_dump(mode="json"))
    assert "hush" not in everything, "arguments are not for everybody who may see a status"


def test_many_findings_of_a_rule_are_one_row() -> None:
    found = Findings(most=5)
    for number in range(9):
        found.add(Finding(Rule.OUTGOING, "web", "tcp", f"to 8.8.8.{number}", "x"))
    (only,) = findings_status(found, 2).first
    assert only.count == 9
    assert only.message.endswith("to 8.8.8.0, to 8.8.8.1, to 8.8.8.2, ...")
    assert findings_status(found, 2).not_looked_at == 2


async def test_what_is_not_genuine_is_not_looked_into(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = await scene(tmp_path / "bundle")
    (folder / DIFF).write_bytes(b'{"changes":[\n' + json.dumps(change("/etc/cron.d/b")).encode())
    found = await look(folder)
    assert found is not None
    assert "cron" not in {one.rule for one in found.first}
    assert found.not_looked_at >= 1
    assert f"{DIFF} is not what the manifest says" in caplog.text


@pytest.mark.parametrize(
    "data",
    [
        b'{"changes":[\n{"x":' + b"[" * 70_000 + b"]}",
        b'{"changes":[\n[' + b"0," * 350_000 + b"0]\n]}",
        b'{"changes":[\n' + b"[" * 5000 + b"\n]}",
        b"\x00\xff",
    ],
    ids=["parts", "values", "deep", "binary"],
)
async def test_what_no_parser_should_see_is_counted(tmp_path: Path, data: bytes) -> None:
    folder = await write_evidence(tmp_path / "bundle", [], [process(7, "/memfd:x")])
    replace_object(folder, DIFF, data)
    found = await look(folder)
    assert found is not None
    assert [one.rule for one in found.first] == ["memfd-program-running"]
    assert found.not_looked_at >= 1


@pytest.mark.parametrize("claim", ["size", "originalSize"])
async def test_large_documents_are_left_out_by_their_size(tmp_path: Path, claim: str) -> None:
    folder = await scene(tmp_path / "bundle")

    def enlarge(document: dict[str, Any]) -> None:
        for row in document["predicate"]["artifacts"]:
            if row["name"] in {DIFF, INSPECT}:
                row[claim] = LIMIT + 1

    edit_manifest(folder, enlarge)
    documents = await documents_of(folder)
    assert {each.name for each in documents.objects} == {PROCESSES, NETWORK}
    assert documents.left_out == 2
    assert [each.name for each in documents.of("web")] == [PROCESSES, NETWORK]


async def test_a_document_that_is_larger_than_it_says_is_not_read_on(tmp_path: Path) -> None:
    folder = await scene(tmp_path / "bundle")
    with (folder / DIFF).open("ab") as file:
        file.write(bytes(2 * LIMIT))
    found = await look(folder)
    assert found is not None and found.not_looked_at >= 1


async def test_of_very_many_containers_the_first_are_looked_at(tmp_path: Path) -> None:
    folder = await scene(tmp_path / "bundle")
    async with open_bundle(str(folder)) as bundle:
        capture = bundle.statement.predicate
        names = [*(f"c{number}" for number in range(MAX_CONTAINERS)), "web"]
        many = tuple(Container(name=name, container_id="x") for name in names)
        more = capture.model_copy(update={"containers": many})
        statement = bundle.statement.model_copy(update={"predicate": more})
    assert small_documents(statement) == NO_DOCUMENTS


@pytest.mark.parametrize(
    ("error", "level"),
    [
        (AccessDenied("you may not"), None),
        (DestinationUnreachable("it is away"), logging.WARNING),
        (RuntimeError("a fault of ours"), logging.ERROR),
    ],
)
async def test_whatever_goes_wrong_is_at_most_a_line_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, error: Exception, level: int | None
) -> None:
    folder = await scene(tmp_path / "bundle")
    store = Store(folder)

    def fail(name: str) -> None:
        raise error

    store.before = fail
    with caplog.at_level(logging.INFO):
        assert await look(folder, store) is None
    assert [each.levelno for each in caplog.records] == ([level] if level else [])


async def test_an_object_that_is_gone_is_counted(tmp_path: Path) -> None:
    folder = await scene(tmp_path / "bundle")
    documents = await documents_of(folder)
    (folder / NETWORK).unlink()
    found = await FindingsReader(LONG, 1).find(Store(folder), documents, "ns/one")
    assert found is not None and (found.total, found.not_looked_at) == (5, 2)


async def test_a_store_that_hangs_is_not_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = await scene(tmp_path / "bundle")
    store = Store(folder)
    store.hangs = True
    reader = FindingsReader(0.01, 1)
    assert await reader.find(store, await documents_of(folder), "ns/one") is None
    assert "ns/one: no findings are told: it took over 0.01 s" in caplog.text


class Unread(AssertionError):
    """Raised where a document is read that is at hand."""


def unread(name: str) -> None:
    raise Unread(name)


async def test_a_document_of_the_operators_own_is_not_read_back(tmp_path: Path) -> None:
    folder = await scene(tmp_path / "bundle")
    documents, reader = await documents_of(folder), FindingsReader(LONG, 1)
    expected = await reader.find(Store(folder), documents, "ns/one")
    for each in documents.objects:
        data = (folder / each.name).read_bytes()
        for _ in range(2):
            reader.hold(data)
    store = Store(folder)
    store.before = unread
    assert await reader.find(store, documents, "ns/one") == expected
    # Once it was looked at, nobody needs it any more.
    assert await reader.find(store, documents, "ns/one") is None


async def test_a_document_is_looked_at_only_up_to_its_limit_though_it_is_at_hand(
    tmp_path: Path,
) -> None:
    data = b"x" * (LIMIT + 1)
    (tmp_path / "large").write_bytes(data)
    large = ExpectedObject("large", hashlib.sha256(data).hexdigest())
    reader = FindingsReader(LONG, 1, held=2 * LIMIT)
    reader.hold(data)
    documents = SmallDocuments((), (replace(large, name=KERNEL),))
    (tmp_path / KERNEL).parent.mkdir()
    (tmp_path / KERNEL).write_bytes(data)
    found = await reader.find(Store(tmp_path), documents, "ns/one")
    assert found is not None and found.not_looked_at == 1


def test_of_documents_the_latest_are_held() -> None:
    held = OwnDocuments(10)
    documents = [bytes([number]) * 4 for number in range(3)]
    digests = [hashlib.sha256(data).hexdigest() for data in documents]
    for data in documents:
        held.hold(data)
    assert [held.take(digest) for digest in digests] == [None, *documents[1:]]
    held.hold(bytes(11))
    assert held.take(hashlib.sha256(bytes(11)).hexdigest()) is None


async def test_who_finds_too_many_waiting_does_without(tmp_path: Path) -> None:
    folder = await scene(tmp_path / "bundle")
    documents, store = await documents_of(folder), Store(folder)
    store.hangs = True
    begun = anyio.Event()
    store.before = lambda name: begun.set()
    reader = FindingsReader(LONG, 1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reader.find, store, documents, "ns/one")
        await begun.wait()
        assert await reader.find(Store(folder), documents, "ns/two") is None
        tasks.cancel_scope.cancel()
    # Who was cancelled waits no more.
    assert await reader.find(Store(folder), documents, "ns/three") is not None


def test_rules_end_when_their_time_is_over() -> None:
    deadline(float("inf"))()
    with pytest.raises(TimeoutError):
        deadline(0.0)()
