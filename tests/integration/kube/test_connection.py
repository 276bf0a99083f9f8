"""Requests: what goes out, what each answer becomes, what is tried again."""

from __future__ import annotations

import sys
import time
from email.utils import formatdate
from pathlib import Path

import anyio
import pytest

from forensics_core.errors import (
    AlreadyExists,
    ApiUnavailable,
    ClusterError,
    ClusterNotConfigured,
    Conflict,
    Expired,
    Forbidden,
    Invalid,
    NotFound,
    StreamIdle,
    Unauthorized,
)
from forensics_core.kube.connection import ClusterConnection, connect
from tests.integration.kube.scripted import (
    ScriptedApi,
    answer,
    refusal,
    reset,
    stream,
    text,
)


async def test_json_comes_back(api: ScriptedApi, cluster: ClusterConnection) -> None:
    api.on("GET", "/version", answer({"major": "1"}))
    assert await cluster.request("GET", "/version") == {"major": "1"}
    assert api.seen[0].headers["Authorization"] == "Bearer secret"
    assert api.seen[0].headers["User-Agent"].startswith("kube-forensics/")
    assert cluster.namespace == "forensics-system"


async def test_bodies_go_out_as_they_are(api: ScriptedApi, cluster: ClusterConnection) -> None:
    api.on("PATCH", "/x", answer({}))
    body = {"spec": {"cancel": True, "list": []}}
    await cluster.request(
        "PATCH", "/x", query={"a": "b c"}, body=body, content_type="application/merge-patch+json"
    )
    (seen,) = api.seen
    assert seen.body == body
    assert seen.query == {"a": "b c"}
    assert seen.headers["Content-Type"] == "application/merge-patch+json"


@pytest.mark.parametrize(
    ("code", "reason", "expected"),
    [
        (400, "BadRequest", Invalid),
        (401, "Unauthorized", Unauthorized),
        (403, "Forbidden", Forbidden),
        (404, "NotFound", NotFound),
        (409, "Conflict", Conflict),
        (409, "AlreadyExists", AlreadyExists),
        (410, "Expired", Expired),
        (422, "Invalid", Invalid),
        (500, "InternalError", ApiUnavailable),
        (504, "Timeout", ApiUnavailable),
    ],
)
async def test_refusals_become_errors_that_say_what_to_do(
    api: ScriptedApi,
    cluster: ClusterConnection,
    code: int,
    reason: str,
    expected: type[ClusterError],
) -> None:
    api.on("GET", "/x", refusal(code, reason, "the server's own words"))
    with pytest.raises(expected, match=r"GET /x: the server's own words\. \w+") as caught:
        await cluster.request("GET", "/x")
    assert type(caught.value) is expected


async def test_a_refusal_without_a_status_is_told_as_it_came(
    api: ScriptedApi, cluster: ClusterConnection
) -> None:
    api.on("GET", "/x", text("404 page not found\n", 404))
    with pytest.raises(NotFound, match="HTTP 404 Not Found: 404 page not found"):
        await cluster.request("GET", "/x")


@pytest.mark.parametrize("body", ["", "<html>", "[1, 2"])
async def test_an_answer_that_is_no_json_counts_as_no_answer(
    api: ScriptedApi, cluster: ClusterConnection, body: str
) -> None:
    api.on("GET", "/x", text(body))
    with pytest.raises(ApiUnavailable, match="is not JSON"):
        await cluster.request("GET", "/x")


async def test_a_broken_connection_is_an_outage(
    api: ScriptedApi, cluster: ClusterConnection
) -> None:
    api.on("POST", "/x", reset())
    with pytest.raises(ApiUnavailable):
        await cluster.request("POST", "/x", body={})
    assert len(api.seen) == 1, "a write that may have happened is not repeated"


async def test_nobody_there_is_an_outage(tmp_path: Path) -> None:
    gone = ScriptedApi(url="http://127.0.0.1:1")
    async with connect(gone.kubeconfig(tmp_path / "config", {})) as cluster:
        with pytest.raises(ApiUnavailable, match="API server is up"):
            await cluster.request("GET", "/x")


@pytest.mark.parametrize("code", [429, 503])
async def test_who_is_asked_to_come_again_does(
    api: ScriptedApi, cluster: ClusterConnection, code: int
) -> None:
    busy = refusal(code, "TooManyRequests", Retry_After="0")
    api.on("POST", "/x", busy, busy, answer({"done": True}))
    assert await cluster.request("POST", "/x", body={}) == {"done": True}
    assert len(api.seen) == 3


async def test_a_server_that_stays_busy_is_given_up(api: ScriptedApi, tmp_path: Path) -> None:
    api.on("GET", "/x", refusal(429, "TooManyRequests", Retry_After="0"))
    config = api.kubeconfig(tmp_path / "config", {"token": "secret"})
    async with connect(config, pause=0.01) as cluster:
        with pytest.raises(ApiUnavailable) as caught:
            await cluster.request("GET", "/x")
    assert caught.value.retry_after == 0
    assert len(api.seen) == 4


async def test_without_retry_after_nothing_is_repeated(
    api: ScriptedApi, cluster: ClusterConnection
) -> None:
    api.on("POST", "/x", refusal(500, "InternalError"))
    with pytest.raises(ApiUnavailable):
        await cluster.request("POST", "/x", body={})
    assert len(api.seen) == 1


async def test_an_expired_token_is_read_again(api: ScriptedApi, tmp_path: Path) -> None:
    config = api.kubeconfig(tmp_path / "config", {"token": "old"})
    api.on("GET", "/x", refusal(401, "Unauthorized"), answer({}))
    async with connect(config) as cluster:
        api.kubeconfig(config, {"token": "new"})
        await cluster.request("GET", "/x")
    assert [seen.headers["Authorization"] for seen in api.seen] == ["Bearer old", "Bearer new"]


async def test_a_credential_plugin_is_run_again(api: ScriptedApi, tmp_path: Path) -> None:
    plugin = tmp_path / "plugin"
    plugin.write_text(
        f"#!{sys.executable}\n"
        "import json, pathlib\n"
        f"count = pathlib.Path({str(tmp_path / 'count')!r})\n"
        "number = int(count.read_text()) + 1 if count.exists() else 1\n"
        "count.write_text(str(number))\n"
        "print(json.dumps({'apiVersion': 'client.authentication.k8s.io/v1',"
        " 'kind': 'ExecCredential', 'status': {'token': f'token-{number}'}}))\n"
    )
    plugin.chmod(0o700)
    run = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": str(plugin),
        "interactiveMode": "Never",
    }
    api.on("GET", "/x", refusal(401, "Unauthorized"), answer({}))
    async with connect(api.kubeconfig(tmp_path / "config", {"exec": run})) as cluster:
        await cluster.request("GET", "/x")
    tokens = [seen.headers["Authorization"] for seen in api.seen]
    assert tokens == ["Bearer token-1", "Bearer token-2"]


async def test_many_refused_at_once_renew_once(api: ScriptedApi, tmp_path: Path) -> None:
    config = api.kubeconfig(tmp_path / "config", {"token": "old"})
    api.on("GET", "/x", *[refusal(401, "Unauthorized")] * 5, answer({}))
    async with connect(config) as cluster, anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(cluster.request, "GET", "/x")
    assert len(api.seen) == 10


@pytest.mark.parametrize("content", ["", "clusters: [", "current-context: none\ncontexts: []"])
async def test_a_kubeconfig_that_is_none_is_named(tmp_path: Path, content: str) -> None:
    config = tmp_path / "config"
    config.write_text(content)
    with pytest.raises(ClusterNotConfigured, match=str(config)):
        async with connect(config):
            pass


async def test_a_stream_yields_its_bytes_and_ends(
    api: ScriptedApi, cluster: ClusterConnection
) -> None:
    api.on("GET", "/log", stream(b"one\n", b"two\n"))
    async with cluster.stream("/log", query={}, idle=5) as chunks:
        assert b"".join([chunk async for chunk in chunks]) == b"one\ntwo\n"


async def test_a_refused_stream_is_an_error(api: ScriptedApi, cluster: ClusterConnection) -> None:
    api.on("GET", "/log", refusal(404, "NotFound"))
    with pytest.raises(NotFound):
        async with cluster.stream("/log", query={}, idle=5):
            pass


async def test_a_stream_that_breaks_is_an_outage(
    api: ScriptedApi, cluster: ClusterConnection
) -> None:
    api.on("GET", "/log", stream(b"one\n", then="reset"))
    with pytest.raises(ApiUnavailable):
        async with cluster.stream("/log", query={}, idle=5) as chunks:
            async for chunk in chunks:
                assert chunk == b"one\n"


async def test_a_silent_stream_is_given_up(api: ScriptedApi, cluster: ClusterConnection) -> None:
    api.on("GET", "/log", stream(b"one\n", then="hang"))
    with pytest.raises(StreamIdle):
        async with cluster.stream("/log", query={}, idle=0.5) as chunks:
            async for chunk in chunks:
                assert chunk == b"one\n"


async def test_a_stream_outlives_the_renewal_of_its_session(
    api: ScriptedApi, tmp_path: Path
) -> None:
    config = api.kubeconfig(tmp_path / "config", {"token": "old"})
    api.on("GET", "/log", stream(b"one\n", then="hang"))
    api.on("GET", "/x", answer({}))
    async with (
        connect(config, recheck=0) as cluster,
        cluster.stream("/log", query={}, idle=5) as chunks,
    ):
        assert await anext(chunks) == b"one\n"
        api.kubeconfig(config, {"token": "new-and-longer"})
        await cluster.request("GET", "/x")
        api.closing.set()
        assert [chunk async for chunk in chunks] == []
    assert api.seen[-1].headers["Authorization"] == "Bearer new-and-longer"


async def test_streams_by_the_hundred_leave_room_for_requests(
    api: ScriptedApi, cluster: ClusterConnection
) -> None:
    api.on("GET", "/log", stream(b"x", then="hang"))
    api.on("GET", "/version", answer({"major": "1"}))
    many, heard = 130, []
    all_heard = anyio.Event()

    async def follow() -> None:
        async with cluster.stream("/log", query={}, idle=60) as chunks:
            async for chunk in chunks:
                heard.append(chunk)
                if len(heard) == many:
                    all_heard.set()

    async with anyio.create_task_group() as tasks:
        for _ in range(many):
            tasks.start_soon(follow)
        with anyio.fail_after(10):
            await all_heard.wait()
            assert await cluster.request("GET", "/version") == {"major": "1"}
        tasks.cancel_scope.cancel()


async def test_connections_of_ones_own_are_the_same_identity(
    api: ScriptedApi, cluster: ClusterConnection
) -> None:
    api.on("GET", "/version", answer({"major": "1"}))
    async with cluster.apart() as own:
        await own.request("GET", "/version")
        assert own.namespace == cluster.namespace
    assert api.seen[0].headers["Authorization"] == "Bearer secret"
    # Whoever shares the first connections still has them.
    await cluster.request("GET", "/version")


@pytest.mark.parametrize(
    ("said", "ahead"),
    [(3600, True), (-3600, True), (1, False), (None, False)],
)
async def test_the_time_is_the_servers_where_its_clock_is_another(
    api: ScriptedApi, cluster: ClusterConnection, said: int | None, ahead: bool
) -> None:
    date = "yesterday" if said is None else formatdate(time.time() + said, usegmt=True)
    api.on("GET", "/version", answer({}, Date=date))
    await cluster.request("GET", "/version")
    apart = cluster.now() - time.time()
    assert apart == pytest.approx(said if ahead and said else 0, abs=60)
