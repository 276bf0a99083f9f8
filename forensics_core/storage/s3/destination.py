"""The `s3://` destination."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from forensics_core.api.order import Encryption, Retention
from forensics_core.storage.budget import ByteBudget
from forensics_core.storage.destination import Answered, ObjectWriter
from forensics_core.storage.s3.attempts import Repeated, attempt_counted
from forensics_core.storage.s3.client import S3Access, from_environ, s3_client
from forensics_core.storage.s3.clock import ServiceClock
from forensics_core.storage.s3.failures import explain, status_of
from forensics_core.storage.s3.request import ObjectRequest
from forensics_core.storage.s3.traits import Traits
from forensics_core.storage.s3.upload import upload

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

_LOOK_PATIENCE = 10.0
"""Seconds: looking whether anybody is there must not take minutes."""
_REFUSALS = {400, 401, 403}


@dataclass(frozen=True, slots=True)
class S3Place:
    """A bucket, and a prefix without slashes around it."""

    bucket: str
    prefix: str = ""

    def key(self, name: str) -> str:
        """Return the key of `name` beneath the prefix."""
        return f"{self.prefix}/{name}" if self.prefix else name

    @property
    def url(self) -> str:
        """The place as `s3://bucket/prefix/`."""
        return f"s3://{self.bucket}/{self.key('')}"


@asynccontextmanager
async def open_s3(
    place: S3Place,
    access: S3Access,
    *,
    retention: Retention | None = None,
    encryption: Encryption | None = None,
    budget: ByteBudget | None = None,
) -> AsyncIterator[S3Destination]:
    """Open a destination in S3; `budget` is shared by all objects that are under way at once."""
    extra = object_parameters(retention, encryption)
    async with s3_client(access) as client:
        clock = ServiceClock(client)
        yield S3Destination(client, place, access, extra, budget or ByteBudget(), clock)


class S3Destination:
    """A `Destination`; made by `open_s3`."""

    def __init__(
        self,
        client: S3Client,
        place: S3Place,
        access: S3Access,
        extra: dict[str, Any],
        budget: ByteBudget,
        clock: ServiceClock | None = None,
    ) -> None:
        self._client = client
        self._place = place
        self._access = from_environ(access)
        self._traits = Traits.of(self._access)
        self._extra = extra
        self._budget = budget
        self._clock = clock
        owner = access.expected_bucket_owner
        self._owner = {"ExpectedBucketOwner": owner} if owner else {}

    @property
    def url(self) -> str:
        """The destination's URL, ending in `/`."""
        return self._place.url

    @property
    def store(self) -> dict[str, object]:
        """What the store has shown to be able to do: `Traits.shown`."""
        return self._traits.shown

    @property
    def answered(self) -> Sequence[Answered]:
        """The first and the last answer of the service, where its clock is listened to."""
        return self._clock.answered if self._clock else ()

    async def check(self) -> None:
        """Find out whether the service answers and the bucket exists.

        A refusal proves nothing: an identity that may only write is refused here by design, and
        the answer to a HEAD cannot say what else is wrong. The first object's answer does.
        """
        try:
            await attempt_counted(
                lambda: self._client.head_bucket(Bucket=self._place.bucket, **self._owner),
                replace(self._access, patience=_LOOK_PATIENCE, attempts=2),
            )
        except Repeated as failure:
            if status_of(failure.cause) not in _REFUSALS:
                raise explain(failure.cause, self.url) from failure.cause

    def create(
        self, name: str, *, content_type: str = "application/octet-stream"
    ) -> AbstractAsyncContextManager[ObjectWriter]:
        """Begin the object `name`; whether it exists shows at the commit."""
        key = self._place.key(name)
        request = ObjectRequest(
            name=name,
            url=f"s3://{self._place.bucket}/{key}",
            bucket=self._place.bucket,
            key=key,
            extra={"ContentType": content_type, **self._extra},
            owner=self._owner,
        )
        return upload(self._client, self._access, self._budget, request, self._traits)


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
