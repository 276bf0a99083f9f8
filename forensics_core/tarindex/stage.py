"""The stage that indexes a tar archive as it passes::

    index = TarIndex(outlet.send)
    await bundle.add(label, tar, taps=[index])
    await index.close()

Rows leave in chunks, of which there is never more than one waiting. What is no tar ends the index,
never the archive.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from anyio import from_thread, to_thread

from forensics_core.storage.objects import Buffer
from forensics_core.tarindex.member import Member
from forensics_core.tarindex.rows import Chunk, RowWriter
from forensics_core.tarindex.walk import TarWalk


class TarIndex:
    """A `Stage` that changes nothing, and hands chunks of rows to `send`.

    `enrich` may add to each member what no archive holds; it is called in a worker thread.
    `damaged` is called where the archive ends before its end, or is none, as soon as that is known.
    """

    workers = 1

    def __init__(
        self,
        send: Callable[[Chunk], Coroutine[Any, Any, None]],
        damaged: Callable[[], None] = lambda: None,
        enrich: Callable[[Member], None] | None = None,
    ) -> None:
        self._send = send
        self._damaged = damaged
        self._rows = RowWriter()
        self._enrich = enrich
        self._walk = TarWalk(self._add)
        self.damage = ""
        """Why the index ends before the archive does; empty if it does not."""

    def process(self, block: Buffer) -> Buffer:
        """Index `block` and hand it on as it is. Called in a worker thread."""
        if not self.damage:
            try:
                self._walk.feed(block)
            except ValueError as error:
                self.damage = str(error)
        self._hand_on()
        return block

    def passed(self, before: Buffer, after: Buffer) -> None:
        """Nothing is left to note."""

    def finish(self) -> Buffer:
        """Add nothing; see whether this was the end."""
        if self.flaw:
            self._damaged()
        return b""

    @property
    def flaw(self) -> str:
        """Why the archive that has passed is not whole; empty if it is."""
        return self.damage or ("" if self._walk.ended else "the archive has no end")

    @property
    def rows(self) -> int:
        """Members so far."""
        return self._rows.total

    def add(self, member: Member) -> None:
        """Add what the archive cannot hold, once it has passed. Called in a worker thread."""
        self._add(member)
        self._hand_on()

    def _add(self, member: Member) -> None:
        if self._enrich:
            self._enrich(member)
        self._rows.add(member)

    def _hand_on(self) -> None:
        for chunk in self._rows.take():
            from_thread.run(self._send, chunk)

    async def close(self) -> None:
        """Send the rest, once the archive has passed."""
        self._walk.finish()
        for chunk in await to_thread.run_sync(self._rows.take_rest):
            await self._send(chunk)
