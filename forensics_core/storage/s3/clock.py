"""The clock of an S3 service, as the `Date` of its answers tells it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import anyio

from forensics_core.storage.destination import Answered

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client


class ServiceClock:
    """Hears every answer that `client` gets, refusals included."""

    def __init__(self, client: S3Client) -> None:
        self._first: Answered | None = None
        self._last: Answered | None = None
        client.meta.events.register("after-call.s3", self._hear)

    @property
    def answered(self) -> Sequence[Answered]:
        """The first and the last answer that had a date."""
        return [self._first, self._last] if self._first and self._last else []

    def _hear(self, parsed: dict[str, Any], **_: object) -> None:
        """Note an answer; a date that is none is passed over."""
        said = parsed.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
        try:
            date = parsedate_to_datetime(said).astimezone(UTC)
        except (ValueError, OverflowError):
            return
        self._last = Answered(date, datetime.now(UTC), anyio.current_time())
        self._first = self._first or self._last
