"""Watching a checkpoint to its end: progress, the moment when the pod may go, the outcome.

`forensics watch` does, and `forensics checkpoint --wait`. It watches and never polls. Ctrl-C ends
the watching, not the capture.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import anyio
import click

from forensics_core.cli.checkpoints import first_findings, outcome
from forensics_core.cli.cluster import ClusterAccess, cluster_options
from forensics_core.cli.options import object_output_option, parse_duration
from forensics_core.cli.program import Terminated, command_name, run
from forensics_core.cli.render import clean_message, print_data, print_text
from forensics_core.errors import ForensicsError

if TYPE_CHECKING:
    from forensics_core.api.podcheckpoint import PodCheckpoint
    from forensics_core.kube import PodCheckpoints
    from forensics_core.pipeline.meter import Meter


class CapturedInPart(ForensicsError):
    """There is evidence, but something that was asked for is missing."""

    exit_code = 4


@click.command("watch", short_help="Follow a capture to its end.")
@click.argument("name")
@click.option("--timeout", type=parse_duration, metavar="TIME", help="Stop watching after that.")
@cluster_options
@object_output_option
def watch_command(name: str, timeout: int | None, access: ClusterAccess, output: str) -> None:
    """Follow the capture NAME to its end, as `checkpoint --wait` does.

    Says when the pod may be killed. Ends with 0 once everything is stored, and sealed if the
    operator has a key, 1 if the capture failed, 4 if something that was asked for is missing.
    Ctrl-C stops the watching only.
    """
    watch(name, access, output, timeout)


def watch(name: str, access: ClusterAccess, output: str, timeout: int | None) -> None:
    """Watch the checkpoint `name` to its end and print the outcome, as `output` says.

    Raises what `raise_for_outcome` raises, and `ForensicsError` after `timeout` seconds.
    """
    watching = partial(_watch, name, access, quiet=output != "text", within=timeout)
    ended = _interruptible(name, watching)
    if output == "text":
        _print_outcome(ended)
    else:
        print_data(ended.to_dict(), output)
    raise_for_outcome(ended)


def raise_for_outcome(checkpoint: PodCheckpoint) -> None:
    """Raise `CheckpointFailed` if it failed, `CapturedInPart` if something is missing."""
    from forensics_core.api.conditions import ConditionType, find_condition, is_true

    checkpoint.raise_for_failure()
    name, conditions = checkpoint.metadata.name, checkpoint.status.conditions
    if is_true(conditions, ConditionType.PARTIAL):
        why = find_condition(conditions, ConditionType.PARTIAL)
        said = why.message if why else ""
        raise CapturedInPart(f"The checkpoint '{name}' is partial. {said}".rstrip("."))


def _interruptible(name: str, watching: Callable[[], Awaitable[PodCheckpoint]]) -> PodCheckpoint:
    """Return what `watching` does; say, when it is interrupted, that the capture is not."""
    try:
        return run(watching)
    except (KeyboardInterrupt, Terminated) as error:
        raise type(error)(
            f"Stopped watching. The capture goes on: `{command_name()} watch {name}` shows it "
            f"again, `{command_name()} cancel {name}` stops it."
        ) from error


async def _watch(
    name: str, access: ClusterAccess, *, quiet: bool, within: int | None
) -> PodCheckpoint:
    from forensics_core.pipeline.meter import Meter

    async with access.checkpoints() as checkpoints:
        with _time_limit(within, name):
            return await _wait(checkpoints, name, Meter(), quiet=quiet)


@contextmanager
def _time_limit(seconds: int | None, name: str) -> Iterator[None]:
    with anyio.move_on_after(seconds) as scope:
        yield
    if scope.cancelled_caught:
        raise ForensicsError(
            f"The checkpoint '{name}' has not ended within {seconds} s",
            hint=f"It goes on: `{command_name()} watch {name}` shows it again",
        )


async def _wait(
    checkpoints: PodCheckpoints, name: str, meter: Meter, *, quiet: bool
) -> PodCheckpoint:
    """Wait first for the evidence, then for its seal."""
    from forensics_core.cli.progress import progress
    from forensics_core.kube.podcheckpoints import captured, finished

    # A failed one is returned, too: its outcome is printed before it is raised.
    async with progress(meter, "Capturing", quiet=quiet):
        checkpoint = await checkpoints.wait(
            name, until=partial(_count, meter, captured), failed_ok=True
        )
    if checkpoint.captured and not quiet:
        # In a thread, because whoever reads may be slow.
        await anyio.to_thread.run_sync(print_text, "Captured: the pod may be killed.")
    if checkpoint.finished:
        return checkpoint
    async with progress(meter, "Sealing", quiet=quiet):
        return await checkpoints.wait(name, until=partial(_count, meter, finished), failed_ok=True)


def _count(meter: Meter, met: Callable[[PodCheckpoint], bool], checkpoint: PodCheckpoint) -> bool:
    """Put the checkpoint's progress on the meter; return whether it is `met`."""
    progress = checkpoint.status.progress
    if progress is not None:
        meter.artifacts_done = progress.artifacts_done
        meter.artifacts_total = progress.artifacts_total
        meter.bytes_read = progress.bytes_read
        meter.bytes_stored = progress.bytes_stored
    meter.current = (progress.current if progress else "") or _reason_to_wait(checkpoint)
    return met(checkpoint)


def _reason_to_wait(checkpoint: PodCheckpoint) -> str:
    from forensics_core.api.conditions import ConditionType, find_condition
    from forensics_core.api.podcheckpoint import Phase

    if checkpoint.status.phase is None:
        return "the operator has not seen it yet"
    waiting = find_condition(checkpoint.status.conditions, ConditionType.CAPTURED)
    # In the other phases it says no more than that an attempt has begun.
    return waiting.message if waiting and checkpoint.status.phase is Phase.PENDING else ""


def _print_outcome(checkpoint: PodCheckpoint) -> None:
    for container in checkpoint.status.containers:
        if container.reason:
            print_text(
                clean_message(f"Container {container.name}: {container.state}: {container.reason}")
            )
    for name, value in outcome(checkpoint).items():
        print_text(f"{name + ':':<10} {value}")
    for line in first_findings(checkpoint):
        print_text(line)
