"""What the API server's answers mean: from a status code and a body to one of our errors.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/, and recorded answers of 1.36.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from http.client import responses
from typing import Any

from forensics_core.errors import (
    AlreadyExists,
    ApiUnavailable,
    ClusterError,
    Conflict,
    Expired,
    Forbidden,
    Invalid,
    NotFound,
    Unauthorized,
)

TEXT_LIMIT = 500
"""Characters of an answer that is not a Status, as they go into a message."""
RETRY_AFTER_LIMIT = 300.0
"""Seconds: longer pauses are not taken from a server."""

_ERRORS: dict[int, tuple[type[ClusterError], str]] = {
    401: (Unauthorized, "Log in to the cluster again, or check the service account's token"),
    403: (Forbidden, "Ask for the right, or use another identity; `kubectl auth can-i` tells"),
    404: (NotFound, "Check the name and the namespace"),
    409: (Conflict, "Read the object again, and repeat the change"),
    # etcd is rid of old versions every five minutes.
    410: (Expired, "List again"),
}


def failure(what: str, status: int, headers: Mapping[str, str], body: bytes) -> ClusterError:
    """Return the error that an answer of 400 or above stands for; `what` is what was asked."""
    said = _status(body)
    text = f"{what}: {said.get('message') or _plain(status, body)}".rstrip(".")
    if status == 429 or status >= 500:
        return ApiUnavailable(text, hint="Try again later", retry_after=_pause(headers))
    # 409 stands for both: a name that is taken, and a version that somebody has changed.
    if said.get("reason") == "AlreadyExists":
        return AlreadyExists(text, hint="Choose another name, or use the object that is there")
    kind, hint = _ERRORS.get(status, (Invalid, "Correct the request"))
    return kind(text, hint=hint)


def failure_in_stream(what: str, status: Mapping[str, Any]) -> ClusterError:
    """Return the error that the `Status` in a watch's ERROR event stands for."""
    code = status.get("code")
    return failure(what, code if isinstance(code, int) else 500, {}, json.dumps(status).encode())


def _status(body: bytes) -> Mapping[str, Any]:
    try:
        said = json.loads(body)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _plain(status: int, body: bytes) -> str:
    text = body.decode(errors="replace").strip()[:TEXT_LIMIT]
    return f"HTTP {status} {responses.get(status, '')}".strip() + (f": {text}" if text else "")


def _pause(headers: Mapping[str, str]) -> float | None:
    value = headers.get("Retry-After", "")
    return min(float(value), RETRY_AFTER_LIMIT) if value.isdecimal() else None


async def lines(chunks: AsyncIterator[bytes], limit: int) -> AsyncIterator[bytes]:
    """Yield each complete line, without its newline, cut to `limit` bytes.

    What follows the last newline is left out: the stream broke off within it.
    """
    held = bytearray()
    async for chunk in chunks:
        *complete, rest = chunk.split(b"\n")
        for piece in complete:
            held += piece[: limit - len(held)]
            yield bytes(held)
            held.clear()
        held += rest[: limit - len(held)]
