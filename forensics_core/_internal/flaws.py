"""What cannot be read of a document, while the rest of it can.

One row that a hostile node made must not hide all others: readers pass over it, go on to the end,
and fail then::

    flaws = Flaws("containers/web/diff.json", "is not a list of changes")
    for line in lines:
        with flaws.passing():
            rows.append(parse(line))
    flaws.check()
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from forensics_core.errors import VerificationError

_WRONG = (ValueError, TypeError, LookupError, AttributeError, RecursionError)
"""What parsing a row of wrong types raises."""


class Flaws:
    """The first thing that is wrong with one document, and how many there are."""

    def __init__(self, name: str, wrong: str) -> None:
        self._name = name
        self._wrong = wrong
        self._first = ""
        self.total = 0

    def add(self, why: str) -> None:
        """Note that something was passed over."""
        self._first = self._first or why[:300]
        self.total += 1

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Note what the block fails with, where that is the fault of what it reads."""
        try:
            yield
        except VerificationError as error:
            self.add(error.message)
        except _WRONG as error:
            self.add(str(error) or type(error).__name__)

    def check(self) -> None:
        """Raise `VerificationError` if anything was passed over."""
        if self.total:
            places = "1 place was" if self.total == 1 else f"{self.total} places were"
            raise VerificationError(
                f"{self._name} {self._wrong}: {self._first}; {places} passed over, the rest read",
                hint="Treat the bundle as tampered with",
            )
