"""What people can have done: asked, approved, cancelled, repeated. Each checks anew who may."""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass

import anyio

from forensics_core.api.names import REQUESTED_BY_ANNOTATION
from forensics_core.api.podcheckpoint import PodCheckpoint, PodCheckpointSpec
from forensics_core.errors import AlreadyExists, ApiUnavailable, ForensicsError
from forensics_core.kube.podcheckpoints import STEM_LIMIT, PodCheckpoints
from slackbot.approvals import Approvals, Pending
from slackbot.authorisation import Authorisation, Person, Target
from slackbot.blocks.answers import Preview
from slackbot.blocks.approval import approval_message, asked_message, ended_message
from slackbot.bookmark import MESSAGE, Bookmark
from slackbot.catalogue import say
from slackbot.command import Ask
from slackbot.errors import SlackError, Told
from slackbot.milestones import state
from slackbot.pods import Pod, Pods, near
from slackbot.settings import Settings
from slackbot.slack import Slack

log = logging.getLogger(__name__)

ATTEMPTS = 3
"""How often a PodCheckpoint is created while the API is away; the name makes that safe."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was made: where its message is, and whether it waits for somebody."""

    message: str
    waits: bool


class Requests:
    """The bot's deeds. Raise `Told` with what to tell the user, or a `ClusterError`."""

    def __init__(
        self,
        slack: Slack,
        checkpoints: PodCheckpoints,
        pods: Pods,
        authorisation: Authorisation,
        settings: Settings,
    ) -> None:
        self._slack = slack
        self._checkpoints = checkpoints
        self._pods = pods
        self._authorisation = authorisation
        self._settings = settings

    def spec(self, ask: Ask) -> PodCheckpointSpec:
        """Return what is asked for as the resource has it."""
        fields = {
            "pod": ask.pod,
            "namespace": ask.namespace,
            "containers": ask.containers,
            "reason": ask.reason,
            "incident": ask.incident,
            "destination": self._settings.destination,
        }
        return PodCheckpointSpec.model_validate({key: one for key, one in fields.items() if one})

    async def preview(self, person: Person, spec: PodCheckpointSpec) -> Preview:
        """Return what would happen, without doing any of it."""
        pod = await self._check(person, "preview", spec)
        await self._checkpoints.create(spec, name=_name(spec.pod), dry_run=True)
        return Preview(
            namespace=pod.namespace,
            pod=pod.name,
            uid=pod.uid,
            node=pod.node,
            containers=spec.containers or pod.containers,
            identity=person.identity.username,
            protected=self._settings.is_protected(pod.namespace),
        )

    async def ask(self, person: Person, spec: PodCheckpointSpec, approvals: Approvals) -> Asked:
        """Begin a checkpoint, or let it wait for a second person."""
        pod = await self._check(person, "capture", spec)
        if self._settings.is_protected(pod.namespace):
            return await self._wait(person, spec, pod, approvals)
        channel, requester = person.actor.channel, person.actor.user
        first = asked_message(spec, requester=requester, language=person.language)
        message = await self._slack.post(channel, first)
        await self.begin(Pending(spec, pod.uid, person, channel, message))
        return Asked(message, waits=False)

    async def retry(self, person: Person, old: PodCheckpoint, approvals: Approvals) -> Asked:
        """Ask for the same once more."""
        if not old.finished:
            raise Told("error.running", name=old.metadata.name)
        again = {"cancel": False, "namespace": old.target_namespace}
        return await self.ask(person, old.spec.model_copy(update=again), approvals)

    async def cancel(self, checkpoint: PodCheckpoint, language: str) -> None:
        """Stop a checkpoint that runs."""
        if checkpoint.finished:
            ended = say(language, f"state.{state(checkpoint)}")
            raise Told("error.finished", name=checkpoint.metadata.name, state=ended)
        await self._checkpoints.cancel(checkpoint.metadata.name)

    async def _check(self, person: Person, action: str, spec: PodCheckpointSpec) -> Pod:
        """Return the pod, once the person may capture it. The right comes before the pod's name."""
        namespace = spec.namespace or ""
        await self._authorisation.permit(person, action, Target(namespace, spec.pod))
        pod = await self._pods.get(namespace, spec.pod)
        if pod is None:
            raise await self._not_found(person, namespace, spec.pod)
        unknown = [name for name in spec.containers if name not in pod.containers]
        if unknown:
            names = ", ".join(pod.containers)
            raise Told("error.container", pod=pod.name, name=unknown[0], names=names)
        return pod

    async def _not_found(self, person: Person, namespace: str, name: str) -> Told:
        where = {"pod": name, "namespace": namespace}
        if not await self._authorisation.may_list_pods(person, namespace):
            return Told("error.notFound", **where)
        alike = near(name, await self._pods.names(namespace))
        if not alike:
            return Told("error.notFound", **where)
        return Told("error.near", **where, names=", ".join(alike))

    async def _wait(
        self, person: Person, spec: PodCheckpointSpec, pod: Pod, approvals: Approvals
    ) -> Asked:
        name = approvals.new_id()
        message = approval_message(
            spec,
            pending=name,
            uid=pod.uid,
            requester=person.actor.user,
            minutes=max(1, round(self._settings.approval_seconds / 60)),
            language=person.language,
        )
        ts = await self._slack.post(person.actor.channel, message)
        approvals.add(name, Pending(spec, pod.uid, person, person.actor.channel, ts))
        return Asked(ts, waits=True)

    async def expired(self, pending: Pending) -> None:
        """Say below a request that nobody approved it."""
        try:
            await self.end(pending, say(pending.requester.language, "approval.expired"))
        except SlackError as error:
            log.error("Nobody was told that the request %s expired: %s", pending.message, error)

    async def begin(self, pending: Pending, approver: str = "") -> None:
        """Make the PodCheckpoint; where that fails, its message says so."""
        bookmark = Bookmark(
            channel=pending.channel,
            message=pending.message,
            requester=pending.requester.actor.user,
            approver=approver,
            language=pending.requester.language,
            # Only an approval is for one pod and no other of its name.
            pod_uid=pending.pod_uid if approver else "",
        )
        asker = {REQUESTED_BY_ANNOTATION: pending.requester.identity.username}
        try:
            await self._create(pending.spec, bookmark.annotations() | asker)
        except ForensicsError as error:
            key = "error.away" if isinstance(error, ApiUnavailable) else "error.cluster"
            told = Told(key, message=error.message)
            await self.end(pending, told.words(pending.requester.language))
            raise told from error

    async def _create(self, spec: PodCheckpointSpec, annotations: dict[str, str]) -> None:
        name = _name(spec.pod)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                await self._checkpoints.create(spec, name=name, annotations=annotations)
                return
            except AlreadyExists:
                # Only the answer of an earlier try was lost, if it is ours.
                found = await self._checkpoints.get(name)
                if found.metadata.annotations.get(MESSAGE) != annotations[MESSAGE]:
                    raise
                return
            except ApiUnavailable:
                if attempt == ATTEMPTS:
                    raise
                await anyio.sleep(0.5)

    async def end(self, pending: Pending, text: str, by: str = "") -> None:
        """Say in a request's message what it came to, and who ended it."""
        requester = pending.requester
        message = ended_message(
            pending.spec,
            requester=requester.actor.user,
            text=text,
            language=requester.language,
            by=by,
        )
        await self._slack.update(pending.channel, pending.message, message)


def _name(pod: str) -> str:
    return f"{pod[: STEM_LIMIT - 3].rstrip('.-')}-{secrets.token_hex(4)}"
