"""The report of one checkpoint: a task that keeps its message and its thread up to date.

Changes are coalesced into the next edit of the message; milestones in the thread never are. What
Slack refuses for the moment is tried again, not skipped.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import anyio

from forensics_core._internal.backoff import Backoff
from forensics_core.api.podcheckpoint import PodCheckpoint
from forensics_core.bundle.manifest import Artifact
from forensics_core.errors import ClusterError, ForensicsError, NotFound
from slackbot.blocks.elements import Message, sentence
from slackbot.blocks.root import root_message
from slackbot.blocks.thread import link_message, milestone_message
from slackbot.errors import SlackError
from slackbot.report_context import ReportContext
from slackbot.report_state import (
    CAPTURED,
    COMPLETE,
    CONTAINMENT,
    ENDS,
    LINKED,
    ReportState,
    is_over,
    milestones,
)
from slackbot.slack import LATE, ORDINARY, URGENT

log = logging.getLogger(__name__)

UNEDITABLE = {"message_not_found", "cant_update_message", "edit_window_closed"}
"""Errors of Slack's for a message that can never be edited again."""
DELETED_MESSAGE = {"message_not_found", "thread_not_found", "cannot_reply_to_message"}
"""Its errors for a message that has no thread: somebody deleted it."""
REFUSED_BLOCKS = ("invalid_blocks", "msg_blocks_too_long")
"""How its errors begin for blocks that it will never show."""
ReportStep = Callable[[], Awaitable[None]]
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0
"""Seconds between tries while Slack or the cluster does not do it."""
ELAPSED_SECONDS = 60.0
"""Seconds after which the elapsed time is shown anew, though nothing else is new."""


@dataclass
class Report:
    """Follows one checkpoint in `channel`. `show` tells it what is new; `run` does the work."""

    context: ReportContext
    channel: str
    checkpoint: PodCheckpoint
    state: ReportState
    deleted: bool = False
    late: bool = False
    """It was over when the bot began: whatever is under way goes first."""
    moved: bool = False
    """The incident's message shows it from now on: nothing new is begun here."""
    ended: anyio.Event = field(default_factory=anyio.Event)
    _changed: anyio.Event = field(default_factory=anyio.Event)
    _saved: ReportState = field(init=False)
    _shown: Any = None
    _shown_urgent: Any = field(init=False)
    _queue: anyio.CancelScope | None = None
    """Where an edit of mere progress waits for its turn."""
    _next_edit: float = float("-inf")
    _editable: bool = True

    def __post_init__(self) -> None:
        self._saved = self.state
        posted = [one for one in self.state.posted if one != LINKED]
        self._shown_urgent = posted, self.checkpoint.spec.cancel

    def show(self, checkpoint: PodCheckpoint, *, deleted: bool = False) -> None:
        """Take the newest version; what was not shown of older ones is skipped."""
        self.checkpoint = checkpoint
        self.deleted = self.deleted or deleted
        # It waits among the ordinary edits; cancelled, it joins the urgent ones.
        if self._queue and self._rank() is URGENT:
            self._queue.cancel()
        self._notify()

    def hand_over(self) -> None:
        """Let what is under way end, and `run` with it; the state is good once `ended` is set."""
        self.moved = True
        self._notify()

    async def run(self) -> None:
        """Work until the checkpoint's end, or its deletion, is in the message and in its thread."""
        try:
            # Again if it is deleted just when both tasks have ended.
            while not self._finished():
                async with anyio.create_task_group() as tasks:
                    # Two tasks, as a milestone must not wait for the turn of an edit.
                    tasks.start_soon(self._repeat, self._edit)
                    tasks.start_soon(self._repeat, self._post_next)
        finally:
            self.ended.set()

    async def _repeat(self, step: ReportStep) -> None:
        while not self._finished():
            await self._retry(step)

    def _finished(self) -> bool:
        if self.moved:
            return True
        if self.deleted:
            # Its annotations went with it, so nothing is remembered: all of it has to be posted.
            return bool(self.state.message) and not (self._next_milestone() or self._outdated())
        return is_over(self.checkpoint, self._saved.posted)

    async def _retry(self, step: ReportStep) -> None:
        """Do a step; after an error of Slack or the cluster, again until it succeeds."""
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        while not self.moved:
            try:
                await step()
                return
            except (SlackError, ClusterError) as error:
                log.warning("%s: %s", self.checkpoint.metadata.name, error)
                if self.deleted and isinstance(error, SlackError) and not error.transient:
                    raise
                # Without end: a milestone is posted late rather than never.
                await anyio.sleep(backoff.next())

    def _notify(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    @property
    def _language(self) -> str:
        return self.state.language or self.context.options.language

    def _reached(self) -> list[str]:
        return milestones(self.checkpoint, deleted=self.deleted)

    def _next_milestone(self) -> str:
        """Return the first milestone that the thread does not have, or nothing."""
        due = [*([LINKED] if self.state.thread else []), *self._reached()]
        return next((one for one in due if one not in self.state.posted), "")

    def _urgent_state(self) -> Any:
        """Return what must not wait behind mere progress: milestones, and a cancellation."""
        return self._reached(), self.checkpoint.spec.cancel

    def _rank(self) -> int:
        if self.late:
            return LATE
        return ORDINARY if self._urgent_state() == self._shown_urgent else URGENT

    def _seconds(self) -> float:
        """Return how long the capture has gone on so far; 0 if it does not."""
        started = self.checkpoint.status.start_time
        if started is None or self.checkpoint.finished or self.deleted:
            return 0.0
        return max(0.0, (self.context.now() - started).total_seconds())

    def _shown_state(self) -> Any:
        status, cancel = self.checkpoint.status, self.checkpoint.spec.cancel
        return (
            status,
            cancel,
            self.deleted,
            self.context.options.simple,
            self._seconds() // ELAPSED_SECONDS,
        )

    def _outdated(self) -> bool:
        return self._editable and self._shown != self._shown_state()

    def _root(self) -> Message:
        options, now = self.context.options, self.context.now()
        return root_message(self.checkpoint, options, now, deleted=self.deleted)

    def _remember_shown(self, shown: Any, urgent: Any) -> None:
        """Remember what is shown, and until when it has to do."""
        self._shown, self._shown_urgent = shown, urgent
        self._next_edit = anyio.current_time() + self.context.edit_seconds

    async def _post_root(self) -> None:
        """Post the root message."""
        shown, urgent = self._shown_state(), self._urgent_state()
        try:
            rank = LATE if self.late else URGENT
            ts = await self.context.post(self.channel, self._root(), rank=rank)
        except SlackError as error:
            self._simplify(error)
            return
        self._editable = True
        self._remember_shown(shown, urgent)
        self.state = replace(self.state, channel=self.channel, message=ts)
        self._notify()

    async def _edit(self) -> None:
        """Edit the message if that is due, or wait until something changes."""
        if not (self.state.message and self._outdated()):
            with anyio.move_on_after(ELAPSED_SECONDS - self._seconds() % ELAPSED_SECONDS):
                await self._changed.wait()
            return
        # What changes during this sleep goes into the same edit.
        await anyio.sleep_until(self._next_edit)
        await self._turn()
        shown, urgent = self._shown_state(), self._urgent_state()
        try:
            await self.context.update(self.channel, self.state.message, self._root())
        except SlackError as error:
            if error.code not in UNEDITABLE:
                self._simplify(error)
                return
            self._editable = False
        self._remember_shown(shown, urgent)
        self._notify()

    async def _turn(self) -> None:
        """Wait for the turn of an edit, among the urgent ones as soon as it is one."""
        while True:
            rank = self._rank()
            with anyio.CancelScope() as queue:
                self._queue = queue if rank is ORDINARY else None
                await self.context.slack.updates.wait_turn(rank)
            self._queue = None
            if not queue.cancelled_caught:
                return

    def _simplify(self, error: SlackError) -> None:
        """Do without plans, for the whole workspace, if it refuses them; else raise."""
        if error.code != "invalid_blocks" or self.context.options.simple:
            raise error
        # Shared by all reports: no other one has to be refused first.
        self.context.options = replace(self.context.options, simple=True)

    async def _post_next(self) -> None:
        """Post the next milestone, remember what was posted, or wait until something changes."""
        due = self._next_milestone()
        if not self.state.message:
            await self._post_root()
        # Saved before the next post: after a crash at most one line appears twice.
        elif self._saved != self.state and not self.deleted:
            await self._save()
        # The end is shown in the channel, too: the message has to agree with it by then.
        elif due and not (due in ENDS | CONTAINMENT and self._outdated()):
            await self._post(due)
        else:
            await self._changed.wait()

    async def _post(self, milestone: str) -> None:
        try:
            if milestone == LINKED:
                await self._post_link()
            else:
                await self._post_milestone(milestone)
        except SlackError as error:
            if error.code not in DELETED_MESSAGE:
                raise
            # Somebody deleted the message: the next milestone gets another one.
            self.state = replace(self.state, message="")
            return
        self.state = replace(self.state, posted=(*self.state.posted, milestone))
        self._notify()

    async def _post_link(self) -> None:
        """Post a link to the message into the thread in which somebody asked."""
        url = await self.context.slack.permalink(self.channel, self.state.message)
        spec, namespace = self.checkpoint.spec, self.checkpoint.target_namespace
        line = link_message(namespace, spec.pod, url, self._language)
        await self.context.post(self.channel, line, thread=self.state.thread, rank=ORDINARY)

    async def _post_milestone(self, milestone: str) -> None:
        """Post a milestone; as plain text where Slack refuses its blocks."""
        artifacts = await self._artifacts() if milestone == COMPLETE else ()
        message = milestone_message(self.checkpoint, milestone, self._language, artifacts)
        # That a pod may be killed is what somebody waits for.
        rank = LATE if self.late else URGENT if milestone == CAPTURED else ORDINARY
        more: Any = {"thread": self.state.message, "broadcast": milestone in ENDS, "rank": rank}
        try:
            await self.context.post(self.channel, message, **more)
        except SlackError as error:
            if not error.code.startswith(REFUSED_BLOCKS):
                raise
            log.error("%s: %s", self.checkpoint.metadata.name, error)
            await self.context.post(self.channel, sentence(message.text), **more)

    async def _artifacts(self) -> tuple[Artifact, ...]:
        if self.context.evidence is None:
            return ()
        try:
            return await self.context.evidence.artifacts(self.checkpoint)
        except ForensicsError as error:
            log.warning(
                "%s: the manifest cannot be read, the table names containers only: %s",
                self.checkpoint.metadata.name,
                error,
            )
            return ()

    async def _save(self) -> None:
        state = self.state
        patch = {"metadata": {"annotations": state.annotations()}}
        try:
            await self.context.checkpoints.patch(self.checkpoint.metadata.name, patch)
        except NotFound:
            # It was deleted. The watch says so next, with the last version there was.
            while not self.deleted:
                await self._changed.wait()
            return
        self._saved = state
        self._notify()
