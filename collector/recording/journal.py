"""`recording.jsonl`: the events of a recording, kept for a moment, put in order, and handed on.

Threads note events, and whoever stores them drains them again and again. The same event within one
such interval is one row with a count. What there is no room for is counted, never kept::

    journal = Journal(Limits())
    journal.note("write", (4711, b"/tmp/x"), {"pid": 4711, "path": "/tmp/x"})
    journal.drain()     # b'{"time": ..., "monotonic": ..., "event": "write", ...}'
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from collector.recording.limits import RecordingLimits

_FRAME = 200
"""Bytes that are counted for a row beside its facts."""
_START = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class _EventRow:
    event: str
    facts: Mapping[str, Any]
    first: float
    last: float
    count: int = 1


@dataclass(slots=True)
class EventJournal:
    """The events of one container; all of it may be called in any thread."""

    limits: RecordingLimits
    lost: Counter[str] = field(default_factory=Counter)
    """Events that there was no room for, by their names."""
    unknown: Counter[str] = field(default_factory=Counter)
    """Times that the kernel had no room itself, by who told so: how many it lost is unknown."""
    rows: int = 0
    size: int = 0
    begun: float = field(default_factory=time.monotonic)
    # One for all rows: somebody may set the clock while it is recorded.
    _offset: float = field(default_factory=lambda: time.time() - time.monotonic())
    _waiting: dict[Hashable, _EventRow] = field(default_factory=dict)
    _weight: int = 0
    _sequence: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, event: str, key: Hashable, facts: Mapping[str, Any]) -> None:
        """Note an event that just happened; of an equal `key` it is the same again.

        An event whose key is None is never the same as another. `facts` must be fit for JSON.
        """
        now = time.monotonic()
        with self._lock:
            self._sequence += 1
            whole = (event, self._sequence if key is None else key)
            if same := self._waiting.get(whole):
                same.count += 1
                same.last = now
                return
            weight = _FRAME + _weight(facts)
            full = len(self._waiting) >= self.limits.waiting
            if full or self._weight + weight > self.limits.waiting_size or self._is_over():
                self.lost[event] += 1
                return
            self._weight += weight
            self._waiting[whole] = _EventRow(event, facts, now, now)

    def _is_over(self) -> bool:
        return self.rows + len(self._waiting) >= self.limits.rows or self.size >= self.limits.size

    def drain(self) -> bytes:
        """Return the rows since the last time, by the time that each began."""
        with self._lock:
            waiting, self._waiting, self._weight = self._waiting, {}, 0
            self.rows += len(waiting)
        ordered = sorted(waiting.values(), key=lambda row: row.first)
        block = b"".join(self._spelled(row) for row in ordered)
        self.size += len(block)
        return block

    def spell(self, event: str, **facts: Any) -> bytes:
        """Return a row that is about the recording itself: it always has room."""
        now = time.monotonic()
        return self._spelled(_EventRow(event, facts, now, now))

    def _spelled(self, row: _EventRow) -> bytes:
        head: dict[str, Any] = {
            "time": self._wall(row.first),
            "monotonic": round(row.first - self.begun, 6),
            "event": row.event,
        }
        if row.count > 1:
            head |= {"count": row.count, "last": round(row.last - self.begun, 6)}
        text = json.dumps({**head, **row.facts}, ensure_ascii=False)
        return text.encode(errors="backslashreplace") + b"\n"

    def _wall(self, moment: float) -> str:
        when = _START + timedelta(seconds=self._offset + moment)
        return when.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _weight(facts: Mapping[str, Any]) -> int:
    """Return about how many bytes a row takes; lists of arguments were bounded before."""
    return sum(len(str(value)) for value in facts.values())
