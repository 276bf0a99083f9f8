"""A multipart upload at the service: begun by a request whose answer may get lost, never left open.

What was sent of an upload that is neither completed nor aborted stays in the bucket, unseen and
paid for. It can be aborted by its id alone, and the id comes with the answer to the request that
begins it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio

from forensics_core._internal.tasks import finish_despite_cancel
from forensics_core.storage.s3.client import S3Access
from forensics_core.storage.s3.failures import FAILURES, ambiguous, explain, incomplete_answer
from forensics_core.storage.s3.request import ObjectRequest
from forensics_core.storage.s3.retries import RequestFailed, with_retries
from forensics_core.storage.s3.traits import Traits

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

log = logging.getLogger(__name__)

ABORT_ATTEMPTS = 3


class Multipart:
    """The multipart upload of one object."""

    def __init__(
        self, client: S3Client, access: S3Access, request: ObjectRequest, traits: Traits
    ) -> None:
        self._client = client
        self._access = access
        self._request = request
        self._traits = traits
        self._lost = False
        """Whether an upload may have been begun whose id nobody told us."""
        self.id: str | None = None
        """Its id, once it was begun."""

    async def begin(self) -> None:
        """Begin it. Cancelled meanwhile, it is waited for, so that `end` can abort it."""
        await finish_despite_cancel(self._begin, self._access.aborting)

    async def end(self, *, completed: bool) -> None:
        """Leave no upload of this object open, whether cancelled or not; never fails."""
        with anyio.move_on_after(self._access.aborting, shield=True):
            if self.id and not completed:
                # The bucket's lifecycle rule clears what cannot be aborted; the first error counts.
                await self._abort(self.id)
            if self._lost:
                await self._abort_uploads_of_key()
        if self._lost:
            log.warning(
                "An upload of %s may have been left open, for the answer that began it got lost: "
                "the bucket's rule for incomplete uploads will remove it",
                self._request.url,
            )

    async def _begin(self) -> None:
        locking = self._request.locking
        while True:
            # A copy: another object may lower the same demand before this answer comes.
            asked = replace(self._traits)
            try:
                await with_retries(self._begin_once, self._access)
                return
            except RequestFailed as failure:
                cause = failure.cause
                if not self._traits.step_down(cause, asked, locking=locking):
                    raise explain(cause, self._request.url, locking=locking) from cause

    async def _begin_once(self) -> None:
        # Lost until an answer says otherwise: what a cancellation raises is caught by nobody here.
        before, self._lost = self._lost, True
        try:
            answer = await self._client.create_multipart_upload(
                **self._request.where,
                **self._traits.with_acl(self._request.extra),
                **self._traits.declared(),
            )
        except FAILURES as error:
            self._lost = before or ambiguous(error)
            raise
        self._lost = before
        if not answer.get("UploadId"):
            raise incomplete_answer(self._request.url, "UploadId")
        self.id = answer["UploadId"]

    async def _abort(self, upload_id: str) -> bool:
        abort = partial(self._client.abort_multipart_upload, **self._request.where)
        return await self._tried(partial(abort, UploadId=upload_id)) is not None

    async def _abort_uploads_of_key(self) -> None:
        """Abort what is open under this key, which nobody else was given; not all may list it."""
        where = {"Bucket": self._request.bucket, **self._request.owner}
        listed = partial(self._client.list_multipart_uploads, Prefix=self._request.key, **where)
        answer = await self._tried(listed)
        if answer is None:
            return
        rows = [row for row in answer.get("Uploads", ()) if row.get("UploadId")]
        # The prefix finds `a.tar.zst` for `a.tar` as well, which is another object of this bundle.
        found = [row for row in rows if row.get("Key") == self._request.key]
        aborted = [await self._abort(row["UploadId"]) for row in found]
        self._lost = not all(aborted)

    async def _tried(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """Return the answer; None where there is none."""
        try:
            return await with_retries(call, replace(self._access, attempts=ABORT_ATTEMPTS))
        except RequestFailed:
            return None
