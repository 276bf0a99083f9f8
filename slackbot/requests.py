"""What people can have done: asked, approved, cancelled, repeated. Each checks anew who may."""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass, replace

import anyio

from forensics_core.api.names import REQUESTED_BY_ANNOTATION
from forensics_core.api.podcheckpoint import PodCheckpoint, PodCheckpointSpec
from forensics_core.errors import AlreadyExists, ApiUnavailable, ForensicsError
from forensics_core.kube.podcheckpoints import STEM_LIMIT, PodCheckpoints
from slackbot import audit
from slackbot.approvals import Approvals, Pending
from slackbot.authorisation import Authorisation, Person, Target
from slackbot.blocks.answers import Preview
from slackbot.blocks.approval import approval_message, ended_message
from slackbot.bookmark import Bookmark
from slackbot.catalogue import say
from slackbot.command import Ask
from slackbot.directory import Directory
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
    """A request that was made."""

    name: str = ""
    """The PodCheckpoint's; empty while it waits for a second person."""
    heard: bool = True
    """Whether the bot is in the channel, and so can report there."""

    def text(self, language: str) -> str:
        """Return what to tell whoever asked."""
        if not self.name:
            return say(language, "answer.approval")
        return say(language, "answer.asked" if self.heard else "answer.uninvited", name=self.name)


class Requests:
    """The bot's deeds. Raise `Told` with what to tell the user, or a `ClusterError`."""

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
        pod = await self._check(person, spec)
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

    async def ask(
        self, person: Person, spec: PodCheckpointSpec, approvals: Approvals, thread: str = ""
    ) -> Asked:
        """Begin a checkpoint, or let it wait for a second person.

        `thread` is the message in whose thread it was asked. Nothing waits for Slack here: the
        report posts what there is to see, as soon as Slack takes it.
        """
        pod = await self._check(person, spec)
        pending = Pending(spec, pod.uid, person, person.actor.channel, thread=thread)
        if self._settings.is_protected(pod.namespace):
            await self._wait(pending, approvals)
            audit.note(outcome="waiting")
            return Asked()
        name = await self.begin(pending)
        return Asked(name, await self._heard(pending.channel))

    async def _heard(self, channel: str) -> bool:
        try:
            return (await self._directory.channel(channel)).joined
        except SlackError:
            return True

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

    async def _check(self, person: Person, spec: PodCheckpointSpec) -> Pod:
        """Return the pod, once the person may capture it. The right comes before the pod's name."""
        namespace = spec.namespace or ""
        await self._authorisation.permit(person, Target(namespace, spec.pod))
        pod = await self._pods.get(namespace, spec.pod)
        if pod is None:
            raise await self._not_found(person, namespace, spec.pod)
        audit.note(pod_uid=pod.uid)
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

    async def _wait(self, pending: Pending, approvals: Approvals) -> None:
        name, person = approvals.new_id(), pending.requester
        message = approval_message(
            pending.spec,
            pending=name,
            uid=pending.pod_uid,
            requester=person.actor.user,
            identity=person.identity.username,
            cluster=self._settings.cluster,
            minutes=max(1, round(self._settings.approval_seconds / 60)),
            language=person.language,
        )
        ts = await self._slack.post(pending.channel, message)
        approvals.add(name, replace(pending, message=ts))

    async def lapse(self, pending: Pending, key: str) -> None:
        """Say in a request's message why nobody can approve it any more."""
        audit.record(_lapsed(pending), "refused", key)
        try:
            await self.end(pending, say(pending.requester.language, key))
        except SlackError as error:
            log.error("Nobody was told that the request %s lapsed: %s", pending.message, error)

    async def begin(self, pending: Pending, approver: str = "") -> str:
        """Make the PodCheckpoint, and return its name; where that fails, its message says so."""
        bookmark = Bookmark(
            channel=pending.channel,
            message=pending.message,
            thread=pending.thread,
            requester=pending.requester.actor.user,
            approver=approver,
            language=pending.requester.language,
            # Only an approval is for one pod and no other of its name.
            pod_uid=pending.pod_uid if approver else "",
        )
        asker = {REQUESTED_BY_ANNOTATION: pending.requester.identity.username}
        try:
            name = await self._create(pending.spec, bookmark.annotations() | asker)
        except ForensicsError as error:
            key = "error.away" if isinstance(error, ApiUnavailable) else "error.cluster"
            told = Told(key, message=error.message)
            if pending.message:
                await self.end(pending, told.words(pending.requester.language))
            raise told from error
        audit.note(checkpoint=name, outcome="created")
        return name

    async def _create(self, spec: PodCheckpointSpec, annotations: dict[str, str]) -> str:
        name = _name(spec.pod)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                await self._checkpoints.create(spec, name=name, annotations=annotations)
                break
            except AlreadyExists:
                # The answer of an earlier try was lost; the name is as good as nobody else's.
                if attempt == 1:
                    raise
                break
            except ApiUnavailable:
                if attempt == ATTEMPTS:
                    raise
                await anyio.sleep(0.5)
        return name

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


def _lapsed(pending: Pending) -> audit.Decision:
    """Return what was asked for, and nobody decided."""
    person = pending.requester
    return audit.Decision(
        person.actor.user,
        person.actor.team,
        pending.channel,
        action="capture",
        identity=person.identity.username,
        namespace=pending.spec.namespace or "",
        pod=pending.spec.pod,
        pod_uid=pending.pod_uid,
    )


def _name(pod: str) -> str:
    return f"{pod[: STEM_LIMIT - 3].rstrip('.-')}-{secrets.token_hex(4)}"
