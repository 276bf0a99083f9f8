"""One checkpoint's message and thread: a task that keeps both up to date, in order, never too fast.

What happened meanwhile is coalesced into the next edit; milestones are never coalesced. A failure
of Slack is waited for, not skipped.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import anyio

from forensics_core.api.podcheckpoint import PodCheckpoint
from forensics_core.bundle.manifest import Artifact
from forensics_core.errors import ClusterError, ForensicsError, NotFound
from forensics_core.kube.backoff import Backoff
from slackbot.blocks.answers import sentence
from slackbot.blocks.elements import Message
from slackbot.blocks.root import root_message
from slackbot.blocks.thread import link_message, milestone_message
from slackbot.bookmark import Bookmark
from slackbot.desk import Desk
from slackbot.errors import SlackError
from slackbot.milestones import COMPLETE, ENDS, LAST, LINKED, milestones
from slackbot.pace import ORDINARY, URGENT

log = logging.getLogger(__name__)

GONE = {"message_not_found", "cant_update_message", "edit_window_closed"}
"""Slack's words for a message that cannot be edited ever again."""
LOST = {"message_not_found", "thread_not_found", "cannot_reply_to_message"}
"""Its words for a message that has no thread: it was deleted."""
UNFIT = ("invalid_blocks", "msg_blocks_too_long")
"""How its words begin for blocks that it will never take."""
Step = Callable[[], Awaitable[None]]
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0
"""Seconds between tries while Slack or the cluster does not do it."""
TICK = 60.0
"""Seconds after which the elapsed time is shown anew, though nothing else is new."""


@dataclass
class Report:
    """Follows one checkpoint in `channel`. `show` tells it what is new; `run` does the work."""

    desk: Desk
    channel: str
    checkpoint: PodCheckpoint
    bookmark: Bookmark
    deleted: bool = False
    _changed: anyio.Event = field(default_factory=anyio.Event)
    _saved: Bookmark = field(init=False)
    _shown: Any = None
    _shown_news: Any = field(init=False)
    _queue: anyio.CancelScope | None = None
    """Where an edit of mere progress waits for its turn."""
    _next_edit: float = float("-inf")
    _editable: bool = True

    def __post_init__(self) -> None:
        self._saved = self.bookmark
        told = [one for one in self.bookmark.told if one != LINKED]
        self._shown_news = told, self.checkpoint.spec.cancel

    def show(self, checkpoint: PodCheckpoint, *, deleted: bool = False) -> None:
        """Take what is new; whatever was not shown yet is skipped."""
        self.checkpoint = checkpoint
        self.deleted = self.deleted or deleted
        if self._queue and self._rank() is URGENT:
            self._queue.cancel()
        self._wake()

    async def run(self) -> None:
        """Work until the checkpoint's end, or its deletion, has been shown and told."""
        # Again if it is deleted just when both tasks have ended.
        while not self._over():
            async with anyio.create_task_group() as tasks:
                # Two tasks, as a milestone must not wait for the turn of an edit.
                tasks.start_soon(self._keep, self._edit)
                tasks.start_soon(self._keep, self._tell)

    async def _keep(self, step: Step) -> None:
        while not self._over():
            await self._patiently(step)

    def _over(self) -> bool:
        if self.deleted:
            # Nothing can be remembered any more: all of it has to be said.
            return bool(self.bookmark.message) and not (self._due() or self._stale())
        return bool(LAST & set(self._saved.told))

    async def _patiently(self, step: Step) -> None:
        """Do a step, again and again until it works."""
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        while True:
            try:
                await step()
                return
            except (SlackError, ClusterError) as error:
                log.warning("%s: %s", self.checkpoint.metadata.name, error)
                if self.deleted and isinstance(error, SlackError) and not error.passing:
                    raise
                await anyio.sleep(backoff.next())

    def _wake(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    @property
    def _language(self) -> str:
        return self.bookmark.language or self.desk.frame.language

    def _reached(self) -> list[str]:
        return milestones(self.checkpoint, deleted=self.deleted)

    def _due(self) -> str:
        """Return the first thing that the thread does not have, or nothing."""
        due = [*([LINKED] if self.bookmark.thread else []), *self._reached()]
        return next((one for one in due if one not in self.bookmark.told), "")

    def _news(self) -> Any:
        """Return what must not wait behind mere progress."""
        return self._reached(), self.checkpoint.spec.cancel

    def _rank(self) -> int:
        return ORDINARY if self._news() == self._shown_news else URGENT

    def _seconds(self) -> float:
        """Return how long the capture has gone on so far; 0 if it does not."""
        started = self.checkpoint.status.start_time
        if started is None or self.checkpoint.finished or self.deleted:
            return 0.0
        return max(0.0, (self.desk.now() - started).total_seconds())

    def _state(self) -> Any:
        status, cancel = self.checkpoint.status, self.checkpoint.spec.cancel
        return status, cancel, self.deleted, self.desk.frame.simple, self._seconds() // TICK

    def _stale(self) -> bool:
        return self._editable and self._shown != self._state()

    def _root(self) -> Message:
        frame, now = self.desk.frame, self.desk.now()
        return root_message(self.checkpoint, frame, now, deleted=self.deleted)

    def _note(self, state: Any, news: Any) -> None:
        """Remember what is shown, and until when it has to do."""
        self._shown, self._shown_news = state, news
        self._next_edit = anyio.current_time() + self.desk.edit_seconds

    async def _open(self) -> None:
        """Post the root message."""
        state, news = self._state(), self._news()
        try:
            ts = await self.desk.post(self.channel, self._root())
        except SlackError as error:
            self._simplify(error)
            return
        self._editable = True
        self._note(state, news)
        self.bookmark = replace(self.bookmark, channel=self.channel, message=ts)
        self._wake()

    async def _edit(self) -> None:
        """Edit the message if that is due, or wait until something changes."""
        if not (self.bookmark.message and self._stale()):
            with anyio.move_on_after(TICK - self._seconds() % TICK):
                await self._changed.wait()
            return
        await anyio.sleep_until(self._next_edit)
        await self._turn()
        state, news = self._state(), self._news()
        try:
            await self.desk.update(self.channel, self.bookmark.message, self._root())
        except SlackError as error:
            if error.code not in GONE:
                self._simplify(error)
                return
            self._editable = False
        self._note(state, news)
        self._wake()

    async def _turn(self) -> None:
        """Wait for the turn of an edit; join those in a hurry as soon as there is news."""
        while True:
            rank = self._rank()
            with anyio.CancelScope() as queue:
                self._queue = queue if rank is ORDINARY else None
                await self.desk.slack.updates.turn(rank)
            self._queue = None
            if not queue.cancelled_caught:
                return

    def _simplify(self, error: SlackError) -> None:
        """Do without plans, for the whole workspace, if it refuses them; else raise."""
        if error.code != "invalid_blocks" or self.desk.frame.simple:
            raise error
        self.desk.frame = replace(self.desk.frame, simple=True)

    async def _tell(self) -> None:
        """Tell the next thing, remember what was told, or wait until something changes."""
        due = self._due()
        if not self.bookmark.message:
            await self._open()
        elif self._saved != self.bookmark and not self.deleted:
            await self._save()
        elif due and not (due in ENDS and self._stale()):
            await self._post(due)
        else:
            await self._changed.wait()

    async def _post(self, milestone: str) -> None:
        try:
            if milestone == LINKED:
                await self._link()
            else:
                await self._line(milestone)
        except SlackError as error:
            if error.code not in LOST:
                raise
            # Somebody deleted the message: what comes is worth another one.
            self.bookmark = replace(self.bookmark, message="")
            return
        self.bookmark = replace(self.bookmark, told=(*self.bookmark.told, milestone))
        self._wake()

    async def _link(self) -> None:
        """Tell the thread that somebody asked in where to follow."""
        url = await self.desk.slack.permalink(self.channel, self.bookmark.message)
        spec, namespace = self.checkpoint.spec, self.checkpoint.target_namespace
        line = link_message(namespace, spec.pod, url, self._language)
        await self.desk.post(self.channel, line, thread=self.bookmark.thread)

    async def _line(self, milestone: str) -> None:
        """Post a milestone; what Slack will not show in full it shall show in words."""
        artifacts = await self._artifacts() if milestone == COMPLETE else ()
        message = milestone_message(self.checkpoint, milestone, self._language, artifacts)
        more: Any = {"thread": self.bookmark.message, "broadcast": milestone in ENDS}
        try:
            await self.desk.post(self.channel, message, **more)
        except SlackError as error:
            if not error.code.startswith(UNFIT):
                raise
            log.error("%s: %s", self.checkpoint.metadata.name, error)
            await self.desk.post(self.channel, sentence(message.text), **more)

    async def _artifacts(self) -> tuple[Artifact, ...]:
        if self.desk.evidence is None:
            return ()
        try:
            return await self.desk.evidence.artifacts(self.checkpoint)
        except ForensicsError as error:
            log.warning("%s: no table: %s", self.checkpoint.metadata.name, error)
            return ()

    async def _save(self) -> None:
        wanted = self.bookmark
        patch = {"metadata": {"annotations": wanted.annotations()}}
        try:
            await self.desk.checkpoints.patch(self.checkpoint.metadata.name, patch)
        except NotFound:
            # The watch says so next, and how it was at the end.
            while not self.deleted:
                await self._changed.wait()
            return
        self._saved = wanted
        self._wake()
