"""Many keys in little memory: digests of files, or paths, with a few bytes for each.

A set of Python's takes a hundred bytes for each of them, this some ten: a list of millions fits
where a scan has to.
"""

from __future__ import annotations

from hashlib import blake2b
from secrets import token_bytes

_BUCKETS = 65536
_KEY = 7
"""Bytes of a key that are stored; the two before them say in which bucket."""


class DigestTable:
    """Maps keys of any length to values of a fixed length; none means that it is a set.

    Keys are stored as 72 bits of a keyed hash, whose key is new for each table: nobody can prepare
    a file that is taken for another.
    """

    def __init__(self, width: int = 0) -> None:
        self._width = width
        self._entry = _KEY + width
        self._secret = token_bytes(16)
        self._buckets: list[bytearray | None] = [None] * _BUCKETS
        self.total = 0
        """Keys in it."""

    def add(self, key: bytes, value: bytes = b"") -> bool:
        """Add a key; of one that is in it the value stays. Returns whether it is new."""
        number, short = self._hashed(key)
        bucket = self._buckets[number]
        if bucket is None:
            bucket = self._buckets[number] = bytearray()
        elif self._find(bucket, short) >= 0:
            return False
        bucket += short + value
        self.total += 1
        return True

    def put(self, key: bytes, value: bytes) -> None:
        """Set the value of a key."""
        if not self.add(key, value):
            number, short = self._hashed(key)
            bucket = self._buckets[number] or bytearray()
            place = self._find(bucket, short) + _KEY
            bucket[place : place + self._width] = value

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a key, None if it is not in it."""
        number, short = self._hashed(key)
        bucket = self._buckets[number]
        place = -1 if bucket is None else self._find(bucket, short)
        if bucket is None or place < 0:
            return None
        return bytes(bucket[place + _KEY : place + self._entry])

    def __contains__(self, key: bytes) -> bool:
        return self.get(key) is not None

    def _hashed(self, key: bytes) -> tuple[int, bytes]:
        digest = blake2b(key, digest_size=2 + _KEY, key=self._secret).digest()
        return digest[0] << 8 | digest[1], digest[2:]

    def _find(self, bucket: bytearray, short: bytes) -> int:
        place = bucket.find(short)
        while place > 0 and place % self._entry:
            place = bucket.find(short, place + 1)
        return place
