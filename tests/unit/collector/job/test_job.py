"""Orders, settings and signals of a collector in a Job."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from uuid import uuid4

import anyio
import pytest

from collector.job.job import JobSettings, load_order, until_stopped
from collector.job.sigterm import SigtermLatch
from collector.limits import Stop
from forensics_core.api.order import WorkOrder
from forensics_core.cli.program import Terminated
from forensics_core.errors import UsageError

ORDER = WorkOrder(destination="s3://cases", bundle="forensics/web-1", uid=uuid4())


def written(folder: Path, **change: object) -> Path:
    path = folder / "order.json"
    document = {**ORDER.model_dump(mode="json", by_alias=True), **change}
    path.write_text(json.dumps(document, indent=3))
    return path


def test_the_digest_is_of_the_bytes_as_they_are(tmp_path: Path) -> None:
    path = written(tmp_path)
    order, document = load_order(path)
    assert order == ORDER
    assert document == path.read_bytes()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 2}, "is of version 2; this release reads version 1"),
        ({"destination": "gs://cases"}, "not a location that evidence can go to"),
        ({"bundle": None}, "not a valid work order: bundle:"),
        ({"artifacts": ["disk"]}, "not a valid work order: artifacts.0:"),
        ({"later": 1}, "not a valid work order: later:"),
    ],
)
def test_an_order_that_does_not_fit(change: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        load_order(written(tmp_path, **change))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file"),
        ("{", "the document"),
        ('{"a": 1, "A": 1}', "several spellings"),
        ("[]", "the document"),
    ],
)
def test_a_file_that_is_no_order(content: str | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / "order.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError, match=said):
        load_order(path)


def test_settings_come_from_the_environment() -> None:
    said = {"FORENSICS_CONCURRENT_CONTAINERS": "5", "FORENSICS_EXPECTED_BUCKET_OWNER": "1" * 12}
    assert JobSettings.from_environ(said) == JobSettings(5, "1" * 12, 60)
    empty = {"FORENSICS_CONCURRENT_CONTAINERS": "", "FORENSICS_RATE": ""}
    more = {"FORENSICS_GRACE_SECONDS": "30"}
    assert JobSettings.from_environ(empty | more) == JobSettings(2, None, 30)
    assert JobSettings.from_environ({"FORENSICS_RATE": "2MiB"}).rate == 2 * 1024 * 1024


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "²"])
def test_a_number_that_is_none(text: str) -> None:
    with pytest.raises(UsageError, match="FORENSICS_CONCURRENT_CONTAINERS"):
        JobSettings.from_environ({"FORENSICS_CONCURRENT_CONTAINERS": text})


def test_a_rate_that_is_none() -> None:
    with pytest.raises(UsageError, match="FORENSICS_RATE: 'fast' is not a valid size"):
        JobSettings.from_environ({"FORENSICS_RATE": "fast"})


async def test_a_signal_asks_the_work_to_end_by_itself() -> None:
    async def work(stop: Stop) -> str:
        os.kill(os.getpid(), signal.SIGTERM)
        with stop.scope(float("inf")):
            await anyio.sleep_forever()
        return stop.reason

    assert await until_stopped(work, 60, SigtermLatch()) == "Interrupted"


async def test_a_signal_from_before_asks_it_too() -> None:
    early = SigtermLatch()
    before = signal.getsignal(signal.SIGTERM)
    early.listen()
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        assert early.heard
    finally:
        signal.signal(signal.SIGTERM, before)

    async def work(stop: Stop) -> bool:
        return stop.requested

    assert await until_stopped(work, 60, early)


async def test_a_second_signal_ends_work_that_does_not_listen() -> None:
    async def work(stop: Stop) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        with stop.scope(float("inf")):
            await anyio.sleep_forever()
        os.kill(os.getpid(), signal.SIGTERM)
        await anyio.sleep_forever()

    with pytest.raises(Terminated, match="no manifest"):
        await until_stopped(work, 60, SigtermLatch())


async def test_work_that_takes_too_long_to_end_is_given_up() -> None:
    async def work(stop: Stop) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await anyio.sleep_forever()

    with pytest.raises(Terminated):
        await until_stopped(work, 0.01, SigtermLatch())
