"""Followed logs: each line once, through every interruption, to the end."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from forensics_core._internal.backoff import Backoff
from forensics_core.errors import Forbidden, Invalid, NotFound
from forensics_core.kube.connection import ClusterConnection
from forensics_core.kube.logs import LogLine, follow_log
from tests.integration.kube.scripted import (
    Answer,
    ScriptedApi,
    answer,
    pod,
    refusal,
    reset,
    stream,
    text,
)

POD = "/api/v1/namespaces/prod/pods/web"
LOG = f"{POD}/log"


def state(**states: object) -> Answer:
    return answer(pod("web", 1, containerStatuses=[{"name": "collector", "state": states}]))


RUNNING, TERMINATED = state(running={}), state(terminated={"exitCode": 0})
ONE = b"2026-11-23T05:59:15.669268468Z line 1\n"
TWO = b"2026-11-23T05:59:15.669268469Z line 2\n"
TWIN = b"2026-11-23T05:59:15.669268469Z line 2, too\n"
THREE = b"2026-11-23T05:59:17.1Z line 3\n"


async def follow(cluster: ClusterConnection, since: datetime | None = None) -> list[LogLine]:
    async with follow_log(
        cluster, "prod", "web", "collector", since=since, idle=1, backoff=Backoff(0.01, 0.01)
    ) as lines:
        return [line async for line in lines]


async def texts(cluster: ClusterConnection) -> list[bytes]:
    return [line.text for line in await follow(cluster)]


async def test_the_log_of_a_container_that_ended(
    api: ScriptedApi, cluster: ClusterConnection
) -> None:
    api.on("GET", POD, TERMINATED)
    api.on("GET", LOG, stream(ONE, TWO[:20], TWO[20:] + THREE))
    lines = await follow(cluster)
    assert [line.text for line in lines] == [b"line 1", b"line 2", b"line 3"]
    assert lines[0].time == datetime(2026, 11, 23, 5, 59, 15, 669268, tzinfo=UTC)
    (seen,) = api.asked("GET", LOG)
    assert seen.query == {"container": "collector", "follow": "true", "timestamps": "true"}


@pytest.mark.parametrize("ending", [stream(ONE, TWO, then="reset"), stream(ONE, TWO, then="hang")])
async def test_it_goes_on_where_it_broke_off(
    api: ScriptedApi, cluster: ClusterConnection, ending: Answer
) -> None:
    api.on("GET", POD, RUNNING, TERMINATED)
    api.on("GET", LOG, ending, stream(ONE, TWO, TWIN, THREE))
    assert await texts(cluster) == [b"line 1", b"line 2", b"line 2, too", b"line 3"]
    assert api.asked("GET", LOG)[1].query["sinceTime"] == "2026-11-23T05:59:15Z"


async def test_lines_of_one_instant_are_counted(
    api: ScriptedApi, cluster: ClusterConnection
) -> None:
    api.on("GET", POD, RUNNING, RUNNING, TERMINATED)
    api.on(
        "GET",
        LOG,
        stream(ONE, TWO, TWIN, then="reset"),
        stream(ONE, TWO, TWIN, then="reset"),
        stream(ONE, TWO, TWIN, THREE),
    )
    assert await texts(cluster) == [b"line 1", b"line 2", b"line 2, too", b"line 3"]


async def test_a_clean_end_is_checked(api: ScriptedApi, cluster: ClusterConnection) -> None:
    api.on("GET", POD, RUNNING, TERMINATED)
    api.on("GET", LOG, stream(ONE), stream(ONE, TWO))
    assert await texts(cluster) == [b"line 1", b"line 2"]


async def test_it_waits_for_the_container_to_start(
    api: ScriptedApi, cluster: ClusterConnection
) -> None:
    waiting = 'container "collector" in pod "web" is waiting to start: ContainerCreating'
    api.on("GET", POD, answer(pod("web", 1)), RUNNING, TERMINATED)
    api.on("GET", LOG, refusal(400, "BadRequest", waiting), stream(ONE))
    assert await texts(cluster) == [b"line 1"]


@pytest.mark.parametrize(
    "fault", [reset(), text("", 502), refusal(429, "TooManyRequests", Retry_After="0")]
)
async def test_it_outlives_outages(
    api: ScriptedApi, cluster: ClusterConnection, fault: Answer
) -> None:
    api.on("GET", POD, fault, RUNNING, TERMINATED)
    api.on("GET", LOG, fault, stream(ONE))
    assert await texts(cluster) == [b"line 1"]


async def test_a_pod_that_goes_ends_its_log(api: ScriptedApi, cluster: ClusterConnection) -> None:
    api.on("GET", POD, RUNNING, refusal(404, "NotFound"))
    api.on("GET", LOG, stream(ONE, then="reset"))
    assert await texts(cluster) == [b"line 1"]


async def test_a_pod_that_failed_without_a_container_ends_it(
    api: ScriptedApi, cluster: ClusterConnection
) -> None:
    api.on("GET", POD, answer(pod("web", 1, phase="Failed")))
    api.on("GET", LOG, stream())
    assert await texts(cluster) == []


@pytest.mark.parametrize(
    ("code", "reason", "expected"),
    [(404, "NotFound", NotFound), (403, "Forbidden", Forbidden)],
)
async def test_no_pod_or_no_right_is_said(
    api: ScriptedApi, cluster: ClusterConnection, code: int, reason: str, expected: type[Exception]
) -> None:
    api.on("GET", POD, refusal(code, reason))
    with pytest.raises(expected):
        await follow(cluster)


async def test_no_such_container_is_said(api: ScriptedApi, cluster: ClusterConnection) -> None:
    api.on("GET", POD, RUNNING)
    api.on("GET", LOG, refusal(400, "BadRequest", "container collector is not valid for pod web"))
    with pytest.raises(Invalid, match="not valid"):
        await follow(cluster)


async def test_since(api: ScriptedApi, cluster: ClusterConnection) -> None:
    api.on("GET", POD, TERMINATED)
    api.on("GET", LOG, stream(THREE))
    await follow(cluster, datetime(2026, 11, 23, 5, 59, 16, 5, tzinfo=UTC))
    assert api.asked("GET", LOG)[0].query["sinceTime"] == "2026-11-23T05:59:16Z"


async def test_what_a_hostile_node_sends_is_cut_and_passed_on(
    api: ScriptedApi, cluster: ClusterConnection
) -> None:
    api.on("GET", POD, TERMINATED)
    api.on(
        "GET", LOG, stream(b"\xff\x1b[2J\n", b"2026-99-99T00:00:00.0Z x\n", b"y" * 70_000 + b"\n")
    )
    lines = await follow(cluster)
    assert lines[0] == LogLine(b"\xff\x1b[2J", None)
    assert lines[1].time is None
    assert len(lines[2].text) == 65536
