"""One object on its way in, taken up again in the middle when the connection breaks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from forensics_core.errors import DestinationError, ObjectNotFound
from forensics_core.storage.budget import MIB
from forensics_core.storage.s3.failures import code_of, explain, status_of

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

_ABSENT = {"NoSuchKey", "NoSuchVersion", "MethodNotAllowed"}
"""The last one: the version is a delete marker."""
_WHOLE = 200
_PACKED = {"gzip", "deflate", "br", "zstd"}


class Download:
    """One object on its way in: opened again where it broke off, in the same version."""

    def __init__(
        self, client: S3Client, url: str, where: dict[str, Any], start: int, length: int | None
    ) -> None:
        self._url = url
        self._client = client
        self._where = where
        self._position = start
        self._end = None if length is None else start + length
        self._body: Any = None
        self._sized = True
        """Whether the answer said how long it is; else it ends where it ends."""
        self._skip = 0
        """Bytes that come before what was asked for."""

    async def next(self) -> bytes:
        """Return what has arrived, or nothing at the end."""
        if self._position == self._end:
            return b""
        try:
            if self._body is None:
                await self._open()
            # Where the range was ignored, or after a break in such an answer: the rest is there,
            # behind what nobody wants.
            while self._skip:
                passed = await self._body.read(min(self._skip, MIB))
                if not passed and not self._sized:
                    return b""
                if not passed:
                    raise ConnectionResetError("the object broke off before its end")
                self._skip -= len(passed)
            wanted = MIB if self._end is None else min(MIB, self._end - self._position)
            piece: bytes = await self._body.read(wanted)
            # The connection may end in the middle like at the end: only the length tells. With
            # none, as in a chunked answer of some proxy, the manifest's digest has to.
            if not piece and self._sized and self._position != self._end:
                raise ConnectionResetError("the object broke off before its end")
        except BaseException:
            self.close()
            raise
        self._position += len(piece)
        return piece

    async def _open(self) -> None:
        asked = dict(self._where)
        if self._position or self._end is not None:
            last = "" if self._end is None else self._end - 1
            asked["Range"] = f"bytes={self._position}-{last}"
        answer: Any = await self._client.get_object(**asked)
        self._body = answer["Body"]
        if answer.get("ContentEncoding") in _PACKED:
            # Nothing of ours is stored so: its digest would be that of other bytes.
            raise DestinationError(
                f"{self._url} came compressed, as the store does not have it",
                hint="A proxy in between compresses: name the store itself as the endpoint",
            )
        ignored = "Range" in asked and answer["ResponseMetadata"]["HTTPStatusCode"] == _WHOLE
        # Where the range was ignored, what was not asked for is passed over, to the right place.
        self._skip = self._position if ignored else 0
        length: int | None = answer.get("ContentLength")
        self._sized = length is not None
        if length is not None:
            told = length if ignored else self._position + length
            self._end = told if self._end is None or not ignored else min(self._end, told)
        # Whatever comes next must be of the very same object.
        if answer.get("ETag"):
            self._where["IfMatch"] = answer["ETag"]

    def close(self) -> None:
        """Let go of the connection."""
        if self._body is not None:
            self._body.close()
            self._body = None


def explain_reading(error: BaseException, url: str) -> DestinationError:
    """Return the error of an object that could not be read, or be asked for."""
    if code_of(error) in _ABSENT or (status_of(error) == 404 and code_of(error) != "NoSuchBucket"):
        return ObjectNotFound(f"{url} does not exist, or not in this version")
    if status_of(error) == 412:
        return DestinationError(f"{url} was replaced while it was read", hint="Read it again")
    return explain(error, url)
