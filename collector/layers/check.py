"""One layer: its archive read through, and its directory compared with it.

::

    check = LayerCheck(layer, image)
    for _ in check.steps():  # blocks
        ...
    check.row()

The result is `proven`, `differs`, or `unproven` with a reason. What differs is a list of rows, each
with `path` (and `raw`, where it is not UTF-8), `difference` (`content`, `metadata`, `type`,
`missing`, `extra`), and what the image and the node have.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

from collector.documents import readable
from collector.files.entries import EntryRow, spell
from collector.files.hashing import HashingBudget
from collector.files.mounts import open_view
from collector.files.safe_open import opened
from collector.layers.extras import EXTRAS_LIMITS, ExpectedNames, ExtrasLimits, find_extras
from collector.layers.member import LayerOpener, MemberCheck, MemberDifference, plain_path
from collector.layers.promised import (
    DamagedSource,
    ImageLayers,
    LayerSource,
    MissingArchive,
    PromisedLayer,
)
from forensics_core.bundle.writer import shortened
from forensics_core.tarindex.member import Member
from forensics_core.tarindex.walk import TarWalk

MAX_DIFFERENCES = 1000
"""Differences of one layer that are listed; all are counted."""
MAX_PATH = 4096
"""Bytes of a path that a row has."""
PROVEN, DIFFERS, UNPROVEN = "proven", "differs", "unproven"

_TOP = b"/"
"""Stands for the whole layer: the top itself is not compared."""

CheckSteps = Iterator[int]
"""Bytes that each piece of work has read."""


@dataclass(slots=True)
class LayerCheck:
    """The comparison of one layer."""

    layer: PromisedLayer
    image: ImageLayers
    until: float = math.inf
    """When hashing ends, by `time.monotonic`."""
    max_differences: int = MAX_DIFFERENCES
    extras: ExtrasLimits = EXTRAS_LIMITS
    result: str = field(default=UNPROVEN, init=False)
    reason: str = field(default="Deadline", init=False)
    """Why it is unproven, in the manifest's word."""
    message: str = field(default="There was no time for all of it", init=False)
    members: int = field(default=0, init=False)
    size: int = field(default=0, init=False)
    """Bytes of the plain archive."""
    total: int = field(default=0, init=False)
    """Differences."""
    _unhashed: int = field(default=0, init=False)
    _unlooked: int = field(default=0, init=False)
    _found: dict[bytes, MemberDifference] = field(default_factory=dict, init=False)
    _waiting: list[Member] = field(default_factory=list, init=False)
    _expected: ExpectedNames = field(init=False)

    def __post_init__(self) -> None:
        self._expected = ExpectedNames(self.extras.names)

    def steps(self) -> CheckSteps:
        """Do the work, a piece at a time; afterwards, or in between, `row` tells how it stands."""
        source = self.layer.source
        if isinstance(source, MissingArchive):
            self._fail(source.reason, source.message)
            return
        try:
            with ExitStack() as stack:
                view = open_view(self.layer.folder, self.image.host)
                folder = stack.enter_context(opened(view))
                places = LayerOpener(folder)
                stack.callback(places.close)
                yield from self._steps(source, folder, places)
        except FileNotFoundError as error:
            self._fail("NotFound", f"It is not there any more: {error}")
        except OSError as error:
            self._fail("Unreadable", f"It could not be read: {error}")

    def end(self, reason: str, message: str) -> None:
        """Note why the work ends before its end."""
        self._fail(reason, message)

    def _fail(self, reason: str, message: str) -> None:
        self.reason, self.message = reason, message

    def _steps(self, source: LayerSource, folder: int, places: LayerOpener) -> CheckSteps:
        hashing = HashingBudget(until=self.until)
        check = MemberCheck(
            places,
            self.image.marks,
            hashing,
            source.independent,
            self.layer.bottom,
            self.image.shift,
        )
        genuine = yield from self._archive(source, folder, check)
        self._unhashed = check.unhashed
        if not genuine:
            return
        yield from self._extras(folder)
        self._conclude()

    def _archive(
        self, source: LayerSource, folder: int, check: MemberCheck
    ) -> Generator[int, None, bool]:
        """Read the archive, comparing its members; return whether it is the image's."""
        digest, walk, damage = hashlib.sha256(), TarWalk(self._waiting.append), ""
        blocks = source.read(folder)
        try:
            for block in blocks:
                digest.update(block)
                self.size += len(block)
                damage = damage or self._feed(walk, block)
                yield len(block)
                yield from self._compare_waiting(check)
        except DamagedSource as error:
            damage = damage or str(error)
        found = f"sha256:{digest.hexdigest()}"
        flaw = source.flaw()
        if flaw or (source.independent and self.layer.diff_id and found != self.layer.diff_id):
            self._fail("BlobDiffers", flaw or f"The blob unpacks to {found}, not to the diff ID")
            return False
        if damage:
            self._fail("NotSupported", f"Its archive cannot be compared: {damage}")
            return False
        if self.layer.diff_id and found != self.layer.diff_id:
            yield from self._search(source, folder, found)
        return True

    def _feed(self, walk: TarWalk, block: bytes) -> str:
        try:
            walk.feed(block)
        except ValueError as error:
            return str(error)
        return ""

    def _compare_waiting(self, check: MemberCheck) -> CheckSteps:
        """Compare the members that have passed; none is kept."""
        for member in self._waiting:
            self.members += 1
            if path := check.named(member):
                self._expected.add(path)
            difference: MemberDifference | None = None
            for step in check.compare(member):
                if isinstance(step, int):
                    yield step
                else:
                    difference = step
            self._note(plain_path(member.path), difference)
            if path and check.places.detour:
                self._expected.add(check.places.detour + path[path.rindex(b"/") :])
        self._waiting.clear()

    def _note(self, path: bytes, difference: MemberDifference | None) -> None:
        """Keep a difference, if there is room; of members of one name the last one counts."""
        if path in self._found:
            del self._found[path]
            self.total -= 1
        if difference is not None:
            self.total += 1
            if len(self._found) < self.max_differences:
                self._found[path] = difference

    def _search(self, source: LayerSource, folder: int, found: str) -> CheckSteps:
        """Look for the files whose content makes the archive another one.

        That it is another one is known already. Which file it is may not be found: a checksum of
        64 bits can be forged, and there may be no time.
        """
        self.result = DIFFERS
        both = {"image": self.layer.diff_id, "node": found}
        self._note(_TOP, {"difference": "content", "diffId": both})
        for path in source.suspects(folder):
            self._unlooked = source.unlooked
            if path:
                self._note(_TOP, None)
                path = plain_path(path)
                known = self._found.get(path, {})
                if known.get("difference", "metadata") == "metadata":
                    self._note(path, {**known, "difference": "content"})
            yield 0

    def _extras(self, folder: int) -> CheckSteps:
        if self._expected.full:
            return
        placeholders, marks = self.layer.placeholders, self.image.marks
        if self.layer.bottom:
            marks = b""  # there is nothing that it could hide
        for path in find_extras(folder, self._expected, placeholders, marks, self.extras):
            if path is not None:
                self._note(path, {"difference": "extra"})
            yield 0

    def _conclude(self) -> None:
        self.reason = self.message = ""
        if self._expected.full:
            self._fail("TooMany", "It has too many files to tell which of them are extra")
        elif self._unhashed:
            message = f"{self._unhashed} of its files are too large to hash, or there was no time"
            self._fail("TooLarge", message)
        elif self._unlooked:
            message = f"{self._unlooked} files that may have been changed were not looked at"
            self._fail("TooMany", message)
        elif more := self.total - len(self._found):
            self._fail("TooMany", f"{more} more of its files differ than are listed")
        if self.total:
            self.result = DIFFERS
        elif not self.reason:
            self.result = PROVEN

    def row(self) -> EntryRow:
        """Return what is known of the layer by now."""
        layer = self.layer
        row: EntryRow = {
            "diffId": layer.diff_id,
            "folder": readable(layer.folder),
            "blob": layer.blob,
            "source": "" if isinstance(layer.source, MissingArchive) else layer.source.word,
            "result": self.result,
            "members": self.members,
            "size": self.size,
        }
        if self.reason:
            row |= {"reason": self.reason, "message": shortened(self.message)}
        if self.total:
            row["differencesTotal"] = self.total
            row["differences"] = [
                {**spell(path[1 : MAX_PATH + 1]), **what}
                for path, what in sorted(self._found.items())
            ]
        return row
