"""What an object in S3 is to be like, and which buckets it can be in."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from forensics_core.api.order import Encryption, Retention
from forensics_core.errors import UsageError
from forensics_core.storage.locate import S3Location
from forensics_core.storage.s3.traits import is_aws

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

AWS_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
"""Names of buckets that AWS gives."""


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


def object_parameters(retention: Retention | None, encryption: Encryption | None) -> dict[str, Any]:
    """Return the parameters of Create and Put that every object of a capture has."""
    extra: dict[str, Any] = {}
    if encryption:
        extra |= {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": encryption.kms_key_id}
    if retention and retention.days:
        extra["ObjectLockMode"] = retention.mode.upper()
        extra["ObjectLockRetainUntilDate"] = datetime.now(UTC) + timedelta(days=retention.days)
    if retention and retention.legal_hold:
        extra["ObjectLockLegalHoldStatus"] = "ON"
    return extra


def require_fit(place: S3Location, client: S3Client) -> None:
    """Raise `UsageError` for a bucket that AWS, where `client` leads, cannot have.

    MinIO takes names with `_`, others capitals; AWS has taken neither since 2018.
    """
    if is_aws(client.meta.endpoint_url) and not AWS_BUCKET.fullmatch(place.bucket):
        raise UsageError(
            f"AWS has no bucket that is called '{place.bucket}'",
            hint="If it is in another store, name that in AWS_ENDPOINT_URL, or as the "
            "destination's endpoint",
        )
