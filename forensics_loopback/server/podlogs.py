"""The log of a pod's container, where the kubelet that runs it has it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

import aiohttp

from forensics_loopback.kinds.objects import Obj, lookup, name_of, namespace_of
from forensics_loopback.kinds.status import ApiError, bad_request
from forensics_loopback.storage.store import Store

SCHEME = "loopback.orkaproj.io/kubelet-scheme"
"""The annotation of a node whose kubelet does not speak plain HTTP."""


def container_of(pod: Obj, wanted: str) -> str:
    """The container whose log is asked for; raises a 400 where that is unclear or has none yet."""
    names = [str(container["name"]) for container in pod["spec"]["containers"]]
    pod_name = name_of(pod)
    if not wanted and len(names) > 1:
        raise bad_request(
            f"a container name must be specified for pod {pod_name}, choose one of: "
            f"[{' '.join(names)}]"
        )
    wanted = wanted or names[0]
    if wanted not in names:
        raise bad_request(f"container {wanted} is not valid for pod {pod_name}")
    for status in lookup(pod, "status.containerStatuses") or [{"name": wanted}]:
        state = status.get("state", {"waiting": {"reason": "ContainerCreating"}})
        if status["name"] == wanted and "waiting" in state:
            reason = state["waiting"].get("reason", "ContainerCreating")
            raise bad_request(
                f'container "{wanted}" in pod "{pod_name}" is waiting to start: {reason}'
            )
    return wanted


def kubelet_endpoint(store: Store, pod: Obj) -> str:
    """Where the kubelet of the pod's node serves the pod's logs; empty where it serves nothing.

    Then they are in this process, written by the cluster's own kubelet or by a test.
    """
    node = store.get("nodes", "", lookup(pod, "spec.nodeName", ""))
    port = lookup(node, "status.daemonEndpoints.kubeletEndpoint.Port")
    if not port:
        return ""
    addresses = lookup(node, "status.addresses", ())
    host = next(a["address"] for a in addresses if a["type"] == "InternalIP")
    scheme = lookup(node, "metadata.annotations", {}).get(SCHEME, "http")
    return f"{scheme}://{host}:{port}/containerLogs/{namespace_of(pod)}/{name_of(pod)}"


@asynccontextmanager
async def fetched(url: str, query: Mapping[str, str]) -> AsyncIterator[AsyncIterator[bytes]]:
    """Open a log as a kubelet serves it; raises the kubelet's refusal, or a 500 without one."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session:
        try:
            # As an API server that was given no authority for kubelets: nothing is checked.
            response = await session.get(url, params=dict(query), ssl=False)
        except aiohttp.ClientConnectionError as error:
            raise ApiError(500, "InternalError", f"Get {url!r}: {error}") from error
        async with response:
            if response.status != 200:
                raise ApiError(response.status, "InternalError", await response.text())
            yield _blocks(response)


async def _blocks(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    # A kubelet that goes away in the middle ends the log, as the end of the container would.
    with suppress(aiohttp.ClientPayloadError):
        async for block in response.content.iter_any():
            yield block
