"""Following a checkpoint to its end: progress, the moment when the pod may go, the result.

It watches and never polls. Ctrl-C ends the watching, not the capture.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import anyio
import click

from forensics_core.cli.render import prose, say
from forensics_core.cli.running import Terminated, run
from forensics_core.errors import ForensicsError

if TYPE_CHECKING:
    from forensics_core.api.podcheckpoint import PodCheckpoint
    from forensics_core.cli.place import Place
    from forensics_core.kube import PodCheckpoints
    from forensics_core.pipeline.meter import Meter


class CapturedInPart(ForensicsError):
    """There is evidence, but something that was asked for is missing."""

    exit_code = 4


def follow(name: str, place: Place, output: str, timeout: int | None) -> None:
    """Follow the checkpoint `name` to its end and print the result, as `output` says.

    Raises what `raise_for_end` raises, and `ForensicsError` after `timeout` seconds.
    """
    watching = partial(_follow, name, place, quiet=output != "text", within=timeout)
    _report(_interruptible(name, watching), output)


def _report(ended: PodCheckpoint, output: str) -> None:
    from forensics_core.cli.describing import say_data

    if output == "text":
        _say_end(ended)
    else:
        say_data(ended.to_dict(), output)
    raise_for_end(ended)


def raise_for_end(checkpoint: PodCheckpoint) -> None:
    """Raise `CheckpointFailed` if it failed, `CapturedInPart` if something is missing."""
    from forensics_core.api.conditions import ConditionType, find_condition, is_true

    checkpoint.raise_for_failure()
    name, conditions = checkpoint.metadata.name, checkpoint.status.conditions
    if is_true(conditions, ConditionType.PARTIAL):
        why = find_condition(conditions, ConditionType.PARTIAL)
        said = why.message if why else ""
        raise CapturedInPart(f"The checkpoint '{name}' is partial. {said}".rstrip("."))


def called() -> str:
    """Return how the command was called, for messages: `forensics`, or `kubectl forensics`."""
    return click.get_current_context().find_root().info_name or "forensics"


def _interruptible(name: str, watching: Callable[[], Awaitable[PodCheckpoint]]) -> PodCheckpoint:
    """Return what `watching` does; say, when it is interrupted, that the capture is not."""
    try:
        return run(watching)
    except (KeyboardInterrupt, Terminated) as error:
        raise type(error)(
            f"Stopped watching. The capture goes on: `{called()} watch {name}` shows it again, "
            f"`{called()} cancel {name}` stops it."
        ) from error


async def _follow(name: str, place: Place, *, quiet: bool, within: int | None) -> PodCheckpoint:
    from forensics_core.pipeline.meter import Meter

    async with place.checkpoints() as checkpoints:
        with _limit(within, name):
            return await _watch(checkpoints, name, Meter(), quiet=quiet)


@contextmanager
def _limit(seconds: int | None, name: str) -> Iterator[None]:
    with anyio.move_on_after(seconds) as scope:
        yield
    if scope.cancelled_caught:
        raise ForensicsError(
            f"The checkpoint '{name}' has not ended within {seconds} s",
            hint=f"It goes on: `{called()} watch {name}` shows it again",
        )


async def _watch(
    checkpoints: PodCheckpoints, name: str, meter: Meter, *, quiet: bool
) -> PodCheckpoint:
    """Wait first for the evidence, then for its seal."""
    from forensics_core.cli.progress import progress
    from forensics_core.kube.podcheckpoints import captured, finished

    async with progress(meter, "Capturing", quiet=quiet):
        checkpoint = await checkpoints.wait(
            name, until=partial(_note, meter, captured), failed_ok=True
        )
    if checkpoint.captured and not quiet:
        # In a thread, because whoever reads may be slow.
        await anyio.to_thread.run_sync(say, "Captured: the pod may be killed.")
    if checkpoint.finished:
        return checkpoint
    async with progress(meter, "Sealing", quiet=quiet):
        return await checkpoints.wait(name, until=partial(_note, meter, finished), failed_ok=True)


def _note(meter: Meter, met: Callable[[PodCheckpoint], bool], checkpoint: PodCheckpoint) -> bool:
    """Put the checkpoint's progress on the meter; return whether it is `met`."""
    progress = checkpoint.status.progress
    if progress is not None:
        meter.artifacts_done = progress.artifacts_done
        meter.artifacts_total = progress.artifacts_total
        meter.bytes_read = progress.bytes_read
        meter.bytes_stored = progress.bytes_stored
    meter.current = (progress.current if progress else "") or _why_not_yet(checkpoint)
    return met(checkpoint)


def _why_not_yet(checkpoint: PodCheckpoint) -> str:
    from forensics_core.api.conditions import ConditionType, find_condition
    from forensics_core.api.podcheckpoint import Phase

    if checkpoint.status.phase is None:
        return "the operator has not seen it yet"
    waiting = find_condition(checkpoint.status.conditions, ConditionType.CAPTURED)
    return waiting.message if waiting and checkpoint.status.phase is Phase.PENDING else ""


def _say_end(checkpoint: PodCheckpoint) -> None:
    from forensics_core.cli.describing import result

    status = checkpoint.status
    for container in status.containers:
        if container.reason:
            say(prose(f"Container {container.name}: {container.state}: {container.reason}"))
    for name, value in result(checkpoint).items():
        say(f"{name + ':':<10} {value}")
