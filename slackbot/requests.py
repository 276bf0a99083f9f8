"""What people can request: a capture, its cancellation or repetition; each is authorised."""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass, replace
from typing import Any

import anyio

from forensics_core.api.incident import PodRequest
from forensics_core.api.names import REQUESTED_BY_ANNOTATION
from forensics_core.api.podcheckpoint import AfterCapture, PodCheckpoint, PodCheckpointSpec
from forensics_core.errors import AlreadyExists, ApiUnavailable, ForensicsError
from forensics_core.kube.incident import request_captures
from forensics_core.kube.podcheckpoints import STEM_LIMIT, PodCheckpoints
from slackbot import audit
from slackbot.approvals import Approvals, PendingRequest
from slackbot.authorisation import AccessScope, Authorisation, Person
from slackbot.blocks.answers import RequestPreview, many_text, outcome_of
from slackbot.blocks.approval import approval_message, ended_message
from slackbot.catalogue import phrase
from slackbot.command import CaptureRequest
from slackbot.directory import Directory
from slackbot.errors import SlackError, UserMessage
from slackbot.pods import Pod, Pods, near
from slackbot.report_state import ReportState, phase_word
from slackbot.settings import Settings
from slackbot.slack import Slack

log = logging.getLogger(__name__)

KEEP = AfterCapture.KEEP
ATTEMPTS = 3
"""How often creating a PodCheckpoint is tried: safe, as its name is chosen before."""


@dataclass(frozen=True, slots=True)
class SubmittedCapture:
    """A request that was made."""

    name: str = ""
    """The PodCheckpoint's; empty while it waits for a second person."""
    bot_joined: bool = True
    """Whether the bot is in the channel, and so can report there."""
    many: tuple[PodRequest, ...] = ()
    """What became of each of several pods."""

    def text(self, language: str) -> str:
        """Return the answer for the requester."""
        if self.many:
            return many_text(self.many, self.name, language)
        if not self.name:
            return phrase(language, "answer.approval")
        return phrase(
            language, "answer.asked" if self.bot_joined else "answer.uninvited", name=self.name
        )


class Requests:
    """Everything that can be requested. Raises `UserMessage` for the user, or a `ClusterError`."""

    def __init__(
        self,
        slack: Slack,
        checkpoints: PodCheckpoints,
        pods: Pods,
        authorisation: Authorisation,
        directory: Directory,
        settings: Settings,
    ) -> None:
        self._slack = slack
        self._checkpoints = checkpoints
        self._pods = pods
        self._authorisation = authorisation
        self._directory = directory
        self._settings = settings

    def spec(self, request: CaptureRequest) -> PodCheckpointSpec:
        """Return the resource's spec for a request."""
        fields = {
            "pod": request.pod,
            "namespace": request.namespace,
            "containers": request.containers,
            "reason": request.reason,
            "incident": request.incident,
            "destination": self._settings.destination,
            "isolate": request.isolate,
            "after_capture": None if request.after_capture is KEEP else request.after_capture,
        }
        return PodCheckpointSpec.model_validate({key: one for key, one in fields.items() if one})

    async def preview(self, person: Person, spec: PodCheckpointSpec) -> RequestPreview:
        """Return what would happen, without doing any of it."""
        pod = await self._check(person, spec)
        # The API server's dry run: admission answers as it would for the real one.
        await self._checkpoints.create(spec, name=_name(spec.pod), dry_run=True)
        return RequestPreview(
            namespace=pod.namespace,
            pod=pod.name,
            uid=pod.uid,
            node=pod.node,
            containers=spec.containers or pod.containers,
            identity=person.identity.username,
            protected=self._settings.is_protected(pod.namespace),
        )

    async def submit(
        self,
        person: Person,
        spec: PodCheckpointSpec,
        approvals: Approvals,
        thread: str = "",
        *,
        uid: str = "",
    ) -> SubmittedCapture:
        """Create a checkpoint, or let the request wait for a second person.

        `thread` is the message in whose thread the form was opened; with `uid` no other pod is
        meant. The capture does not wait for Slack: the report posts what there is to see, as soon
        as Slack takes it.
        """
        pod = await self._check(person, spec)
        if uid and uid != pod.uid:
            raise UserMessage("approval.replaced", pod=pod.name)
        more: dict[str, Any] = {"thread": thread, "pinned": bool(uid)}
        return await self.submit_checked(
            PendingRequest(spec, pod.uid, person, person.actor.channel, **more), approvals
        )

    async def submit_checked(
        self, pending: PendingRequest, approvals: Approvals
    ) -> SubmittedCapture:
        """Do what somebody may, or let it wait for a second person: once for all of its pods."""
        if any(map(self._settings.is_protected, pending.namespaces)):
            await self._wait(pending, approvals)
            audit.note(outcome="waiting")
            return SubmittedCapture()
        submitted = await self.create(pending)
        return replace(submitted, bot_joined=await self._bot_joined(pending.channel))

    async def _bot_joined(self, channel: str) -> bool:
        try:
            return (await self._directory.channel(channel)).joined
        except SlackError:
            return True

    async def retry(
        self, person: Person, old: PodCheckpoint, approvals: Approvals
    ) -> SubmittedCapture:
        """Submit the same request once more."""
        if not old.finished:
            raise UserMessage("error.running", name=old.metadata.name)
        again = {"cancel": False, "release": False, "namespace": old.target_namespace}
        return await self.submit(person, old.spec.model_copy(update=again), approvals)

    async def cancel(self, checkpoint: PodCheckpoint, language: str) -> None:
        """Stop a checkpoint that runs."""
        if checkpoint.finished:
            ended = phrase(language, f"state.{phase_word(checkpoint)}")
            raise UserMessage("error.finished", name=checkpoint.metadata.name, state=ended)
        await self._checkpoints.cancel(checkpoint.metadata.name)

    async def _check(self, person: Person, spec: PodCheckpointSpec) -> Pod:
        """Return the pod, once the person may capture it. The right comes before the pod's name."""
        namespace = spec.namespace or ""
        # Before the pod is looked up: the answer must not tell which pods exist.
        await self._authorisation.permit(person, AccessScope.of(spec))
        pod = await self._pods.get(namespace, spec.pod)
        if pod is None:
            raise await self._not_found(person, namespace, spec.pod)
        audit.note(pod_uid=pod.uid)
        # Here rather than minutes later, when the node finds no such container.
        unknown = [name for name in spec.containers if name not in pod.containers]
        if unknown:
            names = ", ".join(pod.containers)
            raise UserMessage("error.container", pod=pod.name, name=unknown[0], names=names)
        return pod

    async def _not_found(self, person: Person, namespace: str, name: str) -> UserMessage:
        where = {"pod": name, "namespace": namespace}
        if not await self._authorisation.may_list_pods(person, namespace):
            return UserMessage("error.notFound", **where)
        alike = near(name, await self._pods.names(namespace))
        if not alike:
            return UserMessage("error.notFound", **where)
        return UserMessage("error.near", **where, names=", ".join(alike))

    async def _wait(self, pending: PendingRequest, approvals: Approvals) -> None:
        name = approvals.new_id()
        message = approval_message(
            pending,
            request_id=name,
            cluster=self._settings.cluster,
            minutes=max(1, round(self._settings.approval_seconds / 60)),
        )
        # Posted first: without its message nobody could approve a request.
        ts = await self._slack.post(pending.channel, message)
        approvals.add(name, replace(pending, message=ts))

    async def expire(self, pending: PendingRequest, key: str) -> None:
        """Edit a request's message: nobody can approve it any more, and why."""
        audit.record(_undecided(pending), "refused", key)
        try:
            await self.close(pending, phrase(pending.requester.language, key))
        except SlackError as error:
            log.error(
                "The message of the request %s, which expired, cannot be edited: %s",
                pending.message,
                error,
            )

    async def create(self, pending: PendingRequest, approver: str = "") -> SubmittedCapture:
        """Do what was requested; an error is shown in the request's message, too."""
        try:
            submitted = await self._do(pending, approver)
        except ForensicsError as error:
            key = "error.away" if isinstance(error, ApiUnavailable) else "error.cluster"
            message = UserMessage(key, message=error.message)
            if pending.message:
                await self.close(pending, message.text(pending.requester.language))
            raise message from error
        # The message of one pod's request becomes its checkpoint's.
        if pending.message and (pending.pods or pending.release):
            done = phrase(pending.requester.language, "approval.done")
            await self.close(pending, done, approver)
        return submitted

    async def _do(self, pending: PendingRequest, approver: str) -> SubmittedCapture:
        notes = self._annotations(pending, approver)
        if pending.release:
            await self._checkpoints.release(pending.release, uid=pending.release_uid)
            audit.note(checkpoint=pending.release, outcome="released")
            return SubmittedCapture(pending.release)
        if pending.pods:
            more: dict[str, Any] = {"again": pending.again, "annotations": notes}
            found = await request_captures(self._checkpoints, pending.pods, pending.spec, **more)
            audit.note(outcome=outcome_of(found))
            return SubmittedCapture(pending.spec.incident, many=tuple(found))
        name = await self._create(pending.spec, notes)
        audit.note(checkpoint=name, outcome="created")
        return SubmittedCapture(name)

    def _annotations(self, pending: PendingRequest, approver: str) -> dict[str, str]:
        pinned = bool(approver) or pending.pinned
        report_state = ReportState(
            channel=pending.channel,
            message="" if pending.pods else pending.message,
            thread=pending.thread,
            requester=pending.requester.actor.user,
            approver=approver,
            language=pending.requester.language,
            # Only an approval, or a click, is for one pod and no other of its name.
            pod_uid=pending.pod_uid if pinned else "",
        )
        asker = {REQUESTED_BY_ANNOTATION: pending.requester.identity.username}
        return report_state.annotations() | asker

    async def _create(self, spec: PodCheckpointSpec, annotations: dict[str, str]) -> str:
        name = _name(spec.pod)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                await self._checkpoints.create(spec, name=name, annotations=annotations)
                break
            except AlreadyExists:
                # The answer to an earlier attempt was lost: a random name that exists is our own.
                if attempt == 1:
                    raise
                break
            except ApiUnavailable:
                if attempt == ATTEMPTS:
                    raise
                await anyio.sleep(0.5)
        return name

    async def close(self, pending: PendingRequest, text: str, by: str = "") -> None:
        """Edit a request's message: how it ended, and by whom."""
        message = ended_message(pending, text, by=by)
        await self._slack.update(pending.channel, pending.message, message)


def _undecided(pending: PendingRequest) -> audit.Decision:
    """Return the audit record of a request that nobody decided."""
    person = pending.requester
    return audit.Decision(
        person.actor.user,
        person.actor.team,
        pending.channel,
        action="capture",
        identity=person.identity.username,
        namespace=", ".join(pending.namespaces),
        pod="" if pending.pods else pending.spec.pod,
        pod_uid=pending.pod_uid,
    )


def _name(pod: str) -> str:
    return f"{pod[: STEM_LIMIT - 3].rstrip('.-')}-{secrets.token_hex(4)}"
