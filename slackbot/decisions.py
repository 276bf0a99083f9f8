"""Approving and denying requests that wait: by another person, for the very same pod."""

from __future__ import annotations

from slackbot import audit
from slackbot.approvals import Approvals, PendingRequest
from slackbot.authorisation import AccessScope, Actor, Authorisation, Person
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
        pending, person, scope = await self._pending(actor, name, "approve")
        # By identity in the cluster, too: two Slack accounts of one person are one person.
        if _same(person, pending.requester):
            raise Refused("approval.self")
        refusal = await self._outdated(pending, scope)
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

    async def _pending(
        self, actor: Actor, name: str, action: str
    ) -> tuple[PendingRequest, Person, AccessScope]:
        pending = self._approvals.get(name)
        if pending is None or pending.channel != actor.channel:
            # Whoever may not use the bot must not learn whether there is such a request.
            await self._authorisation.admit(actor, action)
            raise UserMessage("approval.gone")
        scope = AccessScope(pending.spec.namespace or "", pending.spec.pod)
        audit.note(pod_uid=pending.pod_uid)
        return pending, await self._authorisation.authorise(actor, action, scope), scope

    async def _outdated(self, pending: PendingRequest, scope: AccessScope) -> Refused | None:
        """Return why a request is outdated: the pod was replaced, or the right is gone."""
        # The approver has seen the UID in the message: another pod of that name is another request.
        pod = await self._pods.get(scope.namespace, scope.pod)
        if pod is None or pod.uid != pending.pod_uid:
            return Refused("approval.replaced", pod=scope.pod)
        asker = pending.requester.actor
        try:
            with audit.decision(asker.user, asker.team, asker.channel):
                await self._authorisation.authorise(asker, "capture", scope)
        except Refused as refusal:
            if refusal.key == "refused.unsure":
                # Nobody knows at the moment: the request goes on waiting.
                raise
            return Refused("approval.withdrawn")
        return None


def _same(one: Person, other: Person) -> bool:
    """Whether two Slack users are one person, at least for the cluster."""
    return one.actor.user == other.actor.user or one.identity.username == other.identity.username
