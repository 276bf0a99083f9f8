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
from slackbot.report import Report, ReportContext
from slackbot.report_state import LAST, POSTED_ANNOTATION, ReportState
from slackbot.settings import Settings

log = logging.getLogger(__name__)

STILL_REPORTED = timedelta(hours=1)
"""How long ago a checkpoint may have ended that is still reported: the bot was down then."""

KEPT_STATUS = ("phase", "startTime", "completionTime", "conditions", "location", "attempt", "node")
"""Of a status: what the last edit of a message needs."""


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

    async def run(self) -> None:
        """Watch. Raises `ClusterError` only if watching is refused from the beginning."""
        async with self.context.checkpoints.watch(remember=reduced) as events:
            async for event in events:
                self._handle(event)

    def _handle(self, event: CheckpointEvent) -> None:
        checkpoint, deleted = event.checkpoint, event.type is EventType.DELETED
        # SYNCED: everything that existed at the start is known.
        if checkpoint is None:
            self.ready = True
            return
        uid = checkpoint.metadata.uid or ""
        if uid in self._running:
            self._running[uid].show(checkpoint, deleted=deleted)
        elif deleted:
            self._remove_buttons(uid, checkpoint)
        elif uid not in self._ended and self._needs_report(checkpoint):
            self._start(uid, self._report(checkpoint, ReportState.of(checkpoint)))

    def _remove_buttons(self, uid: str, checkpoint: PodCheckpoint) -> None:
        """Take the buttons from the message of a checkpoint whose report has ended."""
        state = self._ended.pop(uid, None) or ReportState.of(checkpoint)
        if state.message and channel_of(checkpoint, self._settings):
            report = self._report(checkpoint, state)
            # It edits the message once more, without buttons, and ends.
            report.deleted = True
            self._start(uid, report)

    def _needs_report(self, checkpoint: PodCheckpoint) -> bool:
        state = ReportState.of(checkpoint)
        if not channel_of(checkpoint, self._settings) or LAST & set(state.posted):
            return False
        ended = checkpoint.status.completion_time
        return bool(state.message) or ended is None or self.context.now() - ended < STILL_REPORTED

    def _report(self, checkpoint: PodCheckpoint, state: ReportState) -> Report:
        return Report(self.context, channel_of(checkpoint, self._settings), checkpoint, state)

    def _start(self, uid: str, report: Report) -> None:
        self._running[uid] = report
        self._tasks.start_soon(self._run_report, uid, report)

    async def _run_report(self, uid: str, report: Report) -> None:
        try:
            await report.run()
            if not report.deleted:
                self._ended[uid] = report.state
        except Exception:
            # One checkpoint that cannot be reported must not stop the reports of the others.
            log.exception("The report of %s ended", report.checkpoint.metadata.name)
        finally:
            del self._running[uid]


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
