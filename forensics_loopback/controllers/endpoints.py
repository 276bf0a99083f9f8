"""The EndpointSlice controller: which running pods a Service sends traffic to, one slice each."""

from __future__ import annotations

from forensics_core.kube.resources import PODS, SERVICES, Resource
from forensics_loopback.client.api import Api, amend
from forensics_loopback.controllers.reconciling import reconcile_owners
from forensics_loopback.kinds.objects import (
    Obj,
    is_deleting,
    lookup,
    metadata,
    name_of,
    namespace_of,
    uid_of,
)

ENDPOINT_SLICES = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")


class EndpointsController:
    """A client of the API; Services without a selector are left to whoever made them."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def run(self) -> None:
        """Keep the slices true until cancelled."""
        await reconcile_owners(self._api, SERVICES, _has_selector, self._sync)

    async def _sync(self, service: Obj) -> None:
        pods = await self._api.list(PODS, namespace_of(service))
        endpoints = [_endpoint(pod) for pod in pods if _serves(service, pod)]
        wanted = _slice(service, endpoints)
        there = await self._api.get(ENDPOINT_SLICES, name_of(wanted), namespace_of(service))
        if there is None:
            await self._api.create(ENDPOINT_SLICES, wanted)
        elif there.get("endpoints") != endpoints:
            await amend(
                self._api, ENDPOINT_SLICES, there, lambda it: it.update(endpoints=endpoints), ""
            )


def _has_selector(one: Obj) -> bool:
    return bool(lookup(one, "spec.selector"))


def _serves(service: Obj, pod: Obj) -> bool:
    labels = metadata(pod).get("labels") or {}
    selected = service["spec"]["selector"].items() <= labels.items()
    running = lookup(pod, "status.phase") == "Running" and lookup(pod, "status.podIP")
    return bool(selected and running and not is_deleting(pod))


def _endpoint(pod: Obj) -> Obj:
    target = {"kind": "Pod", "name": name_of(pod), "namespace": namespace_of(pod)}
    return {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {"ready": True, "serving": True, "terminating": False},
        "targetRef": {**target, "uid": uid_of(pod)},
    }


def _slice(service: Obj, endpoints: list[Obj]) -> Obj:
    owner = {"apiVersion": "v1", "kind": "Service", "name": name_of(service)}
    ports = service["spec"].get("ports") or ()
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{name_of(service)}-{uid_of(service)[:5]}",
            "namespace": namespace_of(service),
            "labels": {
                "kubernetes.io/service-name": name_of(service),
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
            },
            "ownerReferences": [{**owner, "uid": uid_of(service), "controller": True}],
        },
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [{"port": one["port"], "protocol": "TCP", "name": ""} for one in ports],
    }
