"""The effects of containment on a real cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import anyio

from forensics_core.api.podcheckpoint import PodCheckpoint
from forensics_core.errors import AlreadyExists, ApiUnavailable, NotFound
from forensics_core.kube.connection import ClusterConnection
from forensics_core.kube.objects import Object, Objects
from forensics_core.kube.resources import NETWORK_POLICIES, PODS
from forensics_core.operator.containment.policy import is_own_policy, policy_name, releasing_patch


class ClusterContainment:
    """`ContainmentEffects`: a request that hangs holds nobody up for longer than `limit`."""

    def __init__(self, cluster: ClusterConnection, limit: timedelta) -> None:
        self._policies = Objects(cluster, NETWORK_POLICIES)
        self._pods = Objects(cluster, PODS)
        self._limit = limit

    async def create_policy(self, checkpoint: PodCheckpoint, policy: Object) -> None:
        """Create the network policy, or adopt the checkpoint's own."""
        metadata = policy["metadata"]
        with self._bounded():
            try:
                await self._policies.create(policy)
            except AlreadyExists as error:
                there = await self._policies.get(metadata["name"], metadata["namespace"])
                if not is_own_policy(there, checkpoint) or there["spec"] != policy["spec"]:
                    raise AlreadyExists(
                        f"There is a NetworkPolicy '{metadata['name']}' in "
                        f"'{metadata['namespace']}' that is not this checkpoint's",
                        hint="See who made it, delete it, and create another PodCheckpoint",
                    ) from error

    async def delete_policy(self, checkpoint: PodCheckpoint) -> None:
        """Delete the checkpoint's network policy, if there is one."""
        name, namespace = policy_name(checkpoint), checkpoint.target_namespace
        with self._bounded():
            try:
                there = await self._policies.get(name, namespace)
            except NotFound:
                return
            if is_own_policy(there, checkpoint):
                uid = there["metadata"]["uid"]
                await self._policies.delete(name, namespace, uid=uid, missing_ok=True)

    async def patch_pod(self, checkpoint: PodCheckpoint, patch: Object) -> None:
        """Change the pod, if it is as it was read."""
        with self._bounded():
            await self._pods.patch(checkpoint.spec.pod, checkpoint.target_namespace, patch)

    async def release_pod(self, checkpoint: PodCheckpoint) -> None:
        """Give the pod its labels back as it is now, if it is isolated for this checkpoint."""
        name, namespace = checkpoint.spec.pod, checkpoint.target_namespace
        with self._bounded():
            try:
                pod = await self._pods.get(name, namespace)
            except NotFound:
                return
            patch = releasing_patch(checkpoint, pod)
            if patch is not None and pod["metadata"]["uid"] == checkpoint.status.pod_uid:
                await self._pods.patch(name, namespace, patch)

    async def delete_pod(self, checkpoint: PodCheckpoint, uid: str) -> None:
        """Delete the pod with this UID, with the time that it has to end by itself."""
        with self._bounded():
            await self._pods.delete(checkpoint.spec.pod, checkpoint.target_namespace, uid=uid)

    @contextmanager
    def _bounded(self) -> Iterator[None]:
        try:
            with anyio.fail_after(self._limit.total_seconds()):
                yield
        except TimeoutError as error:
            seconds = f"{self._limit.total_seconds():g}"
            raise ApiUnavailable(
                f"The API server has not answered for {seconds} s",
                hint="An admission webhook may be slow",
            ) from error
