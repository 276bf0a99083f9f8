"""What the bot writes onto a PodCheckpoint, so that it finds its messages again after a restart."""

from __future__ import annotations

from dataclasses import dataclass

from forensics_core.api.names import EXPECTED_POD_UID_ANNOTATION, GROUP
from forensics_core.api.podcheckpoint import PodCheckpoint

CHANNEL = f"{GROUP}/slack-channel"
"""The channel to report in; anybody may set it on a PodCheckpoint."""
MESSAGE = f"{GROUP}/slack-message"
"""The timestamp that names the root message."""
THREAD = f"{GROUP}/slack-thread"
"""The message in whose thread somebody asked: it is told where to follow."""
REQUESTER = f"{GROUP}/slack-requester"
APPROVER = f"{GROUP}/slack-approver"
"""Slack users."""
LANGUAGE = f"{GROUP}/slack-language"
TOLD = f"{GROUP}/slack-told"
"""The milestones that are in the thread, with commas between them."""


@dataclass(frozen=True, slots=True)
class Bookmark:
    """Where a checkpoint is reported, and how far that is."""

    channel: str = ""
    message: str = ""
    thread: str = ""
    requester: str = ""
    approver: str = ""
    language: str = ""
    pod_uid: str = ""
    """The pod that was approved: the operator captures no other."""
    told: tuple[str, ...] = ()

    @classmethod
    def of(cls, checkpoint: PodCheckpoint) -> Bookmark:
        """Read the annotations."""
        read = checkpoint.metadata.annotations.get
        return cls(
            channel=read(CHANNEL, ""),
            message=read(MESSAGE, ""),
            thread=read(THREAD, ""),
            requester=read(REQUESTER, ""),
            approver=read(APPROVER, ""),
            language=read(LANGUAGE, ""),
            pod_uid=read(EXPECTED_POD_UID_ANNOTATION, ""),
            told=tuple(one for one in read(TOLD, "").split(",") if one),
        )

    def annotations(self) -> dict[str, str]:
        """Return the annotations that say the same; what is empty is left out."""
        said = {
            CHANNEL: self.channel,
            MESSAGE: self.message,
            THREAD: self.thread,
            REQUESTER: self.requester,
            APPROVER: self.approver,
            LANGUAGE: self.language,
            EXPECTED_POD_UID_ANNOTATION: self.pod_uid,
            TOLD: ",".join(self.told),
        }
        return {name: value for name, value in said.items() if value}
