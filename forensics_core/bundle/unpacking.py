"""An object's decompressed bytes, hashed: frames are decompressed at the same time, by several
threads, and hashed in their order by another one::

    unpacking = Unpacking(most=expected.original_size, threads=2)
    # each of `unpacking.work` runs in a thread of its own, until `end`
    unpacking.put(block)
    unpacking.end()
    unpacking.flaw, unpacking.size, unpacking.sha256

What is no frame that can be taken by itself is decompressed as one stream, with its rest: the
outcome is the same.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import IO, cast

import zstandard

from forensics_core.pipeline.frames import FrameSplitter, WholeFrame
from forensics_core.storage.objects import Buffer
from forensics_core.tarindex.archive import MAX_FRAME

PIECE = 1024 * 1024
"""Bytes that decompression of a stream yields at once."""
LARGEST = 8 * 1024 * 1024
"""Bytes of a frame that is decompressed by itself: ours hold a block of 4 MiB, or some rows."""
AHEAD = 2
"""Frames that may be under way beyond those that threads work on."""


class Original:
    """Where decompressed bytes go, in their order; `most` of them are promised."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.size = 0
        self.sha256 = hashlib.sha256()
        self.flaw = ""
        """Why not all of it could be decompressed."""
        decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_FRAME)
        sink = cast(IO[bytes], self)
        self._zstd = decompressor.stream_writer(sink, write_size=PIECE, closefd=False)

    def put(self, block: Buffer) -> None:
        """Take the next bytes, as stored. Called in a thread."""
        if not self.flaw:
            self.flaw = self._streamed(block)

    def write(self, piece: bytes) -> int:
        """Take decompressed bytes: for the decompressor."""
        self.size += len(piece)
        if self.size > self.most:
            raise TooLong
        self.hash(piece)
        return len(piece)

    def hash(self, piece: Buffer) -> None:
        """Hash decompressed bytes that were counted."""
        self.sha256.update(piece)

    def _streamed(self, block: Buffer) -> str:
        """Decompress what comes; return what is wrong with it."""
        try:
            self._zstd.write(block)
        except zstandard.ZstdError as error:
            return f"cannot be decompressed: {error}"
        except TooLong:
            return self.too_long
        return ""

    @property
    def too_long(self) -> str:
        """What is wrong where more comes than was promised."""
        return f"decompresses to more than the {self.most} bytes promised"


class TooLong(Exception):
    """More came out than was promised: a decompression bomb, or another file."""


class Unpacking(Original):
    """The same, by threads; `end` has to be called, whatever happens."""

    def __init__(self, most: int, threads: int) -> None:
        super().__init__(most)
        self._splitter = FrameSplitter(LARGEST)
        self._threads = threads
        self._packed = SimpleQueue[FrameJob | None]()
        self._in_order = SimpleQueue[FrameJob | None]()
        self._room = threading.Semaphore(threads + AHEAD)
        # Used again: fresh memory costs the kernel as much as hashing it does.
        self._free = SimpleQueue[bytearray]()
        self._stopped = False

    @property
    def work(self) -> Sequence[Callable[[], None]]:
        """What has to run at the same time, each in a thread, while blocks are put."""
        return [self._hash_all, *([self._decompress_all] * self._threads)]

    def put(self, block: Buffer) -> None:
        """Take the next bytes, as stored; waits for room. Called in a thread."""
        for frame in self._splitter.feed(block):
            self._put_frame(frame)
        if self._splitter.over:
            self._put_stream(self._splitter.rest())

    def end(self) -> None:
        """Say that nothing follows; never waits."""
        self._in_order.put(None)
        for _ in range(self._threads):
            self._packed.put(None)

    def finish(self) -> None:
        """Take what is left in the end, as of a frame that is cut. Called in a thread."""
        if not self._splitter.over:
            self._put_stream(self._splitter.rest())

    def _put_frame(self, frame: WholeFrame) -> None:
        if self.flaw or self._stopped:
            return
        self._room.acquire()
        job = FrameJob(frame, self._free)
        self.size += frame.size
        if self.size > self.most:
            self._stop(job, self.too_long)
        self._in_order.put(job)
        self._packed.put(job)

    def _put_stream(self, block: Buffer) -> None:
        if self.flaw or self._stopped:
            return
        if flaw := self._streamed(block):
            self._room.acquire()
            job = FrameJob(WholeFrame(b"", 0), self._free)
            self._stop(job, flaw)
            self._in_order.put(job)

    def _stop(self, job: FrameJob, flaw: str) -> None:
        """Let `job` say what is wrong, in its turn: what came before it may be wrong, too."""
        self._stopped = True
        job.give_up(flaw)

    def hash(self, piece: Buffer) -> None:
        """Put a piece of the stream in its turn; waits for room."""
        self._room.acquire()
        self._in_order.put(FrameJob.of(piece, self._free))

    def _hash_all(self) -> None:
        """Hash what was decompressed, in its order, until the end."""
        while job := self._in_order.get():
            job.done.wait()
            self.flaw = self.flaw or job.flaw
            if not self.flaw:
                self.sha256.update(job.data)
            job.release()
            self._room.release()

    def _decompress_all(self) -> None:
        """Decompress frames until the end."""
        while job := self._packed.get():
            job.decompress()


class FrameJob:
    """One frame under way."""

    def __init__(self, frame: WholeFrame, free: SimpleQueue[bytearray]) -> None:
        self._frame = frame
        self._free = free
        self._block: bytearray | None = None
        self.data: Buffer = b""
        """What was in it, once it is `done`."""
        self.flaw = ""
        self.done = threading.Event()

    @classmethod
    def of(cls, piece: Buffer, free: SimpleQueue[bytearray]) -> FrameJob:
        """Return one that is decompressed already."""
        frame = cls(WholeFrame(b"", 0), free)
        frame.data = piece
        frame.done.set()
        return frame

    def give_up(self, flaw: str) -> None:
        """Say what is wrong in place of decompressing it."""
        self.flaw = flaw
        self.done.set()

    def decompress(self) -> None:
        """Do it, unless it was given up."""
        if self.done.is_set():
            return
        try:
            self._fill()
        except (zstandard.ZstdError, MemoryError) as error:
            self.flaw = f"cannot be decompressed: {error}"
        finally:
            self.done.set()

    def _fill(self) -> None:
        stored, size = self._frame
        self._block = self._taken()
        room = memoryview(self._block)
        reader = zstandard.ZstdDecompressor(max_window_size=MAX_FRAME).stream_reader(stored)
        # With room for one byte more it reads on to the frame's end, where the checksum is.
        have = reader.readinto(room[: size + 1])
        self.data = room[:have]
        if have != size:
            raise zstandard.ZstdError("a frame holds another size than it says")

    def _taken(self) -> bytearray:
        with suppress(Empty):
            return self._free.get_nowait()
        # Of what is not used of it the kernel makes no memory.
        return bytearray(LARGEST + 1)

    def release(self) -> None:
        """Give the memory back."""
        self.data = b""
        if self._block is not None:
            self._free.put(self._block)
            self._block = None
