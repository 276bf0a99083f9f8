"""What an S3 endpoint can do wrong, described as data for `lab.sink`."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum


class Misbehaviour(StrEnum):
    """The ways to misbehave."""

    REFUSE = "refuse"
    """Answer with `status` and `code`, after reading the body."""
    ERROR_IN_200 = "error-in-200"
    """Answer 200, with an error of `code` as the body: S3 does so for a Complete."""
    RESET = "reset"
    """Reset the connection after `after` bytes of the body."""
    HANG = "hang"
    """Read `after` bytes of the body, then neither read nor answer until the sink stops."""
    LOSE_ANSWER = "lose-answer"
    """Do what was asked, then reset the connection instead of answering."""
    LATE = "late"
    """Do what was asked, and answer `delay` seconds later."""
    SLOW = "slow"
    """Read the body at `rate` bytes per second, then answer as usual."""


@dataclass(frozen=True, slots=True)
class StoreFault:
    """A rule: which requests are treated badly, how, and how often."""

    action: Misbehaviour
    operation: str = ""
    """As S3 calls it: `UploadPart`, `CompleteMultipartUpload`, `PutObject`; empty for any."""
    key: str = ""
    """A piece of the object's key; empty for any."""
    part: int | None = None
    """The part's number; None for any."""
    times: int | None = 1
    """How many requests; None for all of them."""
    status: int = 503
    code: str = "SlowDown"
    after: int | None = None
    """Bytes of the body; None for the whole. With 0, `Expect: 100-continue` is not answered."""
    rate: int = 0
    """Bytes per second."""
    delay: float = 60
    """Seconds."""

    def concerns(self, operation: str, key: str, part: int | None) -> bool:
        """Whether a request is one of those that this rule is about."""
        return self.operation in {"", operation} and self.key in key and self.part in {None, part}


class StoreFaults:
    """The rules in force; the first that concerns a request and is not used up applies."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[StoreFault] = []
        self._used: Counter[int] = Counter()

    def add(self, fault: StoreFault) -> None:
        """Put a rule in force, behind those that are."""
        with self._lock:
            self._rules.append(fault)

    def clear(self) -> None:
        """Behave from now on."""
        with self._lock:
            self._rules.clear()
            self._used.clear()

    def pick(self, operation: str, key: str, part: int | None) -> StoreFault | None:
        """Return the rule for a request, and count it."""
        with self._lock:
            for index, fault in enumerate(self._rules):
                left = fault.times is None or self._used[index] < fault.times
                if left and fault.concerns(operation, key, part):
                    self._used[index] += 1
                    return fault
        return None
