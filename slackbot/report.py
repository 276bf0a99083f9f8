"""One checkpoint's message and thread: a task that keeps both up to date, in order, never too fast.

What happened meanwhile is coalesced into the next edit; milestones are never coalesced. A failure
of Slack is waited for, not skipped.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import anyio

from forensics_core.api.podcheckpoint import PodCheckpoint
from forensics_core.errors import ClusterError, ForensicsError, NotFound
from forensics_core.evidence.manifest import Artifact
from forensics_core.kube.backoff import Backoff
from forensics_core.kube.podcheckpoints import PodCheckpoints
from slackbot.blocks.answers import sentence
from slackbot.blocks.root import Frame, root_message
from slackbot.blocks.thread import milestone_message
from slackbot.bookmark import Bookmark
from slackbot.catalogue import say
from slackbot.errors import SlackError
from slackbot.evidence import Evidence
from slackbot.milestones import COMPLETE, LAST, milestones
from slackbot.slack import Slack

log = logging.getLogger(__name__)

REPLACED = "replaced"
"""In `Bookmark.told`: the thread says that another pod than the approved one was found."""
GONE = {"message_not_found", "cant_update_message", "edit_window_closed"}
"""Slack's words for a message that cannot be edited ever again."""
Step = Callable[[], Awaitable[None]]
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0
"""Seconds between tries while Slack or the cluster does not do it."""


@dataclass
class Desk:
    """What all reports share."""

    slack: Slack
    checkpoints: PodCheckpoints
    frame: Frame
    edit_seconds: float
    evidence: Evidence | None = None
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


@dataclass
class Report:
    """Follows one checkpoint in `channel`. `show` tells it what is new; `run` does the work."""

    desk: Desk
    channel: str
    checkpoint: PodCheckpoint
    bookmark: Bookmark = field(init=False)
    _changed: anyio.Event = field(default_factory=anyio.Event)
    _shown: Any = None
    _saved: Bookmark = field(init=False)
    _next_edit: float = float("-inf")
    _editable: bool = True
    _gone: bool = False
    """Whether the checkpoint was deleted."""

    def __post_init__(self) -> None:
        self.bookmark = Bookmark.of(self.checkpoint)
        self._saved = self.bookmark

    def show(self, checkpoint: PodCheckpoint) -> None:
        """Take what is new; whatever was not shown yet is skipped."""
        self.checkpoint = checkpoint
        self._wake()

    async def run(self) -> None:
        """Work until the checkpoint's end has been shown and told, or it is deleted."""
        while not self.bookmark.message:
            await self._patiently(self._open)
        async with anyio.create_task_group() as tasks:
            # Two tasks, as a milestone must not wait for the turn of an edit.
            tasks.start_soon(self._keep, self._edit)
            tasks.start_soon(self._keep, self._tell)

    async def _keep(self, step: Step) -> None:
        while not (self._gone or LAST & set(self._saved.told)):
            await self._patiently(step)

    async def _patiently(self, step: Step) -> None:
        """Do a step, again and again until it works."""
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        while True:
            try:
                await step()
                return
            except NotFound:
                self._gone = True
                self._wake()
                return
            except (SlackError, ClusterError) as error:
                log.warning("%s: %s", self.checkpoint.metadata.name, error)
                await anyio.sleep(backoff.next())

    def _wake(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    @property
    def _language(self) -> str:
        return self.bookmark.language or self.desk.frame.language

    def _due(self) -> str:
        """Return the first milestone that the thread does not have, or nothing."""
        told = self.bookmark.told
        return next((one for one in milestones(self.checkpoint) if one not in told), "")

    def _state(self) -> Any:
        return self.checkpoint.status, self.checkpoint.spec.cancel, self.desk.frame.simple

    def _stale(self) -> bool:
        return self._editable and self._shown != self._state()

    async def _open(self) -> None:
        """Post the root message of a checkpoint that somebody made elsewhere."""
        state = self._state()
        message = root_message(self.checkpoint, self.desk.frame, self.desk.now())
        try:
            ts = await self.desk.slack.post(self.channel, message)
        except SlackError as error:
            self._simplify(error)
            return
        self._shown = state
        self._next_edit = anyio.current_time() + self.desk.edit_seconds
        self.bookmark = replace(self.bookmark, channel=self.channel, message=ts)

    async def _edit(self) -> None:
        """Edit the message if that is due, or wait until something changes."""
        if not self._stale():
            await self._changed.wait()
            return
        await anyio.sleep_until(self._next_edit)
        await self.desk.slack.updates.turn()
        state = self._state()
        message = root_message(self.checkpoint, self.desk.frame, self.desk.now())
        try:
            await self.desk.slack.update(self.channel, self.bookmark.message, message)
        except SlackError as error:
            if error.code not in GONE:
                self._simplify(error)
                return
            self._editable = False
        self._shown = state
        self._next_edit = anyio.current_time() + self.desk.edit_seconds
        self._wake()

    def _simplify(self, error: SlackError) -> None:
        """Do without plans, for the whole workspace, if it refuses them; else raise."""
        if error.code != "invalid_blocks" or self.desk.frame.simple:
            raise error
        self.desk.frame = replace(self.desk.frame, simple=True)

    async def _tell(self) -> None:
        """Tell the next thing, remember what was told, or wait until something changes."""
        due = self._due()
        if self._saved != self.bookmark:
            await self._save()
        elif self._other_pod():
            await self._stop_other_pod()
        elif due and not (due in LAST and self._stale()):
            await self._post(due)
        else:
            await self._changed.wait()

    async def _post(self, milestone: str) -> None:
        artifacts = await self._artifacts() if milestone == COMPLETE else ()
        message = milestone_message(self.checkpoint, milestone, self._language, artifacts)
        await self.desk.slack.post(
            self.channel, message, thread=self.bookmark.message, broadcast=milestone in LAST
        )
        self.bookmark = replace(self.bookmark, told=(*self.bookmark.told, milestone))

    async def _artifacts(self) -> tuple[Artifact, ...]:
        if self.desk.evidence is None:
            return ()
        try:
            return await self.desk.evidence.artifacts(self.checkpoint.status.location)
        except ForensicsError as error:
            log.warning("%s: no table: %s", self.checkpoint.metadata.name, error)
            return ()

    def _other_pod(self) -> bool:
        approved, found = self.bookmark.pod_uid, self.checkpoint.status.pod_uid
        replaced = bool(approved and found and approved != found)
        return replaced and REPLACED not in self.bookmark.told

    async def _stop_other_pod(self) -> None:
        """Stop what was approved for another pod: it came between approval and capture."""
        if not self.checkpoint.finished:
            await self.desk.checkpoints.cancel(self.checkpoint.metadata.name)
        text = say(self._language, "told.replaced")
        await self.desk.slack.post(self.channel, sentence(text), thread=self.bookmark.message)
        self.bookmark = replace(self.bookmark, told=(*self.bookmark.told, REPLACED))

    async def _save(self) -> None:
        wanted = self.bookmark
        patch = {"metadata": {"annotations": wanted.annotations()}}
        await self.desk.checkpoints.patch(self.checkpoint.metadata.name, patch)
        self._saved = wanted
        self._wake()
