"""Small JSON documents of a bundle, verified.

They come from the node or the cluster, which may lie about any type: who reads checks it.
"""

from __future__ import annotations

from typing import Any

from anyio import to_thread

from forensics_core._internal import strict_json
from forensics_core.bundle.documents import read_verified
from forensics_core.bundle.reader import BundleReader
from forensics_core.errors import VerificationError

LIMIT = 64 * 1024 * 1024
"""Bytes that a document may have."""


async def load(bundle: BundleReader, name: str) -> Any:
    """Return a verified JSON document, None where the bundle has none so called.

    Raises `VerificationError`.
    """
    expected = bundle.objects.get(name)
    if expected is None:
        return None
    data = await read_verified(bundle, expected, limit=LIMIT)
    try:
        return await to_thread.run_sync(strict_json.loads_document, data)
    except ValueError as error:
        raise VerificationError(f"{name} is not JSON: {error}") from error
