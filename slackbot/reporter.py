"""All checkpoints that belong to a channel, whoever made them: each gets its report."""

from __future__ import annotations

import logging
from datetime import timedelta

import anyio
from anyio.abc import TaskGroup

from forensics_core.api.podcheckpoint import PodCheckpoint
from forensics_core.kube.listwatch import EventType
from forensics_core.kube.podcheckpoints import CheckpointEvent
from slackbot.bookmark import Bookmark
from slackbot.finder import home_of
from slackbot.milestones import LAST
from slackbot.report import Desk, Report
from slackbot.settings import Settings

log = logging.getLogger(__name__)

MISSED = timedelta(hours=1)
"""How long ago a checkpoint may have ended that is reported all the same, if nobody was told."""


class Reporter:
    """Watches until cancelled, and goes on where the bot left off before."""

    def __init__(self, desk: Desk, settings: Settings, tasks: TaskGroup) -> None:
        self.desk = desk
        self.ready = False
        """Whether everything that was there at the start is known."""
        self._settings = settings
        self._tasks = tasks
        self._running: dict[str, tuple[Report, anyio.CancelScope]] = {}

    async def run(self) -> None:
        """Watch. Raises `ClusterError` only if watching is refused from the beginning."""
        async with self.desk.checkpoints.watch() as events:
            async for event in events:
                self._take(event)

    def _take(self, event: CheckpointEvent) -> None:
        checkpoint = event.checkpoint
        if checkpoint is None:
            self.ready = True
            return
        uid = checkpoint.metadata.uid or ""
        if event.type is EventType.DELETED:
            self._drop(uid)
        elif uid in self._running:
            self._running[uid][0].show(checkpoint)
        elif self._wanted(checkpoint):
            self._begin(uid, checkpoint)

    def _wanted(self, checkpoint: PodCheckpoint) -> bool:
        bookmark = Bookmark.of(checkpoint)
        if not home_of(checkpoint, self._settings) or LAST & set(bookmark.told):
            return False
        ended = checkpoint.status.completion_time
        return bool(bookmark.message) or ended is None or self.desk.now() - ended < MISSED

    def _begin(self, uid: str, checkpoint: PodCheckpoint) -> None:
        report = Report(self.desk, home_of(checkpoint, self._settings), checkpoint)
        scope = anyio.CancelScope()
        self._running[uid] = (report, scope)
        self._tasks.start_soon(self._follow, uid, report, scope)

    async def _follow(self, uid: str, report: Report, scope: anyio.CancelScope) -> None:
        try:
            with scope:
                await report.run()
        except Exception:
            # One checkpoint that cannot be reported must not silence the others.
            log.exception("The report of %s ended", report.checkpoint.metadata.name)
        finally:
            self._running.pop(uid, None)

    def _drop(self, uid: str) -> None:
        if uid in self._running:
            self._running[uid][1].cancel()
