"""Who may do what: checked anew at every command, suggestion, submission and click.

In this order: the workspace, the channel, the person, the identity in the cluster, and last a
SubjectAccessReview of that identity. What cannot be found out is refused. The bot impersonates
nobody: it asks the cluster, and acts as itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import anyio

from forensics_core.api.podcheckpoint import AfterCapture, PodCheckpointSpec
from forensics_core.errors import ClusterError
from forensics_core.kube.access import AccessRequest, allowed
from forensics_core.kube.connection import ClusterConnection
from forensics_core.kube.resources import NETWORK_POLICIES, PODS
from slackbot import audit
from slackbot.catalogue import language_of
from slackbot.directory import Directory
from slackbot.errors import Refused, SlackError
from slackbot.settings import Identity, Settings
from slackbot.text import clip

REVIEWS = 10
"""Namespaces or pods whose SubjectAccessReviews are made at once."""
EVERYBODY = "system:authenticated"
"""The group that the API server adds to everybody who logs in."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did something in Slack, and where, by Slack's signed payload."""

    user: str
    team: str
    channel: str = ""
    """Empty in the bot's home."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who may use the bot at all."""

    actor: Actor
    identity: Identity
    language: str


@dataclass(frozen=True, slots=True)
class AccessScope:
    """What access is checked for: a pod, or without one all pods of the namespace."""

    namespace: str
    pod: str = ""
    isolate: bool = False
    """The pod is to be cut off the network."""
    delete: bool = False
    """It is to be deleted once it is captured."""
    release: bool = False
    """Its isolation is to be lifted."""
    listed: bool = False
    """The names of the pods there are to be known."""

    @classmethod
    def of(cls, spec: PodCheckpointSpec, namespace: str = "") -> AccessScope:
        """Return what a request takes: for its pod, or for all pods of a `namespace`."""
        pod = "" if namespace else spec.pod
        delete = spec.after_capture is not AfterCapture.KEEP
        return cls(namespace or spec.namespace or "", pod, isolate=spec.isolate, delete=delete)

    def requests(self) -> Iterator[AccessRequest]:
        """Yield what somebody needs to do it by hand; admission asks for the same."""
        yield AccessRequest("create", PODS, self.namespace, "exec", self.pod)
        if self.listed:
            yield AccessRequest("list", PODS, self.namespace)
        if self.isolate:
            yield AccessRequest("create", NETWORK_POLICIES, self.namespace)
        if self.release:
            yield AccessRequest("delete", NETWORK_POLICIES, self.namespace)
        if self.isolate or self.release:
            yield AccessRequest("patch", PODS, self.namespace, name=self.pod)
        if self.delete:
            yield AccessRequest("delete", PODS, self.namespace, name=self.pod)


async def _side_by_side(
    checks: Sequence[Callable[[], Awaitable[None]]],
) -> list[Refused | None]:
    """Make all checks, some at once; return the refusal of each.

    One after the other, those of many namespaces would not fit into Slack's three seconds.
    """
    refusals: list[Refused | None] = [None] * len(checks)
    limiter = anyio.CapacityLimiter(REVIEWS)

    async def make(place: int, check: Callable[[], Awaitable[None]]) -> None:
        async with limiter:
            try:
                await check()
            except Refused as refusal:
                refusals[place] = refusal

    async with anyio.create_task_group() as tasks:
        for place, check in enumerate(checks):
            tasks.start_soon(make, place, check)
    return refusals


class Authorisation:
    """All checks; each notes for the audit what it checks."""

    def __init__(
        self, cluster: ClusterConnection, directory: Directory, settings: Settings, team: str
    ) -> None:
        self._cluster = cluster
        self._directory = directory
        self._settings = settings
        self._team = team

    async def admit(self, actor: Actor, action: str, *, home: bool = False) -> Person:
        """Return who this is, if they may use the bot here. Raises `Refused`.

        `home`: there is no channel, and none is asked for.
        """
        audit.note(action=action)
        try:
            person = await self._admit(actor, home=home)
        except SlackError as error:
            # Slack cannot say who this is: nobody gets in because a check failed.
            raise Refused("refused.unsure", reason=error.code) from error
        audit.note(identity=person.identity.username)
        return person

    async def permit(self, person: Person, scope: AccessScope) -> None:
        """Make sure that somebody may capture a pod, and so see what is captured of it.

        Raises `Refused`.
        """
        audit.note(namespace=scope.namespace, pod=scope.pod)
        await self._check_access(person, scope)

    async def permit_all(self, person: Person, scopes: Sequence[AccessScope]) -> None:
        """Make sure of all of them. Raises `Refused` for the first that is not permitted."""
        refusals = await _side_by_side(
            [partial(self._check_access, person, scope) for scope in scopes]
        )
        for scope, refusal in zip(scopes, refusals, strict=True):
            audit.note(namespace=scope.namespace, pod=scope.pod)
            if refusal is not None:
                raise refusal
        audit.note(namespace=clip(", ".join(scope.namespace for scope in scopes), 500))

    async def authorise(self, actor: Actor, action: str, scopes: Sequence[AccessScope]) -> Person:
        """Do both: `admit`, then `permit_all`."""
        person = await self.admit(actor, action)
        await self.permit_all(person, scopes)
        return person

    async def visible(
        self, person: Person, namespaces: Iterable[str], *, listed: bool = False
    ) -> set[str]:
        """Return those namespaces in which somebody may capture every pod.

        `listed`: and may list them.
        """
        several = [*dict.fromkeys(namespaces)]
        refusals = await _side_by_side(
            [
                partial(self._check_access, person, AccessScope(one, listed=listed))
                for one in several
            ]
        )
        found = {one for one, refusal in zip(several, refusals, strict=True) if refusal is None}
        audit.note(namespace=clip(", ".join(sorted(found)), 500))
        return found

    async def may_list_pods(self, person: Person, namespace: str) -> bool:
        """Return whether somebody may know the names of the pods there."""
        return await self._may(person.identity, AccessRequest("list", PODS, namespace))

    async def language(self, actor: Actor) -> str:
        """Return what language to speak to somebody, whoever it is."""
        try:
            user = await self._directory.user(actor.user)
        except SlackError:
            return self._settings.language
        return language_of(user.locale, self._settings.language)

    async def _admit(self, actor: Actor, *, home: bool) -> Person:
        # The cheap checks first: whoever fails them costs no call of Slack or the cluster.
        if actor.team != self._team:
            raise Refused("refused.team")
        if not home:
            await self._check_channel(actor.channel)
        if not await self._directory.is_listed(actor.user):
            raise Refused("refused.person")
        user = await self._directory.user(actor.user)
        identity = self._directory.identity(user, self._team)
        if identity is None:
            raise Refused("refused.identity", user=actor.user)
        return Person(actor, identity, language_of(user.locale, self._settings.language))

    async def _check_channel(self, channel: str) -> None:
        if self._settings.channel(channel) is None:
            raise Refused("refused.channel")
        # People of another organisation would read which pods are under suspicion.
        if (await self._directory.channel(channel)).shared:
            raise Refused("refused.shared")

    async def _check_access(self, person: Person, scope: AccessScope) -> None:
        identity = person.identity
        for request in scope.requests():
            if not await self._may(identity, request):
                right = f"{request.verb} {request.resource.plural}"
                right += f"/{request.subresource}" if request.subresource else ""
                names = {"identity": identity.username, "namespace": scope.namespace}
                raise Refused("refused.access", **names, right=right)

    async def _may(self, identity: Identity, action: AccessRequest) -> bool:
        # The API server adds this group at a login; a review knows only what it is given.
        groups = (*identity.groups, EVERYBODY)
        try:
            verdict = await allowed(self._cluster, identity.username, groups, action)
        except ClusterError as error:
            raise Refused("refused.unsure", reason=type(error).__name__) from error
        return verdict.allowed
