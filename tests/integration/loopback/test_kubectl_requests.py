"""Each request that a real kubectl made of a real API is answered as it was there."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from forensics_loopback import TOKEN, AccessAttributes, LoopbackCluster, User

RECORDED = Path(__file__).parents[2] / "fixtures" / "kubernetes" / "kubectl-requests.txt"
SAMPLE = {
    "apiVersion": "forensics.orkaproj.io/v1alpha1",
    "kind": "PodCheckpoint",
    "metadata": {"name": "podcheckpoint-sample", "namespace": "rec"},
    "spec": {"pod": "bad-pod", "destination": "s3://cases"},
}
BODIES: dict[str, Any] = {
    "application/json": SAMPLE,
    "application/apply-patch+yaml": SAMPLE,
    "application/merge-patch+json": {"metadata": {"annotations": {"a": "b"}}},
    "application/json-patch+json": [],
}
"""What is sent with each kind of content: the recording has no bodies."""


def part(number: int, *data: bytes) -> bytes:
    """Return a field of a protobuf message; short ones only."""
    joined = b"".join(data)
    return bytes([number << 3 | 2, len(joined)]) + joined


MAY_SHE = b"k8s\x00" + b"".join(
    (
        part(1, part(1, b"authorization.k8s.io/v1"), part(2, b"SelfSubjectAccessReview")),
        part(2, part(2, part(1, part(1, b"default"), part(2, b"create"), part(5, b"pods")))),
    )
)


@dataclass
class Asked:
    """One request, and the status that it got."""

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 0

    async def again(self, session: aiohttp.ClientSession) -> int:
        """Ask the same of another server."""
        path = self.path
        if "watch=true" in path:
            # From now on and for a moment: versions and patience are another cluster's.
            path = re.sub(r"resourceVersion=\d+&timeoutSeconds=\d+", "timeoutSeconds=1", path)
        async with session.request(
            self.method, path, headers=self.headers, data=self._body()
        ) as answer:
            await answer.read()
            return answer.status

    def _body(self) -> bytes | None:
        kind = self.headers.get("Content-Type")
        if kind is None or self.method == "DELETE":
            return None
        return MAY_SHE if kind.endswith("protobuf") else json.dumps(BODIES[kind]).encode()


def recorded() -> list[Asked]:
    """Read the recording."""
    found: list[Asked] = []
    for line in RECORDED.read_text().splitlines():
        if asked := re.match(r"(GET|POST|PUT|PATCH|DELETE) (/\S+)$", line):
            found.append(Asked(asked[1], asked[2]))
        elif header := re.match(r"    (Accept|Content-Type|Impersonate-User): (.*)$", line):
            found[-1].headers[header[1]] = header[2]
        elif status := re.match(r"Response Status: (\d+) ", line):
            found[-1].status = int(status[1])
    return found


def test_the_recording_is_read_whole() -> None:
    text = RECORDED.read_text()
    assert len(recorded()) == text.count("Request Headers:") == text.count("Response Status:")
    assert {asked.status for asked in recorded()} == {200, 201, 404}
    assert {asked.method for asked in recorded()} == {"GET", "POST", "PATCH", "DELETE"}


async def test_every_request_of_kubectl_is_answered(definition: dict[str, Any]) -> None:
    async with (
        LoopbackCluster(policy=masters_and_basic_users) as cluster,
        aiohttp.ClientSession(cluster.url, headers={"Authorization": f"Bearer {TOKEN}"}) as session,
    ):
        cluster.create(definition)
        cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "rec"}})
        for number, asked in enumerate(recorded()):
            status = await asked.again(session)
            assert status == asked.status, f"{number}: {asked.method} {asked.path}"


def masters_and_basic_users(user: User, asked: AccessAttributes) -> bool:
    """Anybody may ask what they themselves may."""
    return "system:masters" in user.groups or asked.resource == "selfsubjectaccessreviews"
