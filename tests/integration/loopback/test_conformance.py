"""What a real Kubernetes 1.36 answered, request by request, the loopback cluster answers."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest

from forensics_loopback import TOKEN, AccessAttributes, LoopbackCluster, ProcessRunner, User

FIXTURES = Path(__file__).parents[2] / "fixtures" / "kubernetes"
Json = Any

_TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")
_IDENTITIES = frozenset({"uid", "resourceVersion", "continue", "controller-uid"})
# What tells one cluster from another and is no part of the contract.
_LOCAL = frozenset(
    {"imageID", "containerID", "hostIP", "hostIPs", "podIP", "podIPs", "storageVersionHash"}
)


class Replay:
    """Repeats recorded requests in order, with this cluster's uids and versions in their place."""

    def __init__(self, cluster: LoopbackCluster, session: aiohttp.ClientSession) -> None:
        self.cluster = cluster
        self.session = session
        self.here: dict[str, str] = {}

    def translated(self, text: str) -> str:
        """A recorded path or body as it would have been recorded here."""
        for recorded, actual in self.here.items():
            text = re.sub(rf"(?<![\w-]){re.escape(recorded)}(?![\w-])", actual, text)
        return text

    def learn(self, recorded: Json, actual: Json) -> None:
        """Note which identity here stands for which one in the recording."""
        if isinstance(recorded, dict) and isinstance(actual, dict):
            for key in recorded.keys() & actual.keys():
                if (
                    self._is_identity(key, recorded)
                    and isinstance(actual[key], str)
                    and actual[key]
                ):
                    self.here[recorded[key]] = actual[key]
                self.learn(recorded[key], actual[key])
        elif isinstance(recorded, list) and isinstance(actual, list):
            for left, right in zip(recorded, actual, strict=False):
                self.learn(left, right)

    def _is_identity(self, key: str, node: dict[str, Json]) -> bool:
        return key in _IDENTITIES or (key == "name" and "generateName" in node)

    async def send(self, recorded: Json, *, note: str = "") -> tuple[int, Json, dict[str, str]]:
        """Make the request; a stream's answer is the list of its lines."""
        headers = {"Accept": recorded["accept"], "Authorization": f"Bearer {TOKEN}"}
        if note.startswith("no credentials"):
            del headers["Authorization"]
        elif note == "bad token":
            headers["Authorization"] = "Bearer nobody"
        data = None
        if note == "Secret over 1 MiB":
            recorded["body"]["data"]["x"] = base64.b64encode(bytes(1100_000)).decode()
        if "contentType" in recorded:
            headers["Content-Type"] = recorded["contentType"]
            data = io.BytesIO(self.translated(json.dumps(recorded["body"])).encode())
        path = self.translated(recorded["path"])
        async with self.session.request(
            recorded["method"], path, data=data, headers=headers
        ) as response:
            return response.status, await _read(response), dict(response.headers)

    async def check(self, step: Json) -> None:
        """Repeat one request and compare the answers."""
        note = step["note"] or ""
        status, body, headers = await self.send(step["request"], note=note)
        expected = step["response"]
        where = f"{step['request']['method']} {step['request']['path']} ({note})"
        assert status == expected["status"], f"{where}: {body}"
        wanted = expected.get("body", expected.get("stream"))
        if "stream" in expected:
            body = [body] if isinstance(body, dict) else body or []
        self.learn(wanted, body)
        assert normal(body) == normal(wanted), where
        for name in ("Warning", "Retry-After"):
            assert headers.get(name) == expected["headers"].get(name), where
        assert (
            headers["Content-Type"].split(";")[0]
            == expected["headers"]["Content-Type"].split(";")[0]
        )

    async def all(self, name: str, *, only: slice = slice(None)) -> None:
        """Repeat a whole file, or a part of it."""
        for step in load(name)[only]:
            await self.check(step)


async def _read(response: aiohttp.ClientResponse) -> Json:
    text = await response.text()
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return [json.loads(line) for line in text.splitlines()]
    except ValueError:
        return text


def load(name: str) -> list[Json]:
    """A recording, with less time to wait in it."""
    text = (FIXTURES / name).read_text()
    text = re.sub(r"timeoutSeconds=\d+", "timeoutSeconds=1", text)
    text = re.sub(r'"activeDeadlineSeconds": ?3', '"activeDeadlineSeconds":1', text)
    text = text.replace("sleep 3;", "sleep 0.3;").replace("sleep 1;", "sleep 0.1;")
    found: list[Json] = json.loads(text)
    return found


def normal(value: Json, key: str = "") -> Json:
    """Without what differs from cluster to cluster and from second to second."""
    if isinstance(value, dict):
        return {k: normal(v, k) for k, v in value.items() if not _is_local(k, v)}
    if isinstance(value, list):
        found = [normal(item, key) for item in value]
        # One bookmark says as much as two of the same.
        return [item for i, item in enumerate(found) if i == 0 or item != found[i - 1]]
    if not isinstance(value, str):
        return value
    if key in _IDENTITIES and value:
        return f"<{key}>"
    if _TIME.match(value):
        return "<time>"
    if re.fullmatch(r"\d+[smhd]", value):
        return "<age>"
    value = re.sub(r"(?<=key is not valid: ).*", "...", value)
    value = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<uid>", value)
    if value.endswith("readyz check passed\n"):
        return value.splitlines()[-1]
    return re.sub(
        r"(?<=[a-z]-)[a-z0-9]{5}\b|(?<=version: )\d+|(?<=current: )\d+|(?<=\()\d+(?=\))", "*", value
    )


def _is_local(key: str, value: Json) -> bool:
    """Whether a field is this cluster's own affair; so are the owners of built-in kinds' fields."""
    if key == "managedFields":
        return not value[0]["apiVersion"].startswith("forensics.")
    return key in _LOCAL


@pytest.fixture
async def replay(definition: dict[str, Json]) -> AsyncIterator[Replay]:
    def masters_only(user: User, attributes: AccessAttributes) -> bool:
        return "system:masters" in user.groups

    async with (
        LoopbackCluster(runner=ProcessRunner(grace=1), policy=masters_only) as cluster,
        aiohttp.ClientSession(cluster.url, headers={"User-Agent": "unknown"}) as session,
    ):
        cluster.create(definition)
        cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "rec"}})
        yield Replay(cluster, session)


async def test_create_get_and_update(replay: Replay) -> None:
    await replay.all("02-create-get-update.json")


async def test_patch(replay: Replay) -> None:
    await replay.all("02-create-get-update.json")
    await replay.all("03-patch.json")


async def test_list(replay: Replay) -> None:
    await replay.all("02-create-get-update.json")
    await replay.all("03-patch.json")
    await replay.all("04-list.json")


async def test_finalizers_and_deletion(replay: Replay) -> None:
    await replay.all("02-create-get-update.json")
    await replay.all("03-patch.json")
    await replay.all("06-finalizer-delete.json")


async def test_leases_reviews_events_and_errors(replay: Replay) -> None:
    await replay.all("09-lease-sar-events-errors.json")


async def test_watch(replay: Replay) -> None:
    await replay.all("02-create-get-update.json")
    await replay.all("03-patch.json")
    steps = load("05-watch.json")
    await replay.check(steps[0])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(replay.check, steps[1])
        await _live_and_die(replay.cluster)
    for step in steps[2:]:
        await replay.check(step)


async def _live_and_die(cluster: LoopbackCluster) -> None:
    """What the recording client did while it watched."""
    spec = {"pod": "web-0", "namespace": "default", "destination": "s3://evidence"}
    meta = {"name": "w", "namespace": "rec", "labels": {"app": "x"}}
    version = "forensics.orkaproj.io/v1alpha1"
    body = {"apiVersion": version, "kind": "PodCheckpoint", "metadata": meta, "spec": spec}
    path = f"/apis/{version}/namespaces/rec/podcheckpoints"
    headers = {"User-Agent": "unknown", "Authorization": f"Bearer {TOKEN}"}
    merge = {"Content-Type": "application/merge-patch+json"}
    status = json.dumps({"status": {"phase": "Complete"}})
    async with aiohttp.ClientSession(cluster.url, headers=headers) as http:
        async with http.post(path, json=body) as response:
            assert response.status == 201
        async with http.patch(f"{path}/w/status", data=status, headers=merge) as response:
            assert response.status == 200
        async with http.delete(f"{path}/w") as response:
            assert response.status == 200


async def test_jobs_from_start_to_end(replay: Replay) -> None:
    steps = load("07-job.json")
    await replay.check(steps[0])
    await replay.check(steps[1])
    for post, watch in ((2, 5), (8, 9), (11, 12)):
        states = await _watched(replay, steps[post], steps[watch])
        wanted = [normal(line["object"]["status"]) for line in steps[watch]["response"]["stream"]]
        assert _in_order(wanted, states), steps[watch]["note"]
    # The conflict, the ended pods, the log, and that the pod past its deadline is gone.
    for index in (3, 6, 10, 13, 14):
        await replay.check(steps[index])
    await _check_unplaced(replay, steps[15])
    await replay.check(steps[16])
    await replay.cluster.until("pods", _is_free)
    for index in (17, 18, 19):
        await replay.check(steps[index])
    await replay.cluster.until("jobs", lambda jobs: not jobs)
    await replay.cluster.until("secrets", lambda secrets: not secrets)
    for index in (20, 21):
        await replay.check(steps[index])


async def _watched(replay: Replay, post: Json, watch: Json) -> list[Json]:
    """The statuses that a Job went through until it was finished."""
    lines: list[Json] = []
    began = anyio.Event()
    path = re.sub(r"(resourceVersion|timeoutSeconds)=\d+&?", "", watch["request"]["path"])

    async def read() -> None:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with replay.session.get(path, headers=headers) as response:
            began.set()
            async for line in response.content:
                lines.append(json.loads(line)["object"]["status"])
                if {"Complete", "Failed"} & {c["type"] for c in lines[-1].get("conditions", ())}:
                    return

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await began.wait()
        await replay.check(post)
    return [normal(line) for line in lines]


def _in_order(wanted: list[Json], found: list[Json]) -> bool:
    rest = iter(found)
    return all(item in rest for item in wanted)


async def _check_unplaced(replay: Replay, step: Json) -> None:
    status, body, _ = await replay.send(step["request"])
    assert status == 200
    assert normal(body["items"][0]["status"]) == normal(
        step["response"]["body"]["items"][0]["status"]
    )


def _is_free(pods: list[Json]) -> bool:
    mine = [pod["metadata"] for pod in pods if pod["metadata"]["name"].startswith("bad-")]
    return not any("ownerReferences" in meta for meta in mine)


async def test_logs_are_followed_to_their_end(replay: Replay) -> None:
    post, follow, missing = load("08-logs-follow.json")
    await replay.check(post)
    pods = await replay.cluster.until("pods", lambda pods: "containerStatuses" in str(pods))
    request = follow["request"]
    request["path"] = request["path"].replace("talk-5ws7r", pods[0]["metadata"]["name"])
    status, body, headers = await replay.send(request)
    assert (status, headers["Content-Type"]) == (200, "text/plain")
    recorded = follow["response"]["stream"]
    assert [line.split(" ", 1)[1] for line in body.splitlines()] == [
        line.split(" ", 1)[1] for line in recorded
    ]
    assert all(_TIME.match(line.split(" ", 1)[0]) for line in body.splitlines())
    await replay.check(missing)


async def test_discovery(replay: Replay) -> None:
    steps = load("01-discovery.json")
    # The custom group, batch, and leases are served as they were there.
    for index in (3, 4, 5):
        await replay.check(steps[index])
    for index in (0, 1):
        status, body, _ = await replay.send(steps[index]["request"])
        assert (status, body.keys()) == (200, steps[index]["response"]["body"].keys())


async def test_groups(replay: Replay) -> None:
    _, _, groups, _, _, _, aggregated, *_ = load("01-discovery.json")
    _, body, _ = await replay.send(groups["request"])
    wanted = {group["name"]: group for group in groups["response"]["body"]["groups"]}
    assert all(wanted[group["name"]] == group for group in body["groups"])
    _, body, headers = await replay.send(aggregated["request"])
    assert headers["Content-Type"] == aggregated["response"]["headers"]["Content-Type"]
    for group in aggregated["response"]["body"]["items"]:
        assert group in body["items"]


async def test_openapi_has_the_custom_schema(replay: Replay) -> None:
    *_, index, document = load("01-discovery.json")
    _, body, _ = await replay.send(index["request"])
    (path,) = index["response"]["body"]["paths"]
    assert body["paths"][path]["serverRelativeURL"].startswith(f"/openapi/v3/{path}?hash=")
    _, body, _ = await replay.send(document["request"])
    for name, schema in document["response"]["body"]["components"]["schemas"].items():
        here = body["components"]["schemas"][name]
        assert here.keys() == schema.keys()
        assert here["properties"].keys() == schema["properties"].keys()
        assert here["properties"].get("spec") == schema["properties"].get("spec")


async def test_pods_nodes_and_events_as_they_are_shown(replay: Replay) -> None:
    steps = load("10-pod-and-node.json")
    place = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
    replay.cluster.create(place)
    replay.cluster.delete("nodes", "node1")
    for step in steps[:2]:
        _plant(replay.cluster, step["response"]["body"])
        await replay.check(step)
    for event in steps[2]["response"]["body"]["items"]:
        _plant(replay.cluster, {"apiVersion": "v1", "kind": "Event", **event})
    await replay.check(steps[2])
    steps[3]["response"]["body"]["metadata"] = {"resourceVersion": "1"}
    await replay.check(steps[3])


def _plant(cluster: LoopbackCluster, recorded: Json) -> None:
    """Store an object as it was recorded, but for what only the server can give."""
    body = json.loads(json.dumps(recorded))
    del body["metadata"]["resourceVersion"]
    cluster.create(body)
