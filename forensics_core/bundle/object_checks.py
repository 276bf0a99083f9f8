"""Checking a bundle's objects, several at once: by their bytes, or by what the store says of them.

Whoever reads evidence compares every byte (`check_object`). The operator, which has to answer while
the pod stands still, compares what the store itself says (`check_stored`), and reads only what that
does not vouch for.

Memory is bounded whatever the bytes are: what decompression yields is hashed and forgotten, and no
more of it is made than the manifest promises.
"""

from __future__ import annotations

import hashlib
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Sequence,
    Set,
)
from contextlib import aclosing, suppress
from functools import partial

import anyio
from anyio import to_thread
from anyio.streams.memory import MemoryObjectSendStream

from forensics_core._internal.tasks import task_group
from forensics_core.bundle.byte_check import ByteCheck
from forensics_core.bundle.expected import ExpectedObject
from forensics_core.bundle.verification import Problem, ProblemKind
from forensics_core.errors import (
    DestinationError,
    DestinationUnreachable,
    ObjectNotFound,
    TooManyObjects,
)
from forensics_core.storage.objects import StoredObject
from forensics_core.storage.storage import Storage

MAX_READ = 16 * 1024 * 1024
"""Bytes of an object that `check_stored` reads to compare its content."""
SMALL = 64 * 1024
"""Bytes that are hashed in the event loop, within a tenth of a millisecond: threads cost more."""


async def check_each(
    expected: Iterable[ExpectedObject],
    check: Callable[[ExpectedObject], Awaitable[Sequence[Problem]]],
    *,
    at_once: int,
    most_wrong: int | None = None,
) -> list[Problem]:
    """Return what `check` finds wrong with each object; `at_once` of them are checked together.

    After `most_wrong` problems no other object is begun: a manifest can name many. What one check
    raises ends them all.
    """
    problems: list[Problem] = []
    waiting = iter(expected)

    async def work() -> None:
        # All take from one iterator: whoever has a large object keeps no other from being checked.
        for each in waiting:
            problems.extend(await check(each))
            if most_wrong is not None and len(problems) >= most_wrong:
                return

    async with task_group() as tasks:
        for _ in range(at_once):
            tasks.start_soon(work)
    return problems


async def check_stored(
    store: Storage, expected: Sequence[ExpectedObject], *, at_once: int, most_wrong: int
) -> list[Problem]:
    """Return objects that are missing, or stored with another size, checksum or content.

    Artifacts are compared by their checksum, where the store has one. Of what no row describes the
    tag or the version tells another content; what has neither is read, up to `MAX_READ` bytes.

    Raises what the store raises, and `TooManyObjects`.
    """
    listed = await _listed(store, {each.name for each in expected})
    problems: list[Problem] = []
    asked: list[ExpectedObject] = []
    for each in expected:
        # Most of a bundle's objects: a task for each would cost more than comparing it.
        entry = listed.get((each.name, each.version_id)) if _told_by_listing(each) else None
        if entry is None:
            asked.append(each)
        elif len(problems) < most_wrong:
            problems += _differences(each, entry)

    async def check(each: ExpectedObject) -> list[Problem]:
        return [problem async for problem in _stored_problems(store, each, listed)]

    left = most_wrong - len(problems)
    if left > 0 and asked:
        together = min(at_once, len(asked))
        problems += await check_each(asked, check, at_once=together, most_wrong=left)
    return problems


def _told_by_listing(expected: ExpectedObject) -> bool:
    """Whether a listing's entry has all that an object is compared by."""
    return not expected.described and bool(expected.version_id or expected.etag)


_Listed = dict[tuple[str, str | None], StoredObject]


async def _listed(store: Storage, names: Set[str]) -> _Listed:
    """Return what is stored of these, by name and version; nothing where that cannot be listed.

    The version None is the one that readers take where the manifest names none.
    """
    try:
        entries = await store.list(only=names)
    except (DestinationUnreachable, TooManyObjects):
        raise
    except DestinationError:
        return {}
    listed: _Listed = {}
    for entry in entries:
        if not entry.deleted:
            listed[entry.name, entry.version_id] = entry
            # The oldest comes first: readers take it where no version is recorded.
            listed.setdefault((entry.name, None), entry)
    return listed


async def _stored_problems(
    store: Storage, expected: ExpectedObject, listed: _Listed
) -> AsyncGenerator[Problem, None]:
    name = expected.name
    try:
        stored = await _find(store, expected, listed)
        same = await _has_content(store, expected, stored)
    except ObjectNotFound:
        yield Problem(ProblemKind.MISSING, name, "is not stored")
        return
    except DestinationError as error:
        if type(error) is not DestinationError:
            raise
        # Its name or version is none that the store could have: asking again helps nobody.
        yield Problem(ProblemKind.UNREADABLE, name, "cannot be stored there")
        return
    for problem in _differences(expected, stored, same=same):
        yield problem


def _differences(
    expected: ExpectedObject, stored: StoredObject, *, same: bool = True
) -> Iterator[Problem]:
    """Yield in what `stored` is not as promised; `same`: whether its bytes are, as far as read."""
    name = expected.name
    if expected.size is not None and stored.size != expected.size:
        message = f"is stored with {stored.size} bytes, not {expected.size}"
        yield Problem(ProblemKind.MISMATCH, name, message)
    # A store that sums by itself has a sum though the collector gave none: that is no agreement.
    if expected.described and stored.crc64nvme not in {None, expected.crc64nvme}:
        yield Problem(ProblemKind.MISMATCH, name, "is stored with another checksum")
    if not same or (expected.etag and stored.etag != expected.etag):
        yield Problem(ProblemKind.MISMATCH, name, "is stored with another content")


async def _find(store: Storage, expected: ExpectedObject, listed: _Listed) -> StoredObject:
    """Return what is stored; ask for the object itself only if its checksum is to be compared."""
    found = listed.get((expected.name, expected.version_id))
    if found is None:
        # A listing may not tell versions; the object itself does.
        return await store.stat(expected.name, expected.version_id)
    return await store.stat(expected.name, found.version_id) if expected.described else found


async def _has_content(store: Storage, expected: ExpectedObject, stored: StoredObject) -> bool:
    """Whether an object's bytes are as promised, if only they can tell; large ones are not read."""
    # Neither a version nor a tag survives another content. What has none of them is read back.
    if expected.described or expected.version_id or expected.etag:
        return True
    if stored.size > MAX_READ:
        return False
    async with aclosing(store.read(expected.name, stored.version_id)) as blocks:
        if stored.size <= SMALL and not expected.compressed:
            return await _is_same(blocks, expected)
        return await compare(blocks, expected, discard) is None


async def _is_same(blocks: AsyncIterable[bytes], expected: ExpectedObject) -> bool:
    """Whether `blocks` are what was promised, if they are as few as the store said."""
    data = bytearray()
    async for block in blocks:
        data += block
        if len(data) > SMALL:
            return False
    digest = hashlib.sha256(data).hexdigest()
    return digest == expected.sha256 and expected.size in {None, len(data)}


async def discard(_: bytes) -> None:
    """Take a block that is only compared."""


async def check_object(
    blocks: AsyncIterable[bytes],
    expected: ExpectedObject,
    passed: Callable[[bytes], Awaitable[None]],
) -> Problem | None:
    """Do what `compare` does, and return it as a problem, too, that an object cannot be read.

    Raises `DestinationUnreachable`, which says nothing about the evidence.
    """
    try:
        async with aclosing(_explained(blocks, expected.name)) as readable:
            return await compare(readable, expected, passed)
    except _Broken as broken:
        return broken.problem


async def compare(
    blocks: AsyncIterable[bytes],
    expected: ExpectedObject,
    passed: Callable[[bytes], Awaitable[None]],
) -> Problem | None:
    """Compare what `blocks` yields with what was promised, handing each block to `passed`.

    The work is done in threads: while a block is hashed and handed on, the next one is read, and
    what is in the last ones is decompressed and hashed. Reading ends where more comes than was
    promised, so that nobody can fill a disk. Returns what is wrong, or None. Raises what reading
    raises.
    """
    check = ByteCheck(expected)
    outlet, inlet = anyio.create_memory_object_stream[bytes](0)
    async with task_group() as tasks:
        tasks.start_soon(_read_ahead, blocks, outlet)
        # Threads of their own: they last as long as the object, and others wait for the usual ones.
        beside = anyio.CapacityLimiter(max(len(check.work), 1))
        for work in check.work:
            tasks.start_soon(partial(to_thread.run_sync, work, limiter=beside))
        try:
            async with inlet:
                async for block in inlet:
                    check.count(block)
                    if check.too_long:
                        break
                    async with task_group() as both:
                        both.start_soon(to_thread.run_sync, check.feed, block)
                        await passed(block)
                # Where nothing is done beside, nothing is left either.
                if check.work and not check.too_long:
                    await to_thread.run_sync(check.finish)
        finally:
            check.close()
    return check.verdict()


async def _read_ahead(blocks: AsyncIterable[bytes], outlet: MemoryObjectSendStream[bytes]) -> None:
    # Nobody takes what comes beyond the promised size.
    with suppress(anyio.BrokenResourceError):
        async with outlet:
            async for block in blocks:
                await outlet.send(block)


class _Broken(Exception):
    """Reading failed, which is a finding."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


async def _explained(blocks: AsyncIterable[bytes], name: str) -> AsyncGenerator[bytes, None]:
    """Pass `blocks` on, and keep their failures apart from those of whoever takes them."""
    try:
        async for block in blocks:
            yield block
    except DestinationUnreachable:
        raise
    except ObjectNotFound as error:
        raise _Broken(Problem(ProblemKind.MISSING, name, "it is not there")) from error
    except DestinationError as error:
        raise _Broken(Problem(ProblemKind.UNREADABLE, name, error.message)) from error
