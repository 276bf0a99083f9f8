"""The pod's surroundings, gathered at once because pods vanish.

Each file is gathered on its own: what cannot be read, for want of a right or because the API server
is away, becomes one line of what is not captured, and the others go on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

import anyio
import yaml
from anyio import to_thread

from forensics_core._internal.backoff import Backoff
from forensics_core._internal.tasks import task_group
from forensics_core.api.order import ContextFile
from forensics_core.api.podcheckpoint import PodCheckpoint
from forensics_core.errors import (
    ApiUnavailable,
    ClusterError,
    NotFound,
    ObjectExists,
)
from forensics_core.kube import resources
from forensics_core.kube.objects import Object
from forensics_core.kube.resources import Resource
from forensics_core.operator.attempt.alert import alert_of
from forensics_core.operator.attempt.pods import STATUS_LISTS
from forensics_core.operator.attempt.reads import BoundedListing, Reads, read_each, times_of_answers
from forensics_core.operator.evidence.storage import digest_of
from forensics_core.operator.observed import ForeignObject
from forensics_core.storage.s3.storage import S3Storage

OWNERS = {
    resource.kind: resource
    for resource in (
        resources.REPLICA_SETS,
        resources.DEPLOYMENTS,
        resources.STATEFUL_SETS,
        resources.DAEMON_SETS,
        resources.JOBS,
        Resource("batch", "v1", "cronjobs", "CronJob"),
    )
}
"""Kinds that are followed upwards from a pod."""
MAX_OWNERS = 8
ATTEMPTS = 4
"""How often a part is asked for while the API server is away."""
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
"""Ten times as fast where PyYAML was built with libyaml."""


_Part = Callable[[Reads, Object, list[str]], Awaitable[Any]]
"""Gathers one file from the pod; what it had to cut goes into the list."""


@dataclass(slots=True)
class Context:
    """What was gathered: files by name, and what is missing."""

    files: dict[str, bytes] = field(default_factory=dict)
    gaps: list[str] = field(default_factory=list)
    captured_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    older: dict[str, datetime] = field(default_factory=dict)
    """Of files that are made of answers which were there before, when the oldest was asked for."""


async def gather(
    reads: Reads, checkpoint: PodCheckpoint, pod: Object, *, before: Object | None = None
) -> Context:
    """Return the surroundings of `pod`. Never raises because something cannot be read.

    Of a pod that was isolated, they are those that it had `before`.
    """
    context = Context()
    found: dict[str, Any] = {"checkpoint": checkpoint.to_dict(), **alert_of(checkpoint)}
    parts: dict[str, _Part] = {
        "events": _events,
        "owners": _owners,
        "node": _node,
        "serviceaccount": _service_account,
        "images": _images,
        "network": _network,
        "storage": _storage,
    }
    # At once: the pod, and what is around it, may be gone a moment later.
    async with task_group() as tasks:
        for name, part in parts.items():
            tasks.start_soon(_gather_part, context, found, name, part, reads, before or pod)
    context.files = await to_thread.run_sync(_render, pod, found)
    return context


def _render(pod: Object, found: dict[str, Any]) -> dict[str, bytes]:
    files = {f"context/{name}.json": _json(found[name]) for name in sorted(found)}
    return {"context/pod.yaml": _yaml(pod), **files}


async def _gather_part(
    context: Context,
    found: dict[str, Any],
    name: str,
    part: _Part,
    reads: Reads,
    pod: Object,
) -> None:
    cut: list[str] = []
    try:
        with times_of_answers() as times:
            found[name] = await _with_retry(part, reads, pod, cut)
        context.older[f"context/{name}.json"] = min(times, default=context.captured_at)
        context.gaps += [f"context/{name}.json: {line}" for line in dict.fromkeys(cut)]
    except ClusterError as error:
        context.gaps.append(f"context/{name}.json: {error}")


async def _with_retry(part: _Part, reads: Reads, pod: Object, cut: list[str]) -> Any:
    """Gather a part, again where the API server was away for a moment: a gap stays for good."""
    backoff = Backoff(reads.retry_after)
    while True:
        try:
            return await part(reads, pod, cut)
        except ApiUnavailable as error:
            pause = backoff.next(error.retry_after)
            if backoff.failures >= ATTEMPTS:
                raise
        await anyio.sleep(pause)


async def _events(reads: Reads, pod: Object, cut: list[str]) -> Any:
    metadata = pod["metadata"]
    found = await reads.list_now(
        Resource("", "v1", "events", "Event"),
        metadata["namespace"],
        field_selector=f"involvedObject.uid={metadata['uid']}",
    )
    return _whole(found, "events", cut)


def _whole(listing: BoundedListing, what: str, cut: list[str]) -> list[Object]:
    """Return what was read, and note it where that is not all."""
    if listing.cut:
        cut.append(f"TooLarge: only the first {len(listing.items)} {what} were read")
    return listing.items


async def _owners(reads: Reads, pod: Object, cut: list[str]) -> Any:
    """Return the chain of controllers above the pod, the nearest first."""
    chain = BoundedListing()
    current = pod
    while len(chain.items) < MAX_OWNERS:
        reference = _controller(current)
        if reference is None or reference.get("kind") not in OWNERS:
            break
        resource = OWNERS[reference["kind"]]
        try:
            current = await reads.get(resource, reference["name"], pod["metadata"]["namespace"])
        except NotFound:
            chain.take({"gone": reference})
            break
        if not chain.take(current):
            break
    return _whole(chain, "owners", cut)


def _controller(item: Object) -> Object | None:
    references = item.get("metadata", {}).get("ownerReferences") or []
    return next((one for one in references if one.get("controller")), None)


async def _node(reads: Reads, pod: Object, cut: list[str]) -> Any:
    return await reads.get(resources.NODES, pod["spec"]["nodeName"])


async def _images(reads: Reads, pod: Object, cut: list[str]) -> Any:
    """Return the image of each container, and what the node says of those that it has."""
    status = pod.get("status", {})
    containers = [
        {name: one.get(name, "") for name in ("name", "image", "imageID")}
        for _, group in STATUS_LISTS
        for one in status.get(group) or []
    ]
    used = {one[name] for one in containers for name in ("image", "imageID")}
    node = await _node(reads, pod, cut)
    on_the_node = [
        image
        for image in node.get("status", {}).get("images") or []
        if used.intersection(image.get("names") or [])
    ]
    pull_secrets = pod["spec"].get("imagePullSecrets") or []
    return {"containers": containers, "onTheNode": on_the_node, "imagePullSecrets": pull_secrets}


async def _service_account(reads: Reads, pod: Object, cut: list[str]) -> Any:
    """Return the pod's account with every binding that names it, and the roles bound."""
    namespace = pod["metadata"]["namespace"]
    name = pod["spec"].get("serviceAccountName") or "default"
    account = await reads.get(resources.SERVICE_ACCOUNTS, name, namespace)
    bindings = [
        *_whole(await reads.all(resources.ROLE_BINDINGS, namespace), "role bindings", cut),
        *_whole(await reads.all(resources.CLUSTER_ROLE_BINDINGS), "cluster role bindings", cut),
    ]
    bound = [binding for binding in bindings if _names(binding, name, namespace)]
    references = _distinct(binding.get("roleRef") or {} for binding in bound)
    roles = await read_each(partial(_role, reads, namespace=namespace), references)
    return {"serviceAccount": account, "bindings": bound, "roles": _whole(roles, "roles", cut)}


def _distinct(references: Iterable[Object]) -> list[Object]:
    return list({tuple(sorted(one.items())): one for one in references}.values())


def _names(binding: Object, name: str, namespace: str) -> bool:
    groups = {"system:authenticated", "system:serviceaccounts"}
    groups.add(f"system:serviceaccounts:{namespace}")
    user = f"system:serviceaccount:{namespace}:{name}"
    for subject in binding.get("subjects") or []:
        if subject.get("kind") == "Group" and subject.get("name") in groups:
            return True
        if subject.get("kind") == "User" and subject.get("name") == user:
            return True
        own = (subject.get("name"), subject.get("namespace")) == (name, namespace)
        if subject.get("kind") == "ServiceAccount" and own:
            return True
    return False


async def _role(reads: Reads, reference: Object, namespace: str) -> Object:
    cluster_wide = reference.get("kind") == "ClusterRole"
    resource = resources.CLUSTER_ROLES if cluster_wide else resources.ROLES
    try:
        return await reads.get(resource, reference["name"], None if cluster_wide else namespace)
    except NotFound:
        return {"gone": reference}


async def _network(reads: Reads, pod: Object, cut: list[str]) -> Any:
    """Return policies and services of the namespace, and which of them select the pod."""
    namespace = pod["metadata"]["namespace"]
    labels = pod["metadata"].get("labels") or {}
    policies = _whole(await reads.all(resources.NETWORK_POLICIES, namespace), "policies", cut)
    services = _whole(await reads.all(resources.SERVICES, namespace), "services", cut)
    return {
        "networkPolicies": policies,
        "services": services,
        "servicesSelectingThePod": [
            service["metadata"]["name"]
            for service in services
            if (selector := service.get("spec", {}).get("selector"))
            and selector.items() <= labels.items()
        ],
    }


async def _storage(reads: Reads, pod: Object, cut: list[str]) -> Any:
    """Return the claims that the pod mounts, and their volumes."""
    namespace = pod["metadata"]["namespace"]
    names = filter(None, (_claim(pod, volume) for volume in pod["spec"].get("volumes") or []))
    read = partial(_get_or_gone, reads, resources.VOLUME_CLAIMS, namespace=namespace)
    claims = _whole(await read_each(read, names), "claims", cut)
    bound = filter(None, (claim.get("spec", {}).get("volumeName") for claim in claims))
    volumes = await read_each(partial(_get_or_gone, reads, resources.VOLUMES), bound)
    return {"persistentVolumeClaims": claims, "persistentVolumes": _whole(volumes, "volumes", cut)}


def _claim(pod: Object, volume: Object) -> str:
    """Return the name of the claim that a volume is of, be it made for this very pod; or nothing.

    Source: https://kubernetes.io/docs/concepts/storage/ephemeral-volumes/
    """
    if volume.get("ephemeral"):
        return f"{pod['metadata']['name']}-{volume['name']}"
    return str((volume.get("persistentVolumeClaim") or {}).get("claimName") or "")


async def _get_or_gone(
    reads: Reads, resource: Resource, name: str, namespace: str | None = None
) -> Object:
    try:
        return await reads.get(resource, name, namespace)
    except NotFound:
        return {"gone": {"kind": resource.kind, "name": name}}


def _yaml(item: Object) -> bytes:
    text: str = yaml.dump(item, Dumper=_DUMPER, sort_keys=False, allow_unicode=True)
    return text.encode()


def _json(item: Any) -> bytes:
    return json.dumps(item, indent=1, ensure_ascii=False).encode() + b"\n"


async def upload(context: Context, destination: S3Storage, store: S3Storage) -> list[ContextFile]:
    """Store the files, and return what the order says of them.

    A file that is there already is kept only if it is the very same: a crash of ours came after it.
    Raises `ForeignObject` for any other, whoever wrote it: only what the operator itself has just
    gathered is context.
    """
    stored: list[ContextFile] = []
    async with task_group() as tasks:
        for name, data in context.files.items():
            tasks.start_soon(_upload_one, context, name, data, destination, store, stored)
    return sorted(stored, key=lambda file: file.name)


async def _upload_one(
    context: Context,
    name: str,
    data: bytes,
    destination: S3Storage,
    store: S3Storage,
    stored: list[ContextFile],
) -> None:
    digest, size = hashlib.sha256(data).hexdigest(), len(data)
    try:
        kept = await destination.put(name, data, content_type=_type(name))
    except ObjectExists as error:
        kept = await store.stat(name)
        if kept.size != size or await digest_of(store, name, kept.version_id) != (digest, size):
            raise ForeignObject(
                f"{store.url}{name} was written by somebody else", hint="Another location is taken"
            ) from error
    stored.append(
        ContextFile(
            name=name,
            sha256=digest,
            size=size,
            version_id=kept.version_id,
            etag=kept.etag,
            captured_at=min(context.older.get(name, context.captured_at), context.captured_at),
        )
    )


def _type(name: str) -> str:
    return "application/yaml" if name.endswith(".yaml") else "application/json"
