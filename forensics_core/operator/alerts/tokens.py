"""Who may send alerts: whoever knows one of the tokens in a file, which may change at any time."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import logging
import time
from pathlib import Path

from anyio import to_thread

log = logging.getLogger(__name__)

KEPT_SECONDS = 5.0
"""Seconds for which the file is not read again."""
MAX_TOKENS = 16
"""Tokens that are compared with; a file may hold the old and the new one for a while."""
MIN_LENGTH = 16
"""Characters of a token that is worth being one."""


class Tokens:
    """The tokens in a file, one a line."""

    def __init__(self, file: Path, fresh: float = KEPT_SECONDS) -> None:
        self._file = file
        self._fresh = fresh
        self._known: tuple[bytes, ...] = ()
        self._until = 0.0

    async def admit(self, authorization: str) -> bool:
        """Return whether the value of a request's header Authorization holds one of the tokens.

        `Bearer TOKEN`, or `Basic` with the token as password, which is how Falco's own URL has it.
        """
        if time.monotonic() >= self._until:
            self._known = await to_thread.run_sync(self._read)
            self._until = time.monotonic() + self._fresh
        given = _digest(_token(authorization))
        # All of them, each in constant time: how long it takes tells nothing.
        found = [hmac.compare_digest(given, known) for known in self._known]
        return any(found)

    def _read(self) -> tuple[bytes, ...]:
        try:
            lines = self._file.read_text(errors="replace").splitlines()
        except OSError as error:
            log.error("No alert is taken: the token in %s cannot be read: %s", self._file, error)
            return ()
        tokens = [line.strip() for line in lines[:MAX_TOKENS]]
        usable = [_digest(token) for token in tokens if len(token) >= MIN_LENGTH]
        if not usable:
            log.error("No alert is taken: %s has no token of %d characters", self._file, MIN_LENGTH)
        return tuple(usable)


def _token(authorization: str) -> str:
    scheme, _, value = authorization.strip().partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(value, validate=True).decode().partition(":")[2]
    except (binascii.Error, ValueError):
        return ""


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()
