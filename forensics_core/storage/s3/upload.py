"""One object on its way to S3: a single PUT while it is small, a multipart upload beyond.

Parts are sent while later ones are still being filled, as many as the byte budget allows. Nothing
is visible until the commit, which is conditional on the key being free.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup

from forensics_core._internal.tasks import task_group
from forensics_core.errors import ForensicsError, ObjectExists, ObjectTooLarge
from forensics_core.storage.budget import MIB, ByteBudget
from forensics_core.storage.objects import Buffer, StoredObject
from forensics_core.storage.s3.client import S3Access
from forensics_core.storage.s3.failures import (
    ambiguous,
    code_of,
    explain,
    incomplete_answer,
    may_appear,
    status_of,
)
from forensics_core.storage.s3.multipart import Multipart
from forensics_core.storage.s3.parts import PartBody, capacity, part_size
from forensics_core.storage.s3.request import ObjectRequest
from forensics_core.storage.s3.retries import RequestFailed, with_retries
from forensics_core.storage.s3.traits import CRC64, Traits

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

T = TypeVar("T")
SMALL = 64 * 1024
"""Bytes that are summed and hashed in the event loop: within a tenth of a millisecond."""
LOOK_ATTEMPTS = 2
"""Tries to look whether an object was stored though nobody said so."""
MAX_LOOK_PAUSE = 5.0
"""Seconds at most between two looks for an object that is being joined."""


@asynccontextmanager
async def upload(
    client: S3Client,
    access: S3Access,
    budget: ByteBudget,
    request: ObjectRequest,
    traits: Traits,
) -> AsyncIterator[S3Upload]:
    """Begin an object; leaving the block without a commit aborts it, cancelled or not."""
    writer = S3Upload(client, access, budget, request, traits)
    try:
        async with task_group() as tasks:
            writer.parts_go_to(tasks)
            yield writer
            # Parts of what was not committed need not arrive.
            tasks.cancel_scope.cancel()
    finally:
        await writer.abandon()


class S3Upload:
    """An `ObjectWriter`; made by `upload`."""

    def __init__(
        self,
        client: S3Client,
        access: S3Access,
        budget: ByteBudget,
        request: ObjectRequest,
        traits: Traits,
    ) -> None:
        self._client = client
        self._access = access
        self._budget = budget
        self._request = request
        self._traits = traits
        self._blocks: list[Buffer] = []
        self._filled = 0
        self._room = 0
        self._leaving = 0
        self._part = 0
        self._size = 0
        self._crc = 0
        self._multipart = Multipart(client, access, request, traits)
        self._sent: dict[int, dict[str, Any]] = {}
        self._arrived = anyio.Event()
        self._committed = False

    def parts_go_to(self, tasks: TaskGroup) -> None:
        """Send parts as tasks of this group."""
        self._tasks = tasks

    async def write(self, block: Buffer) -> None:
        """Append `block`; waits while the budget is spent."""
        rest = memoryview(block)
        while rest:
            if self._filled == self._room:
                await self._next_part()
            taken = rest[: self._room - self._filled]
            rest = rest[len(taken) :]
            self._blocks.append(taken)
            self._filled += len(taken)
            self._size += len(taken)

    async def put(self, data: bytes) -> StoredObject:
        """Store an object whose bytes are all at hand: by one request, without a task or a part."""
        self._blocks, self._size = [data], len(data)
        return await self.commit()

    async def commit(self) -> StoredObject:
        """Make the object visible. Raises `ObjectExists` if its key was taken meanwhile."""
        if self._multipart.id is None:
            answer = await self._put()
        else:
            await self._upload_block()
            while len(self._sent) < self._part:
                self._arrived = anyio.Event()
                await self._arrived.wait()
            answer = await self._complete()
        self._committed = True
        return StoredObject(
            name=self._request.name,
            size=self._size,
            version_id=version_of(answer),
            crc64nvme=_base64(self._crc),
            etag=answer.get("ETag"),
        )

    async def abandon(self) -> None:
        """Give the memory back, and discard what was sent unless it was committed."""
        self._budget.release(self._room)
        self._budget.gone(self._leaving)
        self._room = self._leaving = 0
        await self._multipart.end(completed=self._committed)

    async def _next_part(self) -> None:
        """Send the part that is full, if there is one, and make room for the next."""
        # Only once a second part is needed: most objects are small, and a single PUT is one
        # request, which leaves nothing open when it fails.
        if self._part and self._multipart.id is None:
            await self._multipart.begin()
        if self._part:
            await self._upload_block()
        if self._part == self._access.max_parts:
            raise ObjectTooLarge(
                f"{self._request.url} is longer than {self._capacity() // MIB} MiB, "
                "the most that fits one object",
                hint="Capture it with compression, or without what is so large",
            )
        # The whole part's memory is reserved before its first byte, as it is held until it is sent.
        size = self._access.part_size or part_size(self._part + 1)
        await self._budget.reserve(size)
        self._room = size
        self._part += 1

    def _capacity(self) -> int:
        parts = self._access.max_parts
        return (self._access.part_size or 0) * parts or capacity(parts)

    async def _upload_block(self) -> None:
        """Hand the current part over to a task of its own, with its share of the budget."""
        body, room, number = PartBody(self._blocks), self._room, self._part
        self._blocks, self._room, self._filled = [], 0, 0
        self._budget.leave(room)
        self._leaving += room
        self._tasks.start_soon(self._send, number, body, room)
        # Here, in order, as the whole object's checksum is carried on from part to part; while the
        # part itself is on its way.
        self._crc = await to_thread.run_sync(body.crc64, self._crc)

    async def _send(self, number: int, body: PartBody, room: int) -> None:
        crc = _base64(await to_thread.run_sync(body.crc64))
        checks: dict[str, Any] = {}

        async def send() -> Any:
            nonlocal checks
            checks = await to_thread.run_sync(self._traits.checks, body, crc)
            return await self._client.upload_part(
                **self._request.where,
                **checks,
                UploadId=self._multipart.id or "",
                PartNumber=number,
                Body=cast(Any, body),
                ContentLength=len(body),
            )

        try:
            answer = await self._asked(send, self._access, body)
        except RequestFailed as failure:
            raise explain(failure.cause, self._request.url) from failure.cause
        self._leaving -= room
        self._budget.gone(room)
        if not answer.get("ETag"):
            raise incomplete_answer(self._request.url, "ETag of a part")
        # The list of parts repeats their checksums, but has no field for an MD5: that is the ETag.
        told = {name: value for name, value in checks.items() if name != "ContentMD5"}
        self._sent[number] = {"PartNumber": number, "ETag": answer["ETag"], **told}
        self._arrived.set()

    async def _asked(
        self, call: Callable[[], Awaitable[Any]], access: S3Access, body: PartBody | None
    ) -> Any:
        """Return the answer; ask again for less where the store clearly refuses a demand."""
        while True:
            asked = replace(self._traits)
            try:
                return await with_retries(call, access, body=body)
            except RequestFailed as failure:
                locking = self._request.locking
                if not self._traits.step_down(failure.cause, asked, locking=locking):
                    raise

    async def _put(self) -> Any:
        body = PartBody(self._blocks)
        self._crc = await _computed(body, body.crc64)

        async def put() -> Any:
            crc = _base64(self._crc)
            return await put_once(self._client, self._request, self._traits, body, crc)

        return await self._until_visible(put, body)

    async def _complete(self) -> Any:
        # Sorted: parts arrive in any order, and S3 refuses a list that is not ascending.
        parts: list[Any] = [self._sent[number] for number in sorted(self._sent)]

        def complete() -> Awaitable[Any]:
            return self._client.complete_multipart_upload(
                **self._request.where,
                **self._whole(),
                **self._traits.condition(),
                UploadId=self._multipart.id or "",
                MultipartUpload={"Parts": parts},
            )

        return await self._until_visible(complete, joining=len(parts))

    def _whole(self) -> dict[str, Any]:
        """Return by what a store that knows the checksum compares the whole object."""
        if self._traits.checksum != CRC64:
            return {}
        return {
            "ChecksumCRC64NVME": _base64(self._crc),
            "ChecksumType": "FULL_OBJECT",
            "MpuObjectSize": self._size,
        }

    async def _until_visible(
        self, call: Any, body: PartBody | None = None, *, joining: int = 0
    ) -> Any:
        """Do what makes the object visible, and settle the case that an answer was lost.

        `joining` is how many parts the service has to put together meanwhile.
        """
        progress_timeout = self._access.progress_timeout + joining * self._access.joining
        try:
            return await self._asked(
                call, replace(self._access, progress_timeout=progress_timeout), body
            )
        except RequestFailed as failure:
            appears = joining > 0 and may_appear(failure.cause, unsure=failure.unsure)
            if appears or failure.unsure or ambiguous(failure.cause):
                settling = self._access.settling if appears else 0
                return await self._stored_after_all(failure.cause, settling)
            raise self._explained(failure.cause) from failure.cause

    def _explained(self, cause: BaseException) -> ForensicsError:
        return explain(cause, self._request.url, locking=self._request.locking)

    async def _stored_after_all(self, cause: BaseException, settling: float) -> Any:
        """Return what is there if it is ours; raise what `cause` means if it is not.

        An identity that may only write cannot look. Then the last answer decides: that the key,
        which nobody else was given, is taken, or that the upload is no more, speaks for itself, and
        whoever seals the bundle compares size and checksum.
        """
        try:
            answer = await self._look(settling)
        except RequestFailed as failure:
            taken = status_of(cause) == 412 or code_of(cause) == "NoSuchUpload"
            if taken and status_of(failure.cause) in {401, 403}:
                return {}
            raise self._explained(cause) from cause
        # A store without checksums is asked for the size alone: nobody else was given this key.
        same_sum = answer.get("ChecksumCRC64NVME", _base64(self._crc)) == _base64(self._crc)
        if answer.get("ContentLength", self._size) == self._size and same_sum:
            return answer
        raise _taken(self._request.url) from cause

    async def _look(self, settling: float) -> Any:
        """Return what a HEAD says; ask again for `settling` seconds while nothing is there."""
        end, pause = anyio.current_time() + settling, 0.1
        while True:
            try:
                return await with_retries(
                    lambda: self._client.head_object(**self._request.where, ChecksumMode="ENABLED"),
                    replace(self._access, attempts=LOOK_ATTEMPTS),
                )
            except RequestFailed as failure:
                hopeless = status_of(failure.cause) not in {0, 404, 500, 502, 503, 504}
                if hopeless or anyio.current_time() >= end:
                    raise
            await anyio.sleep(pause)
            pause = min(2 * pause, MAX_LOOK_PAUSE)


async def put_once(
    client: S3Client, request: ObjectRequest, traits: Traits, body: PartBody, crc: str
) -> Any:
    """Store an object by a single request, unless its key is taken; return S3's answer."""
    checks = await _computed(body, traits.checks, body, crc)
    return await client.put_object(
        **request.where,
        **traits.with_acl(request.extra),
        **checks,
        **traits.condition(),
        Body=cast(Any, body),
        ContentLength=len(body),
    )


async def _computed(body: PartBody, compute: Callable[..., T], *arguments: object) -> T:
    """Return what is computed of all bytes, in a thread where there are many."""
    if len(body) <= SMALL:
        return compute(*arguments)
    return await to_thread.run_sync(partial(compute, *arguments))


def _taken(url: str) -> ForensicsError:
    return ObjectExists(
        f"{url} exists already, with other content", hint="Choose another bundle name"
    )


def version_of(answer: Any) -> str | None:
    """Return the version that an answer names; None where the bucket keeps none."""
    version = answer.get("VersionId")
    return None if version in {None, "", "null"} else str(version)


def _base64(crc: int) -> str:
    return base64.b64encode(crc.to_bytes(8, "big")).decode()
