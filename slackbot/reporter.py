"""All checkpoints that belong to a channel, whoever made them: each gets its report."""

from __future__ import annotations

import logging
from datetime import timedelta

from anyio.abc import TaskGroup

from forensics_core.api.podcheckpoint import PodCheckpoint
from forensics_core.kube.listwatch import EventType
from forensics_core.kube.objects import Object
from forensics_core.kube.podcheckpoints import CheckpointEvent
from slackbot.bookmark import TOLD, Bookmark
from slackbot.desk import Desk
from slackbot.finder import home_of
from slackbot.milestones import LAST
from slackbot.report import Report
from slackbot.settings import Settings

log = logging.getLogger(__name__)

MISSED = timedelta(hours=1)
"""How long ago a checkpoint may have ended that is reported all the same, if nobody was told."""

SHOWN = ("phase", "startTime", "completionTime", "conditions", "location", "attempt", "node")
"""Of a status: what the last edit of a message needs."""


class Reporter:
    """Watches until cancelled, and goes on where the bot left off before."""

    def __init__(self, desk: Desk, settings: Settings, tasks: TaskGroup) -> None:
        self.desk = desk
        self.ready = False
        """Whether everything that was there at the start is known."""
        self._settings = settings
        self._tasks = tasks
        self._running: dict[str, Report] = {}
        self._ended: dict[str, Bookmark] = {}
        """Of checkpoints that are still there: an event that comes late begins nothing again."""

    async def run(self) -> None:
        """Watch. Raises `ClusterError` only if watching is refused from the beginning."""
        async with self.desk.checkpoints.watch(remember=kept) as events:
            async for event in events:
                self._take(event)

    def _take(self, event: CheckpointEvent) -> None:
        checkpoint, deleted = event.checkpoint, event.type is EventType.DELETED
        if checkpoint is None:
            self.ready = True
            return
        uid = checkpoint.metadata.uid or ""
        if uid in self._running:
            self._running[uid].show(checkpoint, deleted=deleted)
        elif deleted:
            self._bury(uid, checkpoint)
        elif uid not in self._ended and self._wanted(checkpoint):
            self._begin(uid, self._report(checkpoint, Bookmark.of(checkpoint)))

    def _bury(self, uid: str, checkpoint: PodCheckpoint) -> None:
        """Take the buttons from the message of a checkpoint whose report has ended."""
        bookmark = self._ended.pop(uid, None) or Bookmark.of(checkpoint)
        if bookmark.message and home_of(checkpoint, self._settings):
            report = self._report(checkpoint, bookmark)
            report.deleted = True
            self._begin(uid, report)

    def _wanted(self, checkpoint: PodCheckpoint) -> bool:
        bookmark = Bookmark.of(checkpoint)
        if not home_of(checkpoint, self._settings) or LAST & set(bookmark.told):
            return False
        ended = checkpoint.status.completion_time
        return bool(bookmark.message) or ended is None or self.desk.now() - ended < MISSED

    def _report(self, checkpoint: PodCheckpoint, bookmark: Bookmark) -> Report:
        return Report(self.desk, home_of(checkpoint, self._settings), checkpoint, bookmark)

    def _begin(self, uid: str, report: Report) -> None:
        self._running[uid] = report
        self._tasks.start_soon(self._follow, uid, report)

    async def _follow(self, uid: str, report: Report) -> None:
        try:
            await report.run()
            if not report.deleted:
                self._ended[uid] = report.bookmark
        except Exception:
            # One checkpoint that cannot be reported must not silence the others.
            log.exception("The report of %s ended", report.checkpoint.metadata.name)
        finally:
            del self._running[uid]


def kept(item: Object) -> Object:
    """Return what to hold of a checkpoint, in case that its deletion is missed.

    There may be thousands whose end was told: of those it is little.
    """
    told = (item["metadata"].get("annotations") or {}).get(TOLD, "")
    if not LAST & set(told.split(",")):
        return item
    status = item.get("status") or {}
    return item | {"status": {name: status[name] for name in SHOWN if name in status}}
