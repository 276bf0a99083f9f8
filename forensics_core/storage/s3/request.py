"""What an object in S3 is to be like."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class ObjectRequest:
    """Everything about an object but its bytes."""

    name: str
    url: str
    bucket: str
    key: str
    extra: dict[str, Any] = field(default_factory=dict)
    """Parameters of Create and Put: content type, encryption, retention."""
    owner: dict[str, Any] = field(default_factory=dict)
    """Parameters of every request: the expected owner."""

    @property
    def where(self) -> dict[str, Any]:
        """The parameters that every request about this object carries."""
        return {"Bucket": self.bucket, "Key": self.key, **self.owner}

    @property
    def locking(self) -> bool:
        """Whether it asks for Object Lock: some servers do not say that they refuse it for that."""
        return any(name.startswith("ObjectLock") for name in self.extra)
