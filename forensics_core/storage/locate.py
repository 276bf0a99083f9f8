"""From a URL to the place that it names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from forensics_core.errors import UsageError

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
"""What any store takes. `require_fit` knows what AWS takes."""
MAX_PREFIX = 512
"""Bytes of a prefix: half of a key is left for what lies in it."""
_FORMS = "It is s3://bucket[/prefix] or file:///folder"


@dataclass(frozen=True, slots=True)
class S3Location:
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


def parse_location(url: str) -> S3Location | Path:
    """Return the bucket and prefix, or the folder, that `url` names; a bare path is a folder.

    Raises `UsageError` that says what is wrong with it.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise UsageError(f"'{url}' is not a valid location: {error}", hint=_FORMS) from error
    if not parts.scheme:
        return Path(url).absolute()
    if parts.scheme == "file":
        return _folder(url, parts.netloc, unquote(parts.path))
    if parts.scheme == "s3":
        # Not `parts.path`: `?` and `#` are ordinary characters in a key, and so is `%`.
        return _s3_place(url, parts.netloc, url.partition("://")[2].partition("/")[2])
    raise UsageError(f"'{url}' is not a location that evidence can go to", hint=_FORMS)


def _folder(url: str, host: str, path: str) -> Path:
    # `file://cases/42` names a host `cases`: a slash too few, and nobody means that.
    if host not in {"", "localhost"} or not path.startswith("/"):
        raise UsageError(f"'{url}' names no folder on this machine", hint=_FORMS)
    return Path(path)


def _s3_place(url: str, bucket: str, prefix: str) -> S3Location:
    if not _BUCKET.fullmatch(bucket):
        raise UsageError(f"'{url}' names no S3 bucket ('{bucket}')", hint=_FORMS)
    prefix = prefix.strip("/")
    unfit = not prefix.isprintable() or not {"", ".", ".."}.isdisjoint(prefix.split("/"))
    if prefix and (unfit or len(prefix.encode(errors="replace")) > MAX_PREFIX):
        raise UsageError(
            f"'{url}' has a prefix that cannot be used",
            hint=f"{_FORMS}: at most {MAX_PREFIX} readable bytes, no '.' or '..', no empty part",
        )
    return S3Location(bucket, prefix)
