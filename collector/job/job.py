"""The collector inside a Job: a work order from a file, carried out without anybody watching.

::

    code = run_job(Path("/run/forensics/order/order.json"), JobSettings.from_environ(os.environ))

SIGTERM ends it by itself with what it has: what is under way is cut, what is left is recorded as
not captured, and the bundle gets its manifest. Where that does not come to an end in time, or at a
second SIGTERM, everything is given up.
"""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import anyio
from anyio import to_thread
from pydantic import ValidationError

from collector.capture import CaptureResult, bundle_url, capture
from collector.job.progress_log import progress_logged, write_line
from collector.job.sigterm import SigtermLatch
from collector.job.termination_message import of_error, of_result, write_message
from collector.limits import Stop
from collector.local import single_scheme
from collector.runtimes.opening import open_runtime
from forensics_core._internal import strict_json
from forensics_core._internal.tasks import task_group
from forensics_core._internal.units import parse_size
from forensics_core.api.order import WorkOrder
from forensics_core.cli.program import Terminated
from forensics_core.errors import UsageError
from forensics_core.pipeline.meter import Meter
from forensics_core.storage.locate import parse_location
from forensics_core.storage.s3.client import S3Access
from forensics_core.storage.storage import open_destination

T = TypeVar("T")

ABORTING = 15.0
"""Seconds of the grace period that are kept for giving up uploads and ending."""
CLOSING = 12.0
"""Of these, for a manifest that is under way: who is killed while it waits leaves no word why."""

STOPPED = (
    "Stopped before the end: uploads were aborted, and what is left has no manifest, so it is not "
    "a bundle."
)


@dataclass(frozen=True, slots=True)
class JobSettings:
    """What the Job tells its collector, beside the order and the standard AWS variables."""

    at_once: int = 2
    """`FORENSICS_CONCURRENT_CONTAINERS`: containers that are read at the same time."""
    expected_bucket_owner: str | None = None
    """`FORENSICS_EXPECTED_BUCKET_OWNER`: the AWS account that must own the bucket."""
    grace: int = 60
    """`FORENSICS_GRACE_SECONDS`: between SIGTERM and SIGKILL, as the Job's pod has it."""
    rate: int = 0
    """`FORENSICS_RATE`: bytes that are read a second at most; 0 is as fast as it goes."""

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> JobSettings:
        """Read the settings; an empty variable is none. Raises `UsageError` for a bad number."""
        default = cls()
        return cls(
            at_once=_number(environ, "FORENSICS_CONCURRENT_CONTAINERS", default.at_once),
            expected_bucket_owner=environ.get("FORENSICS_EXPECTED_BUCKET_OWNER") or None,
            grace=_number(environ, "FORENSICS_GRACE_SECONDS", default.grace),
            rate=_rate(environ),
        )


def _number(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name) or str(default)
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise UsageError(f"{name}='{text}' is not a positive number", hint="Give a whole number")
    return int(text)


def _rate(environ: Mapping[str, str]) -> int:
    try:
        return parse_size(environ.get("FORENSICS_RATE") or "0")
    except ValueError as error:
        raise UsageError(f"FORENSICS_RATE: {error}", hint="Give a size, such as 100MiB") from error


def run_job(
    path: Path, environ: Mapping[str, str], early: SigtermLatch | None = None
) -> CaptureResult:
    """Carry out the order in the file `path`, and leave a message of how it ended.

    `early` may have heard a SIGTERM before; then the bundle says of everything that it is missing.

    Raises what `capture` raises, `UsageError` for an order that cannot be used, and `Terminated`
    where a signal ended it without a manifest.
    """
    try:
        result = _run(path, environ, early or SigtermLatch())
    except BaseException as error:
        _end(of_error(error), environ)
        raise
    _end(of_result(result), environ)
    return result


def _end(words: bytes, environ: Mapping[str, str]) -> None:
    write_message(words, environ)
    write_line(b'{"event":"ended",' + words[1:] + b"\n")


def _run(path: Path, environ: Mapping[str, str], early: SigtermLatch) -> CaptureResult:
    settings = JobSettings.from_environ(environ)
    order, document = load_order(path)

    async def work(stop: Stop) -> CaptureResult:
        meter = Meter()
        async with progress_logged(meter):
            return await carry_out(order, document, settings, stop, meter)

    return anyio.run(until_stopped, work, max(settings.grace - ABORTING, 1), early)


def load_order(path: Path) -> tuple[WorkOrder, bytes]:
    """Return the order in a file, and the file's content. Raises `UsageError`."""
    try:
        document = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"The work order {path} cannot be read: {error.strerror}",
            hint="Name the file that the operator mounts into the Job",
        ) from error
    try:
        order = WorkOrder.model_validate(strict_json.loads(document, limit=len(document)))
    except ValidationError as error:
        raise _unusable_order(path, error) from error
    except ValueError as error:
        raise UsageError(
            f"{path} is not a valid work order: the document: {error}",
            hint="Name the file that the operator mounts into the Job",
        ) from error
    parse_location(order.destination)
    return order, document


def _unusable_order(path: Path, error: ValidationError) -> UsageError:
    first = error.errors()[0]
    if first["loc"] == ("version",):
        return UsageError(
            f"The work order {path} is of version {first['input']!r}; this release reads version 1",
            hint="Let operator and collector be of the same release",
        )
    where = ".".join(str(part) for part in first["loc"]) or "the document"
    return UsageError(
        f"{path} is not a valid work order: {where}: {first['msg']}",
        hint="Give it the JSON that the operator makes",
    )


async def carry_out(
    order: WorkOrder, document: bytes, settings: JobSettings, stop: Stop, meter: Meter
) -> CaptureResult:
    """Capture what the order names, from the runtime that its targets are of."""
    scheme = single_scheme([target.container_id for target in order.targets])
    async with (
        open_runtime(scheme, order.targets[0].container_id) as runtime,
        open_destination(
            bundle_url(order),
            access=S3Access(expected_bucket_owner=settings.expected_bucket_owner),
            retention=order.retention,
            encryption=order.encryption,
        ) as destination,
    ):
        return await capture(
            order,
            runtime,
            destination,
            meter,
            order_document=document,
            stop=stop,
            at_once=settings.at_once,
            rate=settings.rate,
            closing=CLOSING,
        )


async def until_stopped(
    work: Callable[[Stop], Awaitable[T]], seconds: float, early: SigtermLatch
) -> T:
    """Return what `work` returns; SIGTERM asks it to stop, `early` may have heard one before.

    At a second one, or after `seconds`, it is cancelled. Raises `Terminated` then.
    """
    stop = Stop()
    results: list[T] = []
    with anyio.open_signal_receiver(signal.SIGTERM) as signals:
        async with task_group() as tasks:
            if early.heard:
                stop.request()
            tasks.start_soon(_stop_on_signals, signals, stop, seconds, tasks.cancel_scope)
            results.append(await work(stop))
            tasks.cancel_scope.cancel()
    if not results:
        raise Terminated(STOPPED)
    return results[0]


async def _stop_on_signals(
    signals: AsyncIterator[signal.Signals],
    stop: Stop,
    seconds: float,
    scope: anyio.CancelScope,
) -> None:
    if not stop.requested:
        await anext(signals)
        stop.request()
    await to_thread.run_sync(write_line, b'{"event":"stopping"}\n')
    with anyio.move_on_after(seconds):
        await anext(signals)
    scope.cancel()
