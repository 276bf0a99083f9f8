"""The steps of a checkpoint: as a plan where Slack shows such, else as plain lines."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from forensics_core._internal.units import human_size
from forensics_core.api.conditions import ConditionType
from forensics_core.api.podcheckpoint import Phase, PodCheckpoint
from slackbot.blocks.elements import rich_text, space, span
from slackbot.blocks.limits import HEADER, Block, Blocks
from slackbot.catalogue import phrase
from slackbot.report_state import condition_text, phase_word
from slackbot.text import clean


class StepState(StrEnum):
    """As Slack's task cards spell it."""

    PENDING = "pending"
    RUNNING = "in_progress"
    DONE = "complete"
    FAILED = "error"


SIGNS = {
    StepState.PENDING: "○",
    StepState.RUNNING: "◐",
    StepState.DONE: "●",
    StepState.FAILED: "✕",
}


@dataclass(frozen=True, slots=True)
class ProgressStep:
    """One step, and what there is to say of it."""

    title: str
    state: StepState
    lines: tuple[str, ...] = ()


def elapsed(checkpoint: PodCheckpoint, now: datetime) -> str:
    """Return how long it has taken, or took: `1:05`, `1:02:03`."""
    started = checkpoint.status.start_time
    if started is None:
        return "0:00"
    # May be negative where the node's clock, or ours, is wrong.
    seconds = int(((checkpoint.status.completion_time or now) - started).total_seconds())
    minutes, seconds = divmod(max(0, seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def steps(checkpoint: PodCheckpoint, language: str, now: datetime) -> list[ProgressStep]:
    """Return the three steps: request, capture, seal."""
    return [
        _request(checkpoint, language),
        _capture(checkpoint, language, elapsed(checkpoint, now)),
        _seal(checkpoint, language),
    ]


def _request(checkpoint: PodCheckpoint, language: str) -> ProgressStep:
    title = phrase(language, "step.request")
    status = checkpoint.status
    if status.attempt:
        return ProgressStep(title, StepState.DONE, (phrase(language, "step.accepted"),))
    if status.phase is Phase.FAILED:
        return ProgressStep(title, StepState.FAILED, (_failure(checkpoint, language),))
    # Why it has not begun: the operator keeps the reason in this condition.
    reason, message = condition_text(checkpoint, ConditionType.CAPTURED)
    if not reason:
        return ProgressStep(title, StepState.RUNNING)
    waiting = phrase(language, "step.waiting", reason=reason, message=message)
    return ProgressStep(title, StepState.RUNNING, (waiting,))


def _capture(checkpoint: PodCheckpoint, language: str, took: str) -> ProgressStep:
    title, status = phrase(language, "step.capture"), checkpoint.status
    if not status.attempt:
        return ProgressStep(title, StepState.PENDING)
    lines = [phrase(language, "step.attempt", attempt=status.attempt, node=status.node)]
    progress = status.progress
    if progress and progress.artifacts_total:
        read, stored = human_size(progress.bytes_read), human_size(progress.bytes_stored)
        done, total = progress.artifacts_done, progress.artifacts_total
        counts = {"done": done, "total": total, "read": read, "stored": stored}
        lines.append(phrase(language, "step.progress", **counts, elapsed=took))
    if checkpoint.captured:
        return ProgressStep(title, StepState.DONE, tuple(lines))
    if status.phase is Phase.FAILED:
        return ProgressStep(title, StepState.FAILED, (*lines, _failure(checkpoint, language)))
    if progress and progress.current:
        lines.append(phrase(language, "step.current", current=progress.current))
    return ProgressStep(title, StepState.RUNNING, tuple(lines))


def _seal(checkpoint: PodCheckpoint, language: str) -> ProgressStep:
    title, status = phrase(language, "step.seal"), checkpoint.status
    if status.phase is Phase.COMPLETE:
        key = "step.sealed" if status.sealed else "step.unsealed"
        return ProgressStep(title, StepState.DONE, (phrase(language, key),))
    if not checkpoint.captured:
        return ProgressStep(title, StepState.PENDING)
    if status.phase is Phase.FAILED:
        return ProgressStep(title, StepState.FAILED, (_failure(checkpoint, language),))
    return ProgressStep(title, StepState.RUNNING)


def _failure(checkpoint: PodCheckpoint, language: str) -> str:
    reason, message = condition_text(checkpoint, ConditionType.FAILED)
    return phrase(language, "step.failed", reason=reason, message=message)


def step_blocks(checkpoint: PodCheckpoint, language: str, now: datetime, *, simple: bool) -> Blocks:
    """Return the steps as blocks; `simple` for workspaces that refuse plans."""
    title = phrase(
        language,
        "plan.title",
        state=phrase(language, f"state.{phase_word(checkpoint)}"),
        elapsed=elapsed(checkpoint, now),
    )
    found = steps(checkpoint, language, now)
    return [_simple(title, found)] if simple else [_plan(title, found)]


def _simple(title: str, found: list[ProgressStep]) -> Block:
    lines = [[span(title, bold=True)]]
    for step in found:
        lines.append([span(f"{SIGNS[step.state]} {step.title}")])
        for text in step.lines:
            lines[-1] += [space(), span(f"· {text}")]
    return rich_text(*lines)


def _plan(title: str, found: list[ProgressStep]) -> Block:
    tasks = [_task(f"step-{number}", step) for number, step in enumerate(found, start=1)]
    return {"type": "plan", "title": clean(title, HEADER), "tasks": tasks}


def _task(task_id: str, step: ProgressStep) -> Block:
    task: Block = {
        "type": "task_card",
        "task_id": task_id,
        "title": clean(step.title, HEADER),
        "status": str(step.state),
    }
    if step.lines:
        task["details"] = rich_text(*([span(line)] for line in step.lines))
    return task
