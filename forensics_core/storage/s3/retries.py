"""Trying a request again, with jitter, as long as the failure may pass.

A request that makes no progress for `S3Access.progress_timeout` seconds counts as failed: a server
may accept a connection and then never read nor answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from forensics_core._internal.backoff import Backoff
from forensics_core.storage.s3.answers import progress
from forensics_core.storage.s3.client import S3Access
from forensics_core.storage.s3.failures import FAILURES, ambiguous, passing
from forensics_core.storage.s3.parts import PartBody

T = TypeVar("T")

_MIN_PAUSE, _FIRST_PAUSE, _MAX_PAUSE = 0.1, 0.4, 20.0
"""Seconds of a pause: at least, after the first failure at most, and at most."""


class RequestFailed(Exception):
    """A request failed for good.

    `unsure` says whether an earlier try may have been carried out, though nobody said so.
    """

    def __init__(self, cause: BaseException, *, unsure: bool) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.unsure = unsure


async def with_retries(
    call: Callable[[], Awaitable[T]], access: S3Access, *, body: PartBody | None = None
) -> T:
    """Return what `call` returns, trying again while it fails in a passing way.

    Raises `RequestFailed`, which says what is known of the tries before.
    """
    unsure = False
    # Many collectors may meet the same overloaded bucket at once: their pauses differ widely.
    backoff = Backoff(_FIRST_PAUSE, _MAX_PAUSE, least=_MIN_PAUSE)
    for number in range(1, access.attempts + 1):
        try:
            return await _until_no_progress(call, access.progress_timeout, body)
        except FAILURES as error:
            if number == access.attempts or not passing(error):
                raise RequestFailed(error, unsure=unsure) from error
            unsure = unsure or ambiguous(error)
        await anyio.sleep(backoff.next())
    raise AssertionError("unreachable")


async def _until_no_progress(
    call: Callable[[], Awaitable[T]], progress_timeout: float, body: PartBody | None
) -> T:
    with anyio.fail_after(progress_timeout) as scope:

        def put_off() -> None:
            scope.deadline = anyio.current_time() + progress_timeout

        if body is not None:
            body.on_progress = put_off
        token = progress.set(put_off)
        try:
            return await call()
        finally:
            progress.reset(token)
