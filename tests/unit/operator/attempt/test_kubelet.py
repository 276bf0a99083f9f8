"""What a kubelet's answers mean, whatever it says, and where kubelets are."""

from __future__ import annotations

from typing import Any, cast

import aiohttp
import pytest
from aiohttp import web

from forensics_core.errors import ClusterError
from forensics_core.operator.attempt.kubelet import MAX_WORDS, KubeletClient, _url, judge
from forensics_core.operator.settings import KubeletSettings
from forensics_core.service.http import http_server

ARCHIVE = "/var/lib/kubelet/checkpoints/checkpoint-web-0_shop-app-2026-11-27T22:57:39Z.tar"


@pytest.mark.parametrize(
    ("status", "body", "reason", "told"),
    [
        (401, "Unauthorized", "NotPermitted", "refuses (401)"),
        (403, "Forbidden (user=x)", "NotPermitted", "Forbidden (user=x)"),
        (404, "404 page not found\n", "NotSupported", "feature gate"),
        (405, "", "NotSupported", "feature gate"),
        (404, "pod does not exist", "NotFound", "pod does not exist"),
        (500, "CRIU version must be at least 3.16", "Failed", "at least 3.16"),
        (500, "rpc error: code = Unimplemented", "NotSupported", "Unimplemented"),
        (500, 'configured to not support "checkpoint/restore"', "NotSupported", "restore"),
        (200, "", "Failed", "names no archive"),
        (200, "[]", "Failed", "names no archive"),
        (200, '{"items": []}', "Failed", "names no archive"),
        (200, '{"items": [7]}', "Failed", "names no archive"),
        (200, '{"items": [""]}', "Failed", "names no archive"),
        (200, f'{{"items": ["{ARCHIVE}", "{ARCHIVE}"]}}', "Failed", "names no archive"),
        (200, '{"items": ["/etc/shadow"]}', "Failed", "names no archive"),
    ],
)
def test_why_there_is_none(status: int, body: str, reason: str, told: str) -> None:
    answer = judge("app", status, body)
    assert (answer.container, answer.archive, answer.reason) == ("app", "", reason)
    assert told in answer.message


def test_an_archive() -> None:
    assert judge("app", 200, f'{{"items":["{ARCHIVE}"]}}').archive == ARCHIVE


def test_a_kubelet_that_talks_without_end_is_cut() -> None:
    answer = judge("app", 500, "\x1b[2J" + "x" * 100_000)
    assert len(answer.message) < MAX_WORDS + 50
    assert "\x1b" not in answer.message


@pytest.mark.parametrize(
    ("status", "place"),
    [
        ({"addresses": [{"type": "InternalIP", "address": "10.0.0.7"}]}, "10.0.0.7:10250"),
        ({"addresses": [{"type": "InternalIP", "address": "fd00::7"}]}, "[fd00::7]:10250"),
        (
            {
                "addresses": [{"type": "Hostname", "address": "node1"}],
                "daemonEndpoints": {"kubeletEndpoint": {"Port": 10350}},
            },
            "node1:10350",
        ),
    ],
)
def test_where_a_kubelet_is(status: dict[str, Any], place: str) -> None:
    pod = {"metadata": {"name": "web-0", "namespace": "shop"}}
    assert _url({"status": status}, pod, "app") == f"https://{place}/checkpoint/shop/web-0/app"


@pytest.mark.parametrize(
    "address",
    [
        "",
        "10.0.0.7/api/v1/secrets?",
        "10.0.0.7:6443#",
        "user@10.0.0.7",
        "a b",
        "-x",
        "[::1]",
        "\x1b",
    ],
)
def test_a_node_whose_address_is_more_than_one_is_not_asked(address: str) -> None:
    pod = {"metadata": {"name": "web-0", "namespace": "shop"}}
    node = {"status": {"addresses": [{"type": "InternalIP", "address": address}]}}
    with pytest.raises(ClusterError, match="gives no address"):
        _url(node, pod, "app")


async def test_a_kubelet_cannot_send_the_operator_elsewhere() -> None:
    reached = []

    async def redirect(request: web.Request) -> web.Response:
        return web.Response(status=303, headers={"Location": "/metadata"}, text="there")

    async def metadata(request: web.Request) -> web.Response:
        reached.append(request.path)
        return web.Response(text="a secret")

    routes = [web.post("/checkpoint", redirect), web.get("/metadata", metadata)]
    client = KubeletClient(cast("Any", None), KubeletSettings())
    async with http_server(0, routes) as port, aiohttp.ClientSession() as session:
        answer = await client._ask(session, f"http://localhost:{port}/checkpoint", "app")
    assert (answer.reason, reached) == ("Failed", [])
    assert "303" in answer.message
    assert "secret" not in answer.message
