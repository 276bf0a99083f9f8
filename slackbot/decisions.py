"""A second person's word on requests that wait: of another person, for the very same pod."""

from __future__ import annotations

from slackbot import audit
from slackbot.approvals import Approvals, Pending
from slackbot.authorisation import Actor, Authorisation, Person, Target
from slackbot.catalogue import say
from slackbot.errors import Refused, Told
from slackbot.pods import Pods
from slackbot.requests import Requests


class Decisions:
    """Approves and denies. Raises `Told`, or a `ClusterError`."""

    def __init__(
        self,
        requests: Requests,
        approvals: Approvals,
        pods: Pods,
        authorisation: Authorisation,
    ) -> None:
        self._requests = requests
        self._approvals = approvals
        self._pods = pods
        self._authorisation = authorisation

    async def approve(self, actor: Actor, name: str) -> None:
        """Let a request that waits begin: as another person, and for the very same pod."""
        pending, person, target = await self._pending(actor, name, "approve")
        if _same(person, pending.requester):
            raise Refused("approval.self")
        refusal = await self._outdated(pending, target)
        if refusal:
            if self._approvals.take(name):
                await self._requests.end(pending, refusal.words(pending.requester.language))
            raise refusal
        if self._approvals.take(name) is None:
            raise Told("approval.gone")
        await self._requests.begin(pending, approver=actor.user)

    async def deny(self, actor: Actor, name: str) -> None:
        """End a request that waits; whoever asked may do that too."""
        await self._pending(actor, name, "deny")
        pending = self._approvals.take(name)
        if pending is None:
            raise Told("approval.gone")
        audit.note(outcome="denied")
        await self._requests.end(
            pending, say(pending.requester.language, "approval.denied"), actor.user
        )

    async def _pending(
        self, actor: Actor, name: str, action: str
    ) -> tuple[Pending, Person, Target]:
        pending = self._approvals.get(name)
        if pending is None or pending.channel != actor.channel:
            # Whoever may not even use the bot is told that, and not whether there is a request.
            await self._authorisation.admit(actor, action)
            raise Told("approval.gone")
        target = Target(pending.spec.namespace or "", pending.spec.pod)
        audit.note(pod_uid=pending.pod_uid)
        return pending, await self._authorisation.authorise(actor, action, target), target

    async def _outdated(self, pending: Pending, target: Target) -> Refused | None:
        """Return why a request may not begin any more: another pod, or no right any more."""
        pod = await self._pods.get(target.namespace, target.pod)
        if pod is None or pod.uid != pending.pod_uid:
            return Refused("approval.replaced", pod=target.pod)
        asker = pending.requester.actor
        try:
            with audit.decision(asker.user, asker.team, asker.channel):
                await self._authorisation.authorise(asker, "capture", target)
        except Refused as refusal:
            if refusal.key == "refused.unsure":
                # Nobody knows at the moment: the request goes on waiting.
                raise
            return Refused("approval.withdrawn")
        return None


def _same(one: Person, other: Person) -> bool:
    """Whether two Slack users are one person, at least for the cluster."""
    return one.actor.user == other.actor.user or one.identity.username == other.identity.username
