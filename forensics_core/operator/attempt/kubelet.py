"""Checkpoints of containers by their kubelet: CRIU writes an archive on the node.

The operator asks the kubelet itself, not through the API server: that would take `nodes/proxy`,
which is as much as a shell in every container. The kubelet asks the cluster whether the caller may
`create` `nodes/checkpoint`. As a node may be hostile, it never gets the operator's own token, but
one of a ServiceAccount that may do nothing else, which is valid for ten minutes::

    answers = await KubeletClient(cluster, settings).take(node, pod, ["web"])

Source: https://kubernetes.io/docs/reference/node/kubelet-checkpoint-api/
"""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp
import anyio
from anyio import to_thread

from forensics_core._internal.text import printable
from forensics_core.api.order import ARCHIVE, KubeletCheckpoint
from forensics_core.errors import ClusterError, Forbidden, NotFound
from forensics_core.kube.connection import ClusterConnection
from forensics_core.kube.objects import Object
from forensics_core.operator.attempt.pods import STATUS_LISTS
from forensics_core.operator.settings import KubeletSettings

TOKEN_SECONDS = 600
"""For which a token is valid; the API server gives none for less."""
CONNECT = 10.0
ANSWER = 64 * 1024
"""Bytes of an answer that are read."""
MAX_WORDS = 500
"""Characters of a kubelet's own words that a message has."""
_NATIVE = ("node.k8s.io", "checkpoint.k8s.io")
"""Groups that Kubernetes' own PodCheckpoint may come in."""
_GATE = "404 page not found"
"""The whole answer of a kubelet that does not serve the path."""
_HOST = re.compile(r"[0-9A-Fa-f:.]{2,45}|[A-Za-z0-9]([-A-Za-z0-9.]{0,251}[A-Za-z0-9])?")
"""An address or a name: nothing that would make another path, or another port, of a URL."""
_UNIMPLEMENTED = re.compile(r"unimplemented|not implemented|not enabled|not support", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class KubeletClient:
    """Asks kubelets, each request as the ServiceAccount that the settings name."""

    cluster: ClusterConnection
    settings: KubeletSettings

    async def take(
        self, node: Object, pod: Object, containers: Sequence[str]
    ) -> tuple[KubeletCheckpoint, ...]:
        """Have the running ones of `containers`, all of them where it is empty, checkpointed.

        One after the other, within the settings' seconds. What fails is an answer with its reason:
        nothing is raised.
        """
        names = _running(pod, containers)
        if not names:
            return ()
        native = await served(self.cluster)
        answers: list[KubeletCheckpoint] = []
        try:
            with anyio.move_on_after(self.settings.seconds):
                token = await self._token()
                async with aiohttp.ClientSession(
                    headers={"Authorization": f"Bearer {token}"},
                    connector=aiohttp.TCPConnector(ssl=await to_thread.run_sync(self._tls)),
                    timeout=aiohttp.ClientTimeout(sock_connect=CONNECT),
                ) as session:
                    for name in names:
                        url = _url(node, pod, name)
                        answers += [await self._ask(session, url, name)]
        except Forbidden as error:
            answers += _refused(names, "NotPermitted", f"{error}. Apply the overlay for it")
        except (ClusterError, OSError) as error:
            answers += _refused(names, "Unreachable", str(error))
        done = [answer.container for answer in answers]
        late = [name for name in names if name not in done]
        why = f"The kubelet was given {self.settings.seconds} seconds for the pod"
        answers += _refused(late, "Deadline", why)
        return tuple(answer if answer.archive else _with(answer, native) for answer in answers)

    async def _ask(self, session: aiohttp.ClientSession, url: str, name: str) -> KubeletCheckpoint:
        try:
            # A node may be hostile: it must not send the operator elsewhere, and hear the answer.
            async with session.post(
                url, params={"timeout": str(self.settings.seconds)}, allow_redirects=False
            ) as answer:
                body = await answer.content.read(ANSWER)
                return judge(name, answer.status, body.decode(errors="replace"))
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            why = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            return _refused([name], "Unreachable", f"The kubelet does not answer: {why}")[0]

    async def _token(self) -> str:
        account = self.settings
        path = f"/api/v1/namespaces/{account.namespace}/serviceaccounts/{account.service_account}"
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": TOKEN_SECONDS},
        }
        said = await self.cluster.request("POST", f"{path}/token", body=body)
        return str(said["status"]["token"])

    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.settings.ca_file)
        # A kubelet's certificate is for its node's name and addresses, where it is signed at all.
        if not self.settings.verify:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context


def judge(name: str, status: int, body: str) -> KubeletCheckpoint:
    """Return what a kubelet's answer means for the container `name`. It may say anything."""
    told = printable(body.strip())[:MAX_WORDS]
    if status == 200:
        archive = _archive(body)
        if archive:
            return KubeletCheckpoint(container=name, archive=archive)
        return _refused([name], "Failed", f"The kubelet names no archive: {told}")[0]
    if status in {401, 403}:
        return _refused([name], "NotPermitted", f"The kubelet refuses ({status}): {told}")[0]
    if status == 405 or (status == 404 and body.strip() == _GATE):
        why = "The kubelet has no checkpoint API: the feature gate ContainerCheckpoint is off"
        return _refused([name], "NotSupported", why)[0]
    if status == 404:
        return _refused([name], "NotFound", f"The kubelet says: {told}")[0]
    reason = "NotSupported" if _UNIMPLEMENTED.search(body) else "Failed"
    return _refused([name], reason, f"The kubelet says ({status}): {told}")[0]


async def served(cluster: ClusterConnection) -> str:
    """Return the group and version of Kubernetes' own PodCheckpoint, or nothing."""
    for group in _NATIVE:
        try:
            for version in (await cluster.request("GET", f"/apis/{group}"))["versions"]:
                path = f"/apis/{version['groupVersion']}"
                kinds = (await cluster.request("GET", path))["resources"]
                if any(kind["name"] == "podcheckpoints" for kind in kinds):
                    return str(version["groupVersion"])
        except NotFound:
            continue
        except (ClusterError, KeyError, TypeError):
            return ""
    return ""


def _running(pod: Object, wanted: Sequence[str]) -> list[str]:
    status = pod.get("status") or {}
    found = [one for _, group in STATUS_LISTS for one in status.get(group) or []]
    return [
        one["name"]
        for one in found
        if "running" in (one.get("state") or {}) and (not wanted or one["name"] in wanted)
    ]


def _url(node: Object, pod: Object, container: str) -> str:
    status: dict[str, Any] = node.get("status") or {}
    addresses = {one["type"]: one["address"] for one in status.get("addresses") or []}
    host = addresses.get("InternalIP") or addresses.get("Hostname") or ""
    port = ((status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port") or 10250
    metadata = pod["metadata"]
    names = (metadata["namespace"], metadata["name"], container)
    if not _HOST.fullmatch(host):
        raise ClusterError(f"The node gives no address: {printable(host, 100)!r}")
    host = f"[{host}]" if ":" in host else host
    return f"https://{host}:{int(port)}/checkpoint/{'/'.join(quote(name) for name in names)}"


def _archive(body: str) -> str:
    try:
        (path,) = json.loads(body)["items"]
    except (ValueError, KeyError, TypeError):
        return ""
    return path if isinstance(path, str) and path and re.fullmatch(ARCHIVE, path) else ""


def _refused(names: Sequence[str], reason: str, message: str) -> list[KubeletCheckpoint]:
    return [KubeletCheckpoint(container=name, reason=reason, message=message) for name in names]


def _with(answer: KubeletCheckpoint, native: str) -> KubeletCheckpoint:
    """Add whether there would be another way."""
    other = (
        f"The cluster serves PodCheckpoint of {native}, which this release does not ask for"
        if native
        else "The cluster serves no PodCheckpoint of its own"
    )
    return answer.model_copy(update={"message": f"{answer.message}. {other}"})
