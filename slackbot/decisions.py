"""Approving and denying requests that wait: by another person, for the very same pod."""

from __future__ import annotations

from slackbot import audit
from slackbot.approvals import Approvals, PendingRequest
from slackbot.authorisation import Actor, Authorisation, Person
from slackbot.catalogue import phrase
from slackbot.errors import Refused, UserMessage
from slackbot.pods import Pods
from slackbot.requests import Requests


class Decisions:
    """Approves and denies. Raises `UserMessage`, or a `ClusterError`."""

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
        """Create the checkpoint of a request that waits, if it is another person's."""
        pending, person = await self._pending(actor, name, "approve")
        # By identity in the cluster, too: two Slack accounts of one person are one person.
        if _same(person, pending.requester):
            raise Refused("approval.self")
        refusal = await self._outdated(pending)
        if refusal:
            if self._approvals.take(name):
                await self._requests.close(pending, refusal.text(pending.requester.language))
            raise refusal
        # Taken last, when only the creation can still fail: two clicks at once create one.
        if self._approvals.take(name) is None:
            raise UserMessage("approval.gone")
        await self._requests.create(pending, approver=actor.user)

    async def deny(self, actor: Actor, name: str) -> None:
        """End a request that waits; the requester may do that, too."""
        await self._pending(actor, name, "deny")
        pending = self._approvals.take(name)
        if pending is None:
            raise UserMessage("approval.gone")
        audit.note(outcome="denied")
        await self._requests.close(
            pending, phrase(pending.requester.language, "approval.denied"), actor.user
        )

    async def _pending(self, actor: Actor, name: str, action: str) -> tuple[PendingRequest, Person]:
        pending = self._approvals.get(name)
        if pending is None or pending.channel != actor.channel:
            # Whoever may not use the bot must not learn whether there is such a request.
            await self._authorisation.admit(actor, action)
            raise UserMessage("approval.gone")
        audit.note(pod_uid=pending.pod_uid)
        return pending, await self._authorisation.authorise(actor, action, pending.scopes)

    async def _outdated(self, pending: PendingRequest) -> Refused | None:
        """Return why a request is outdated: the pod was replaced, or the right is gone."""
        # Of many, each request bears the UID of its pod: the operator captures no other one.
        if not pending.pods and await self._is_replaced(pending):
            return Refused("approval.replaced", pod=pending.spec.pod)
        asker = pending.requester.actor
        try:
            with audit.decision(asker.user, asker.team, asker.channel):
                await self._authorisation.authorise(asker, "capture", pending.scopes)
        except Refused as refusal:
            if refusal.key == "refused.unsure":
                # Nobody knows at the moment: the request goes on waiting.
                raise
            return Refused("approval.withdrawn")
        return None

    async def _is_replaced(self, pending: PendingRequest) -> bool:
        # The approver has seen the UID in the message: another pod of that name is another request.
        pod = await self._pods.get(pending.namespaces[0], pending.spec.pod)
        return pod is None or pod.uid != pending.pod_uid


def _same(one: Person, other: Person) -> bool:
    """Whether two Slack users are one person, at least for the cluster."""
    return one.actor.user == other.actor.user or one.identity.username == other.identity.username
