"""The private key that seals bundles: a file, which may come later."""

from __future__ import annotations

import logging

from anyio import to_thread

from forensics_core.bundle.seal import public_key_of
from forensics_core.errors import UsageError
from forensics_core.operator.settings import Settings

log = logging.getLogger(__name__)


async def read_key(settings: Settings) -> bytes | None:
    """Return the key, or None if none is set, or is there yet. Raises `UsageError`."""
    path = settings.signing_key
    if path is None:
        return None
    try:
        return await to_thread.run_sync(path.read_bytes)
    except FileNotFoundError:
        log.warning("%s is not there: bundles are not sealed", path)
        return None
    except OSError as error:
        raise UsageError(
            f"The signing key {path} cannot be read: {error.strerror}", hint="Mount it readable"
        ) from error


async def check_key(settings: Settings) -> None:
    """Raise `UsageError` for a key that is there and that no seal can be made with."""
    key = await read_key(settings)
    try:
        if key is not None:
            await to_thread.run_sync(public_key_of, key)
    except UsageError as error:
        raise UsageError(f"{settings.signing_key}: {error.message}", hint=error.hint) from error
