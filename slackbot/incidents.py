"""Which checkpoints belong to which incident, whether they are reported or not."""

from __future__ import annotations

from dataclasses import dataclass, field

from forensics_core.api.podcheckpoint import PodCheckpoint
from slackbot.finder import channel_of
from slackbot.incident_report import IncidentReport
from slackbot.report_state import ReportState, incident_of
from slackbot.settings import Settings


@dataclass
class KnownIncident:
    """The checkpoints of an incident that are reported in one channel."""

    channel: str
    name: str
    checkpoints: dict[str, PodCheckpoint] = field(default_factory=dict)
    """By UID, the ended ones too."""
    report: IncidentReport | None = None
    """What shows them all, while there is anything to tell."""

    def is_grouped(self, checkpoint: PodCheckpoint) -> bool:
        """Return whether the checkpoint shares its message with another one."""
        message = ReportState.of(checkpoint).message
        uid = checkpoint.metadata.uid
        others = (one for name, one in self.checkpoints.items() if name != uid)
        return bool(message) and any(ReportState.of(one).message == message for one in others)

    def is_separate(self, checkpoint: PodCheckpoint) -> bool:
        """Return whether it has a message of its own, which nothing else is shown in."""
        message = ReportState.of(checkpoint).message
        if self.report:
            # It knows better: the message may have been posted anew since.
            return self.report.is_separate(checkpoint.metadata.uid or "")
        return bool(message) and not self.is_grouped(checkpoint)


class Incidents:
    """All that are known; an incident without checkpoints is forgotten."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._known: dict[tuple[str, str], KnownIncident] = {}

    def remember(self, checkpoint: PodCheckpoint, *, deleted: bool = False) -> KnownIncident | None:
        """Take the newest version of a checkpoint; return its incident, if it has one."""
        name, channel = incident_of(checkpoint), channel_of(checkpoint, self._settings)
        if not (name and channel):
            return None
        incident = self._known.setdefault((channel, name), KnownIncident(channel, name))
        uid = checkpoint.metadata.uid or ""
        if deleted:
            incident.checkpoints.pop(uid, None)
            if not (incident.checkpoints or incident.report):
                del self._known[(channel, name)]
        else:
            incident.checkpoints[uid] = _slim(checkpoint)
        return incident


def _slim(checkpoint: PodCheckpoint) -> PodCheckpoint:
    """Return it without the bulk of its status, which no summary shows."""
    left_out = {"containers": (), "progress": None, "timings": ()}
    return checkpoint.model_copy(update={"status": checkpoint.status.model_copy(update=left_out)})
