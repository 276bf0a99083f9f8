"""All checkpoints that belong to a channel, whoever made them: each gets its report."""

from __future__ import annotations

import logging
from datetime import timedelta

from anyio.abc import TaskGroup

from forensics_core.api.podcheckpoint import PodCheckpoint
from forensics_core.kube.listwatch import EventType
from forensics_core.kube.objects import Object
from forensics_core.kube.podcheckpoints import CheckpointEvent
from slackbot.finder import channel_of
from slackbot.incident_report import IncidentReport
from slackbot.incidents import Incidents, KnownIncident
from slackbot.report import Report
from slackbot.report_context import ReportContext
from slackbot.report_state import LAST, POSTED_ANNOTATION, ReportState, is_over
from slackbot.settings import Settings

log = logging.getLogger(__name__)

STILL_REPORTED = timedelta(hours=1)
"""How long ago a checkpoint may have ended that is still reported: the bot was down then."""
JUST_NOW = timedelta(minutes=1)
"""Before its first start: what ended then is no history yet, for clocks differ."""

KEPT_STATUS = (
    *("phase", "startTime", "completionTime", "conditions", "location", "attempt", "node"),
    *("podUID", "findings", "bytes", "size", "manifestSHA256"),
)
"""Of a status: what the last edit of a message needs, and the summary of its incident."""


class Reporter:
    """Watches until cancelled, and goes on where the bot left off before."""

    def __init__(self, context: ReportContext, settings: Settings, tasks: TaskGroup) -> None:
        self.context = context
        self.ready = False
        """Whether everything that was there at the start is known."""
        self._settings = settings
        self._tasks = tasks
        self._running: dict[str, Report] = {}
        self._ended: dict[str, ReportState] = {}
        """Of checkpoints that still exist: a late event must not start a second report."""
        self._incidents = Incidents(settings)
        self._first: list[PodCheckpoint] = []
        self._began = context.now() - JUST_NOW
        self._history: set[str] = set()
        """UIDs of what was over when a bot began that had never told anything."""

    async def run(self) -> None:
        """Watch. Raises `ClusterError` only if watching is refused from the beginning."""
        async with self.context.checkpoints.watch(remember=reduced) as events:
            async for event in events:
                self._handle(event)

    def _handle(self, event: CheckpointEvent) -> None:
        checkpoint = event.checkpoint
        if checkpoint is None:
            self._begin()
        elif self.ready:
            self._take(checkpoint, deleted=event.type is EventType.DELETED)
        else:
            self._first.append(checkpoint)

    def _begin(self) -> None:
        """Start the reports of all that was there, once all of it is known."""
        first, self._first = self._first, []
        states = [ReportState.of(one) for one in first]
        # A bot that never told anything: what is over by now is history, and no news.
        first_start = not any(one.message or one.requester for one in states)
        for checkpoint in first:
            self._incidents.remember(checkpoint)
            ended = checkpoint.status.completion_time
            if first_start and ended and ended < self._began:
                self._history.add(checkpoint.metadata.uid or "")
        for checkpoint in first:
            self._take(checkpoint)
        self.ready = True

    def _take(self, checkpoint: PodCheckpoint, *, deleted: bool = False) -> None:
        uid = checkpoint.metadata.uid or ""
        incident = self._incidents.remember(checkpoint, deleted=deleted)
        if uid in self._running:
            self._running[uid].show(checkpoint, deleted=deleted)
        if incident and incident.report:
            incident.report.show(checkpoint, deleted=deleted, told=self._is_history(checkpoint))
            if not incident.is_separate(checkpoint):
                return
        if uid in self._running:
            return
        grouped = bool(incident and incident.is_grouped(checkpoint))
        if deleted:
            if not grouped:
                self._remove_buttons(uid, checkpoint)
            self._ended.pop(uid, None)
        elif self._needs_report(uid, checkpoint):
            self._start_fitting(uid, checkpoint, incident, grouped=grouped)

    def _remove_buttons(self, uid: str, checkpoint: PodCheckpoint) -> None:
        """Take the buttons from the message of a checkpoint whose report has ended."""
        state = self._ended.pop(uid, None) or ReportState.of(checkpoint)
        if state.message and channel_of(checkpoint, self._settings):
            report = self._report(checkpoint, state)
            # It edits the message once more, without buttons, and ends.
            report.deleted = True
            self._start(uid, report)

    def _needs_report(self, uid: str, checkpoint: PodCheckpoint) -> bool:
        state = self._ended.get(uid) or ReportState.of(checkpoint)
        if not channel_of(checkpoint, self._settings) or is_over(checkpoint, state.posted):
            return False
        if state.message or not checkpoint.finished:
            return True
        return not self._is_history(checkpoint)

    def _is_history(self, checkpoint: PodCheckpoint) -> bool:
        """Whether it was over before anybody could be told of it, or so long ago that it is old."""
        ended = checkpoint.status.completion_time
        if not checkpoint.finished or ended is None:
            return False
        if checkpoint.metadata.uid in self._history:
            return True
        return self.context.now() - ended >= STILL_REPORTED

    def _start_fitting(
        self, uid: str, checkpoint: PodCheckpoint, incident: KnownIncident | None, *, grouped: bool
    ) -> None:
        """Start a report of its own, or the one that all pods of its incident share."""
        if incident and not incident.is_separate(checkpoint):
            peers = [
                one
                for name, one in self._running.items()
                # One whose end was told keeps its message.
                if name in incident.checkpoints and not LAST & set(one.state.posted)
            ]
            if peers or grouped:
                self._start_incident(incident, peers, ReportState.of(checkpoint).message)
                return
        state = self._ended.pop(uid, None) or ReportState.of(checkpoint)
        self._start(uid, self._report(checkpoint, state))

    def _report(self, checkpoint: PodCheckpoint, state: ReportState) -> Report:
        channel = channel_of(checkpoint, self._settings)
        late = not self.ready and checkpoint.finished
        return Report(self.context, channel, checkpoint, state, late=late)

    def _start(self, uid: str, report: Report) -> None:
        self._running[uid] = report
        self._tasks.start_soon(self._run_report, uid, report)

    async def _run_report(self, uid: str, report: Report) -> None:
        try:
            await report.run()
            if not (report.deleted or report.moved):
                self._ended[uid] = report.state
        except Exception:
            # One checkpoint that cannot be reported must not stop the reports of the others.
            log.exception("The report of %s ended", report.checkpoint.metadata.name)
        finally:
            del self._running[uid]

    def _start_incident(self, incident: KnownIncident, peers: list[Report], message: str) -> None:
        report = IncidentReport(self.context, incident.channel, incident.name, {}, message)
        incident.report = report
        for peer in peers:
            peer.hand_over()
        self._tasks.start_soon(self._run_incident, incident, report, peers)

    async def _run_incident(
        self, incident: KnownIncident, report: IncidentReport, peers: list[Report]
    ) -> None:
        """Wait for what the pods' own reports have begun, then show all in one."""
        for peer in peers:
            await peer.ended.wait()
            report.message = report.message or peer.state.message
        self._gather(incident, report, peers)
        try:
            await report.run()
        except Exception:
            log.exception("The report of the incident %s ended", incident.name)
        finally:
            incident.report = None
        for uid, member in report.members.items():
            if not member.separate:
                self._ended[uid] = member.state

    def _gather(self, incident: KnownIncident, report: IncidentReport, peers: list[Report]) -> None:
        """Give an incident's report all its checkpoints, and what was told of each."""
        states = {peer.checkpoint.metadata.uid: peer.state for peer in peers}
        for uid, checkpoint in incident.checkpoints.items():
            report.show(checkpoint, told=self._is_history(checkpoint))
            known = states.get(uid) or self._ended.get(uid)
            if known:
                report.take_over(uid, known)
        report.begun = True
        for uid, member in report.members.items():
            alone = member.separate and uid not in self._running
            if alone and self._needs_report(uid, member.checkpoint):
                self._start(uid, self._report(member.checkpoint, member.state))
        report.late = all(one.finished for one in incident.checkpoints.values())


def reduced(item: Object) -> Object:
    """Return what to keep of a checkpoint in memory, in case its deletion is missed.

    Thousands may have ended: of those whose end was posted, only what a last edit needs.
    """
    posted = (item["metadata"].get("annotations") or {}).get(POSTED_ANNOTATION, "")
    if not LAST & set(posted.split(",")):
        return item
    status = item.get("status") or {}
    # Containers and progress are the bulk of a status, and no longer shown.
    return item | {"status": {name: status[name] for name in KEPT_STATUS if name in status}}
