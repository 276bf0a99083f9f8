"""The HTTP face: what the recordings do not show."""

from __future__ import annotations

import io
import json
import socket
from typing import Any

import aiohttp
import pytest

from forensics_loopback import AccessAttributes, LoopbackCluster, User

PODS = "/api/v1/namespaces/default/pods"
MAPS = "/api/v1/namespaces/default/configmaps"


async def answer(
    http: aiohttp.ClientSession, method: str, path: str, **more: Any
) -> tuple[int, Any]:
    async with http.request(method, path, **more) as response:
        text = await response.text()
        return response.status, json.loads(text) if text.startswith("{") else text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/apis/none.example.org", 404),
        ("GET", "/apis/batch", 200),
        ("GET", "/api/v1", 200),
        ("GET", "/livez", 200),
        ("GET", "/openapi/v3/apis/none/v1", 404),
        ("GET", "/openapi/v3/api/v1", 200),
        ("GET", PODS + "/web/none", 404),
        ("GET", "/api/v1/namespaces/default/status", 200),
        ("DELETE", "/api/v1/namespaces/default/status", 405),
        ("HEAD", PODS, 405),
        ("GET", "/apis/authorization.k8s.io/v1/subjectaccessreviews", 405),
        ("GET", PODS + "?watch=1&timeoutSeconds=0.01", 200),
    ],
)
async def test_urls(http: aiohttp.ClientSession, method: str, path: str, status: int) -> None:
    assert (await answer(http, method, path))[0] == status


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"[1]", "application/json", 400),
        (b"{a: [", "application/yaml", 400),
        (b"metadata: {name: y}", "application/yaml", 201),
        (b"nonsense", "application/vnd.kubernetes.protobuf", 415),
        (b"k8s\x00\x0a", "application/vnd.kubernetes.protobuf", 400),
        (b"k8s\x00\x0a\x0d\x0a\x02v1\x12\x07Unknown", "application/vnd.kubernetes.protobuf", 415),
        (b"x" * 3_200_000, "application/json", 413),
    ],
)
async def test_a_body_is_accepted_only_if_it_can_be_read(
    http: aiohttp.ClientSession, body: bytes, content_type: str, status: int
) -> None:
    headers = {"Content-Type": content_type}
    assert (await answer(http, "POST", MAPS, data=io.BytesIO(body), headers=headers))[0] == status


async def test_whoever_impersonates_is_the_other_user(
    cluster: LoopbackCluster, http: aiohttp.ClientSession
) -> None:
    seen: list[User] = []

    def remember(user: User, attributes: AccessAttributes) -> bool:
        seen.append(user)
        return True

    cluster.server.policy = remember
    headers = {"Impersonate-User": "alice", "Impersonate-Group": "ops"}
    await answer(http, "GET", PODS, headers=headers)
    assert seen == [User("alice", ("ops", "system:authenticated"))]


async def test_reviews_need_a_subject(http: aiohttp.ClientSession) -> None:
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    assert (await answer(http, "POST", path, json={"spec": {}}))[0] == 400
    self_path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    asked = {"nonResourceAttributes": {"path": "/metrics", "verb": "get"}}
    status, body = await answer(http, "POST", self_path, json={"spec": asked})
    assert (status, body["status"]) == (201, {"allowed": True})


async def test_deleting_a_collection_deletes_what_is_selected(
    cluster: LoopbackCluster, http: aiohttp.ClientSession
) -> None:
    cluster.seed_pod("a", metadata={"labels": {"app": "x"}})
    cluster.seed_pod("b")
    status, body = await answer(http, "DELETE", PODS + "?labelSelector=app=x")
    assert (status, [p["metadata"]["name"] for p in body["items"]]) == (200, ["a"])
    assert [pod["metadata"]["name"] for pod in cluster.list("pods")] == ["b"]


async def test_eviction_and_pod_deletion(
    cluster: LoopbackCluster, http: aiohttp.ClientSession
) -> None:
    cluster.seed_pod("a")
    cluster.seed_pod("b")
    assert (await answer(http, "POST", PODS + "/a/eviction", json={}))[0] == 201
    options = {"gracePeriodSeconds": 0, "propagationPolicy": None}
    status, body = await answer(http, "DELETE", PODS + "/b", json=options)
    assert (status, body["kind"], cluster.list("pods")) == (200, "Pod", [])


async def test_a_single_object_as_a_table(
    cluster: LoopbackCluster, http: aiohttp.ClientSession
) -> None:
    cluster.seed_pod("a")
    headers = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    _, body = await answer(http, "GET", PODS + "/a", headers=headers)
    assert (body["kind"], len(body["rows"])) == ("Table", 1)
    headers = {"Accept": "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"}
    _, body = await answer(http, "GET", PODS + "/a", headers=headers)
    assert body.keys() == {"kind", "apiVersion", "metadata"}


async def log(http: aiohttp.ClientSession, query: str = "") -> tuple[int, Any]:
    return await answer(http, "GET", PODS + "/web/log" + query)


async def test_a_log_is_read_as_its_options_say(
    cluster: LoopbackCluster, http: aiohttp.ClientSession
) -> None:
    cluster.seed_pod("web")
    cluster.write_log("web", "one\ntwo\nthr")
    assert await log(http) == (200, "one\ntwo\n")
    assert await log(http, "?tailLines=1&sinceSeconds=60") == (200, "two\n")
    assert await log(http, "?sinceTime=2100-01-01T00:00:00Z") == (200, "")
    assert (await log(http, "?sinceTime=noon"))[0] == 400
    assert (await log(http, "?container=none"))[0] == 400


async def test_a_pod_s_last_line_needs_no_end(
    cluster: LoopbackCluster, http: aiohttp.ClientSession
) -> None:
    cluster.seed_pod("web")
    cluster.write_log("web", "one\nhalf")
    async with http.get(PODS + "/web/log?follow=True") as response:
        assert await response.content.readline() == b"one\n"
        cluster.delete("pods", "web", "default")
        assert await response.read() == b"half\n"


async def test_a_pod_of_several_containers_needs_one_named_for_its_log(
    cluster: LoopbackCluster, http: aiohttp.ClientSession
) -> None:
    containers = [{"name": "app"}, {"name": "sidecar"}]
    waiting = {"name": "sidecar", "state": {"waiting": {"reason": "ImagePullBackOff"}}}
    cluster.seed_pod(
        "web", spec={"containers": containers}, status={"containerStatuses": [waiting]}
    )
    status, body = await log(http)
    assert (status, "choose one of: [app sidecar]" in body["message"]) == (400, True)
    status, body = await log(http, "?container=sidecar")
    assert "is waiting to start: ImagePullBackOff" in body["message"]


async def test_watches_follow_what_a_selector_lets_in_and_out(
    cluster: LoopbackCluster, http: aiohttp.ClientSession
) -> None:
    query = "?watch=true&labelSelector=app=x&fieldSelector=spec.nodeName=node1"
    async with http.get(PODS + query) as response:
        cluster.seed_pod("other", "kube-system", metadata={"labels": {"app": "x"}})
        cluster.seed_pod("web")
        for labels in ({"app": "x"}, {"app": "x", "y": "1"}, {"app": "z"}):
            cluster.patch("pods", "web", {"metadata": {"labels": labels}}, "default")
        events = [json.loads(await response.content.readline()) for _ in range(3)]
    assert [event["type"] for event in events] == ["ADDED", "MODIFIED", "DELETED"]
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in events]
    assert versions == sorted(set(versions))


async def test_bookmarks_come_at_intervals(definition: dict[str, Any]) -> None:
    async with (
        LoopbackCluster(bookmark_interval=0.01) as cluster,
        aiohttp.ClientSession(cluster.url) as http,
        http.get(PODS + "?watch=true&allowWatchBookmarks=true") as response,
    ):
        for _ in range(2):
            event = json.loads(await response.content.readline())
            assert event["type"] == "BOOKMARK"


async def test_a_list_across_namespaces_comes_in_pages(
    cluster: LoopbackCluster, http: aiohttp.ClientSession
) -> None:
    for namespace in ("default", "kube-system", "rec"):
        cluster.seed_pod("web", namespace)
    found, token = [], ""
    while True:
        _, body = await answer(http, "GET", f"/api/v1/pods?limit=1&continue={token}")
        found += [pod["metadata"]["namespace"] for pod in body["items"]]
        token = body["metadata"].get("continue")
        if not token:
            break
    assert found == ["default", "kube-system", "rec"]


async def test_an_orphan_s_owner_never_existed(cluster: LoopbackCluster) -> None:
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "gone", "uid": "gone"}
    meta = {"name": "child", "namespace": "default", "ownerReferences": [owner]}
    cluster.create({"apiVersion": "v1", "kind": "Secret", "metadata": meta})
    await cluster.until("secrets", lambda secrets: not secrets)


async def test_an_owner_waits_for_the_children_that_block_it(cluster: LoopbackCluster) -> None:
    pod = cluster.seed_pod("owner")
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "owner", "uid": pod["metadata"]["uid"]}
    for name, blocks in (("held", True), ("free", False)):
        refs = [{**owner, "blockOwnerDeletion": blocks}]
        meta = {"name": name, "namespace": "default", "ownerReferences": refs}
        if blocks:
            meta["finalizers"] = ["a/b"]
        cluster.create({"apiVersion": "v1", "kind": "Secret", "metadata": meta})
    cluster.delete("pods", "owner", "default", propagationPolicy="Foreground")
    await cluster.until("secrets", lambda found: "deletionTimestamp" in str(found))
    assert cluster.list("pods")[0]["metadata"]["finalizers"] == ["foregroundDeletion"]
    cluster.patch("secrets", "held", {"metadata": {"finalizers": None}}, "default")
    await cluster.until("pods", lambda pods: not pods)
    await cluster.until("secrets", lambda secrets: not secrets)


async def test_a_namespace_waits_for_what_it_holds(cluster: LoopbackCluster) -> None:
    cluster.seed_pod("web", "rec", metadata={"finalizers": ["a/b"]})
    cluster.delete("namespaces", "rec")
    await cluster.until("pods", lambda pods: "deletionTimestamp" in str(pods))
    assert cluster.get("namespaces", "rec")["status"] == {"phase": "Terminating"}
    cluster.patch("pods", "web", {"metadata": {"finalizers": None}}, "rec")
    await cluster.until("namespaces", lambda spaces: "rec" not in str(spaces))


async def test_a_taken_port_fails_the_start() -> None:
    cluster = LoopbackCluster()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        cluster._port = taken.getsockname()[1]
        with pytest.raises(BaseExceptionGroup) as caught:
            await cluster.__aenter__()
    assert caught.group_contains(OSError)
