"""Finding checkpoints for users: whether they may see them is checked each time."""

from __future__ import annotations

from forensics_core.api.names import RULE_LABEL
from forensics_core.api.podcheckpoint import PodCheckpoint
from forensics_core.errors import NotFound
from forensics_core.kube.podcheckpoints import PodCheckpoints
from slackbot import audit
from slackbot.authorisation import AccessScope, Actor, Authorisation, Person
from slackbot.errors import Refused, UserMessage
from slackbot.report_state import ReportState, incident_of
from slackbot.settings import Settings


class Finder:
    """Looks up checkpoints. Raises `UserMessage`, or a `ClusterError`."""

    def __init__(
        self, checkpoints: PodCheckpoints, authorisation: Authorisation, settings: Settings
    ) -> None:
        self._checkpoints = checkpoints
        self._authorisation = authorisation
        self._settings = settings

    async def named(self, actor: Actor, action: str, name: str) -> tuple[Person, PodCheckpoint]:
        """Return the checkpoint of that name. One that is not there and one that the person may
        not see get the same answer."""
        person = await self._authorisation.admit(actor, action)
        # Made before the look-up, so that both answers are the same to the letter.
        unknown = UserMessage("error.checkpoint", name=name)
        try:
            checkpoint = await self._checkpoints.get(name)
            _note(checkpoint)
            await self._authorisation.permit(person, _scope(checkpoint))
        except NotFound as error:
            raise unknown from error
        except Refused as refusal:
            raise (refusal if refusal.key == "refused.unsure" else unknown) from refusal
        return person, checkpoint

    async def clicked(self, actor: Actor, action: str, uid: str) -> tuple[Person, PodCheckpoint]:
        """Return the checkpoint whose button was clicked, as it is now."""
        person = await self._authorisation.admit(actor, action)
        # Buttons carry the UID, as a name may be used again; the API server cannot select by it.
        found = [one for one in await self._checkpoints.list() if one.metadata.uid == uid]
        if not found:
            raise UserMessage("error.checkpoint", name=uid)
        _note(found[0])
        await self._authorisation.permit(person, _scope(found[0]))
        return person, found[0]

    async def seen_by(self, person: Person, channel: str = "") -> list[PodCheckpoint]:
        """Return the checkpoints that somebody may see, the newest first; of a channel, or all."""
        there = await self._checkpoints.list()
        if channel:
            there = [one for one in there if channel_of(one, self._settings) == channel]
        # By namespace: a review for each of a thousand checkpoints would take minutes.
        visible = await self._authorisation.visible(person, (one.target_namespace for one in there))
        found = [one for one in there if one.target_namespace in visible]
        return sorted(found, key=_age, reverse=True)


def evidence_of(checkpoint: PodCheckpoint) -> str:
    """Return where the evidence is. Raises `UserMessage` where there is none yet."""
    if not checkpoint.evidence_location:
        raise UserMessage("error.incomplete", name=checkpoint.metadata.name)
    return checkpoint.evidence_location


def channel_of(checkpoint: PodCheckpoint, settings: Settings) -> str:
    """Return the channel by annotation, or else by incident; only one that is on the list."""
    named = settings.channel(ReportState.of(checkpoint).channel)
    incident, rule = incident_of(checkpoint), checkpoint.metadata.labels.get(RULE_LABEL, "")
    channel = named or (settings.channel_for(incident) if incident else None)
    channel = channel or (settings.channel_for_rule(rule) if rule else None)
    return channel.id if channel else ""


def _note(checkpoint: PodCheckpoint) -> None:
    audit.note(checkpoint=checkpoint.metadata.name, pod_uid=checkpoint.status.pod_uid)


def _scope(checkpoint: PodCheckpoint) -> AccessScope:
    return AccessScope(checkpoint.target_namespace, checkpoint.spec.pod)


def _age(checkpoint: PodCheckpoint) -> tuple[float, str]:
    made = checkpoint.metadata.creation_timestamp
    return (made.timestamp() if made else 0.0, checkpoint.metadata.name)
