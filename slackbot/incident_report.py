"""The report of an incident with several pods: one message, and one thread, for all of them.

What comes at the same time goes into one line: thirty pods that are captured together are one post,
not thirty that Slack takes one a second.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import anyio

from forensics_core._internal.backoff import Backoff
from forensics_core.api.incident import IncidentSummary
from forensics_core.api.podcheckpoint import PodCheckpoint
from forensics_core.errors import ClusterError, NotFound
from slackbot.blocks.elements import Message, sentence
from slackbot.blocks.incident import batch_message, end_message, incident_message
from slackbot.errors import SlackError
from slackbot.report import (
    DELETED_MESSAGE,
    FIRST_PAUSE,
    LONGEST_PAUSE,
    REFUSED_BLOCKS,
    UNEDITABLE,
)
from slackbot.report_context import ReportContext
from slackbot.report_state import (
    CAPTURED,
    COMPLETE,
    DELETED,
    FAILED,
    FAILURE,
    ISOLATED,
    LAST,
    POD_DELETED,
    RELEASED,
    RULED,
    ReportState,
    milestones,
)
from slackbot.slack import LATE, ORDINARY, URGENT

log = logging.getLogger(__name__)
T = TypeVar("T")

BATCHES = (CAPTURED, FAILURE, DELETED, ISOLATED, POD_DELETED, RELEASED, RULED)
"""What gets lines in the thread, the most urgent first; the end has one of its own."""


@dataclass
class IncidentMember:
    """One checkpoint of the incident."""

    checkpoint: PodCheckpoint
    state: ReportState
    saved: ReportState
    separate: bool = False
    """It has a message of its own, which tells what becomes of it."""
    deleted: bool = False

    @classmethod
    def of(cls, checkpoint: PodCheckpoint, *, told: bool = False) -> IncidentMember:
        """Take one as its annotations say; with `told` what it has reached is no news."""
        state = ReportState.of(checkpoint)
        if told:
            state = replace(state, posted=tuple(sorted(_reached(checkpoint) | _last(checkpoint))))
        return cls(checkpoint, state, state)

    @property
    def untold(self) -> set[str]:
        """What the thread does not have yet, but for the end."""
        if self.separate:
            return set()
        return _reached(self.checkpoint, deleted=self.deleted) - set(self.state.posted)

    @property
    def ends(self) -> bool:
        """Whether its end was not told."""
        told = bool(LAST & set(self.state.posted))
        return not (told or self.separate or self.deleted)


def _reached(checkpoint: PodCheckpoint, *, deleted: bool = False) -> set[str]:
    reached = set(milestones(checkpoint, deleted=deleted))
    return ({FAILURE} if FAILED in reached else set()) | (reached & set(BATCHES))


def _last(checkpoint: PodCheckpoint) -> set[str]:
    return LAST & set(milestones(checkpoint))


@dataclass
class IncidentReport:
    """Follows all checkpoints of an incident. `show` tells it what is new; `run` does the work."""

    context: ReportContext
    channel: str
    incident: str
    members: dict[str, IncidentMember]
    """By UID."""
    message: str = ""
    late: bool = False
    begun: bool = False
    """What the pods' own reports had begun is here."""
    _changed: anyio.Event = field(default_factory=anyio.Event)
    _drawn: tuple[anyio.Event, Message] | None = None
    _shown: Any = None
    _shown_urgent: Any = None
    _next_edit: float = float("-inf")
    _editable: bool = True

    def show(self, checkpoint: PodCheckpoint, *, deleted: bool = False, told: bool = False) -> None:
        """Take the newest version of a member, or a new one; `told`: it is no news."""
        uid = checkpoint.metadata.uid or ""
        member = self.members.get(uid)
        if member is None:
            if deleted:
                return
            member = self.members[uid] = IncidentMember.of(checkpoint, told=told)
            member.separate = member.state.message not in {"", self.message}
            if self.message:
                # Written down at once: after a restart it belongs here, too.
                self._note_posted(member, ())
        member.checkpoint = checkpoint
        member.deleted = member.deleted or deleted
        # One that is over and deleted leaves; one that was under way is told of first.
        if member.deleted and not member.untold:
            del self.members[uid]
        self._notify()

    def is_separate(self, uid: str) -> bool:
        """Return whether a checkpoint has a message of its own, once that is known of all."""
        member = self.members.get(uid)
        return self.begun and member is not None and member.separate

    def take_over(self, uid: str, state: ReportState) -> None:
        """Go on from what a report of the pod's own has told."""
        member = self.members.get(uid)
        if member is not None:
            told = (FAILURE,) if FAILED in state.posted else ()
            member.saved = replace(state, posted=(*state.posted, *told))
            member.state = replace(member.saved, message=self.message or state.message)
            member.separate = state.message not in {"", self.message}
            self._notify()

    async def run(self) -> None:
        """Work until all of it is over, told and remembered."""
        while not self._finished():
            async with anyio.create_task_group() as tasks:
                for step in (self._edit, self._post_next, self._save_next):
                    tasks.start_soon(self._repeat, step)

    async def _repeat(self, step: Callable[[], Awaitable[None]]) -> None:
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        while not self._finished():
            try:
                await step()
                backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
            except (SlackError, ClusterError) as error:
                log.warning("%s: %s", self.incident, error)
                await anyio.sleep(backoff.next())

    def _finished(self) -> bool:
        if any(member.untold or member.ends for member in self.members.values()):
            return False
        # All may be gone before the first message was posted.
        there = bool(self.message) or not self.members
        return there and not (self._outdated() or self._unsaved())

    def _notify(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    @property
    def _language(self) -> str:
        said = (member.state.language for member in self.members.values())
        return next(filter(None, said), self.context.options.language)

    @property
    def summary(self) -> IncidentSummary:
        """How it stands."""
        there = [one.checkpoint for one in self.members.values() if not one.deleted]
        return IncidentSummary.of(self.incident, there)

    def _root(self) -> Message:
        # Whoever changes anything notifies: until then the last drawing is good.
        if self._drawn is None or self._drawn[0] is not self._changed:
            states = [member.state for member in self.members.values()]
            drawn = incident_message(self.summary, self.context.options, self._language, states)
            self._drawn = (self._changed, drawn)
        return self._drawn[1]

    def _urgent_state(self) -> Any:
        return {uid: _reached(one.checkpoint) for uid, one in self.members.items()}

    def _outdated(self) -> bool:
        return bool(self.message) and self._editable and self._shown != self._root().payload()

    def _remember_shown(self, shown: Message, urgent: Any) -> None:
        self._shown, self._shown_urgent = shown.payload(), urgent
        self._next_edit = anyio.current_time() + self.context.edit_seconds

    async def _edit(self) -> None:
        """Edit the message if that is due, or wait until something changes."""
        if not self._outdated():
            await self._changed.wait()
            return
        # What changes until its turn goes into the same edit.
        await anyio.sleep_until(self._next_edit)
        urgent = self._urgent_state()
        rank = LATE if self.late else ORDINARY if urgent == self._shown_urgent else URGENT
        await self.context.slack.updates.wait_turn(rank)
        root, urgent = self._root(), self._urgent_state()
        try:
            await self._plainly(partial(self.context.update, self.channel, self.message), root)
        except SlackError as error:
            if error.code not in UNEDITABLE:
                raise
            self._editable = False
        self._remember_shown(root, urgent)
        self._notify()

    async def _post_next(self) -> None:
        """Post what is due first, or wait until something changes."""
        if not self.message:
            await self._post_root()
            return
        for milestone in BATCHES:
            due = [one for one in self.members.values() if milestone in one.untold]
            if due:
                await self._post_milestone(milestone, due)
                return
        due = [one for one in self.members.values() if one.ends]
        # The end is shown in the channel, too: the message has to agree with it by then.
        if due and all(one.checkpoint.finished for one in due) and not self._outdated():
            await self._post_end(due)
            return
        await self._changed.wait()

    async def _post_root(self) -> None:
        root, urgent = self._root(), self._urgent_state()
        rank = LATE if self.late else URGENT
        post = partial(self.context.post, self.channel, rank=rank)
        self.message = await self._plainly(post, root)
        self._editable = True
        self._remember_shown(root, urgent)
        for member in self.members.values():
            self._note_posted(member, ())
        self._notify()

    async def _post_milestone(self, milestone: str, due: list[IncidentMember]) -> None:
        due.sort(key=lambda one: (one.checkpoint.target_namespace, one.checkpoint.spec.pod))
        checkpoints = [one.checkpoint for one in due]
        line = batch_message(milestone, checkpoints, self.summary, self._language)
        rank = URGENT if milestone == CAPTURED and not self.late else ORDINARY
        await self._post(line, due, lambda _: (milestone,), rank=LATE if self.late else rank)

    async def _post_end(self, due: list[IncidentMember]) -> None:
        line = end_message(self.summary, self._language)
        rank = LATE if self.late else ORDINARY
        await self._post(line, due, _end_of, rank=rank, broadcast=True)

    async def _post(
        self,
        line: Message,
        due: Iterable[IncidentMember],
        told: Callable[[IncidentMember], tuple[str, ...]],
        *,
        rank: int,
        broadcast: bool = False,
    ) -> None:
        more: Any = {"thread": self.message, "broadcast": broadcast, "rank": rank}
        try:
            await self._plainly(partial(self.context.post, self.channel, **more), line)
        except SlackError as error:
            if error.code not in DELETED_MESSAGE:
                raise
            # Somebody deleted the message: the next line gets another one.
            self.message = ""
            return
        for member in due:
            self._note_posted(member, told(member))
        self._notify()

    async def _plainly(self, send: Callable[[Message], Awaitable[T]], message: Message) -> T:
        """Send a message; as plain text where Slack refuses its blocks."""
        try:
            return await send(message)
        except SlackError as error:
            if not error.code.startswith(REFUSED_BLOCKS):
                raise
            log.error("%s: %s", self.incident, error)
            return await send(sentence(message.text))

    def _note_posted(self, member: IncidentMember, posted: tuple[str, ...]) -> None:
        if member.separate:
            return
        state = member.state
        known = tuple(dict.fromkeys((*state.posted, *posted)))
        where = {"channel": self.channel, "message": self.message}
        member.state = replace(state, posted=known, **where)
        if member.deleted:
            self.members = {uid: one for uid, one in self.members.items() if one is not member}

    def _unsaved(self) -> list[IncidentMember]:
        there = self.members.values()
        return [one for one in there if one.saved != one.state and not one.deleted]

    async def _save_next(self) -> None:
        """Write down where the message is and what was told of a member, or wait."""
        unsaved = self._unsaved()
        if not unsaved:
            await self._changed.wait()
            return
        member = unsaved[0]
        state = member.state
        patch = {"metadata": {"annotations": state.annotations()}}
        try:
            await self.context.checkpoints.patch(member.checkpoint.metadata.name, patch)
        except NotFound:
            # It was deleted; the watch says so next.
            log.info("%s is gone", member.checkpoint.metadata.name)
        member.saved = state
        self._notify()


def _end_of(member: IncidentMember) -> tuple[str, ...]:
    return (FAILED,) if member.checkpoint.failed else (COMPLETE,)
