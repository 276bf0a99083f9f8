"""Isolating, releasing and deleting a checkpoint's pod, with no right of the bot's own to do so.

A PodCheckpoint cannot be changed but for `cancel` and `release`. So to isolate, or to delete, is a
new and short capture of the very same pod that says `isolate` or `afterCapture: Delete`: the
operator does it, after a capture as always. One that is under way goes on beside it.
"""

from __future__ import annotations

from forensics_core.api.order import ArtifactKind
from forensics_core.api.podcheckpoint import AfterCapture, PodCheckpoint, PodCheckpointSpec
from slackbot.approvals import Approvals, PendingRequest
from slackbot.authorisation import AccessScope, Authorisation, Person
from slackbot.blocks.containment import is_isolated
from slackbot.errors import UserMessage
from slackbot.requests import Requests, SubmittedCapture

SHORT = (
    ArtifactKind.CONTEXT,
    ArtifactKind.INSPECT,
    ArtifactKind.LOGS,
    ArtifactKind.NETWORK,
    ArtifactKind.PROCESSES,
)
"""What is captured besides: how the pod stands at that moment, and nothing large."""


class Containment:
    """What can be done with a checkpoint's pod. Raises `UserMessage`, or a `ClusterError`."""

    def __init__(
        self, requests: Requests, authorisation: Authorisation, approvals: Approvals
    ) -> None:
        self._requests = requests
        self._authorisation = authorisation
        self._approvals = approvals

    async def isolate(self, person: Person, checkpoint: PodCheckpoint) -> SubmittedCapture:
        """Cut the pod off the network."""
        spec = _short(checkpoint).model_copy(update={"isolate": True})
        return await self._submit(person, spec, checkpoint)

    async def delete(self, person: Person, checkpoint: PodCheckpoint) -> SubmittedCapture:
        """Delete the pod; only one whose evidence is stored."""
        if not checkpoint.evidence_location:
            raise UserMessage("error.incomplete", name=checkpoint.metadata.name)
        spec = _short(checkpoint).model_copy(update={"after_capture": AfterCapture.DELETE})
        return await self._submit(person, spec, checkpoint)

    async def release(self, person: Person, checkpoint: PodCheckpoint) -> SubmittedCapture:
        """Lift the isolation."""
        name, namespace = checkpoint.metadata.name, checkpoint.target_namespace
        scope = AccessScope(namespace, checkpoint.spec.pod, release=True)
        await self._authorisation.permit(person, scope)
        if not is_isolated(checkpoint):
            raise UserMessage("error.notIsolated", name=name)
        spec = checkpoint.spec.model_copy(update={"namespace": namespace})
        uid, channel = checkpoint.status.pod_uid, person.actor.channel
        own = checkpoint.metadata.uid or ""
        pending = PendingRequest(spec, uid, person, channel, release=name, release_uid=own)
        return await self._requests.submit_checked(pending, self._approvals)

    async def _submit(
        self, person: Person, spec: PodCheckpointSpec, checkpoint: PodCheckpoint
    ) -> SubmittedCapture:
        uid = checkpoint.status.pod_uid
        return await self._requests.submit(person, spec, self._approvals, uid=uid)


def _short(checkpoint: PodCheckpoint) -> PodCheckpointSpec:
    """Return the request for a short capture of the same pod, to the same place."""
    spec = checkpoint.spec
    same = {
        "pod": spec.pod,
        "namespace": checkpoint.target_namespace,
        "artifacts": SHORT,
        "containers": spec.containers,
        "destination": spec.destination,
        "subpath": spec.subpath,
        "reason": spec.reason,
        "incident": spec.incident,
        "retention": spec.retention,
        "encryption": spec.encryption,
    }
    return PodCheckpointSpec.model_validate({name: one for name, one in same.items() if one})
