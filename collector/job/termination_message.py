"""The termination message: a hint to the operator of how the Job's collector ended.

It is JSON, `{"reason": ..., "message": ..., "retry": ..., "manifestSHA256": ...}`. The manifest in
the bucket is the result; this only says why there is none, and whether to try again.

Source: https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from collector.capture import CaptureResult
from forensics_core.errors import (
    AccessDenied,
    BucketNotFound,
    ContainerGone,
    ContainerNotFound,
    CredentialsExpired,
    ForensicsError,
    ObjectLockMissing,
    RuntimeNotFound,
    UsageError,
)

TERMINATION_LOG = Path("/dev/termination-log")
"""Where the kubelet looks; it makes the file before the container starts."""
LIMIT = 4000
"""Bytes of a message at most; the kubelet keeps 4096."""

DEFINITE = (
    AccessDenied,
    BucketNotFound,
    ContainerGone,
    ContainerNotFound,
    ObjectLockMissing,
    RuntimeNotFound,
    UsageError,
)
"""Another attempt, with its own prefix and perhaps more luck, would fail in the same way."""


def of_result(result: CaptureResult) -> bytes:
    """Return the message after a bundle was finished, whole or in part."""
    capture = result.statement.predicate
    gaps = sum(gap.requested for gap in capture.not_captured)
    said = f"{len(capture.artifacts)} artifacts in {result.location}, {gaps} missing"
    reason = "Partial" if result.partial else "Captured"
    return _spell(reason, said, retry=False, manifest_sha256=result.manifest_sha256)


def of_error(error: BaseException) -> bytes:
    """Return the message after a failure that left no manifest."""
    known = isinstance(error, ForensicsError)
    said = str(error) if known else f"{type(error).__name__}: {error}"
    return _spell(type(error).__name__, said, retry=_may_pass(error))


def _may_pass(error: BaseException) -> bool:
    # The next attempt gets credentials of its own, where a token service gives them.
    return isinstance(error, CredentialsExpired) or not isinstance(error, DEFINITE)


def _spell(reason: str, message: str, *, retry: bool, manifest_sha256: str = "") -> bytes:
    said: dict[str, object] = {"reason": reason, "message": message, "retry": retry}
    if manifest_sha256:
        said["manifestSHA256"] = manifest_sha256
    words = json.dumps(said, separators=(",", ":")).encode()
    if len(words) <= LIMIT:
        return words
    return _spell(
        reason, message[: len(message) // 2], retry=retry, manifest_sha256=manifest_sha256
    )


def write_message(
    words: bytes, environ: Mapping[str, str], kubelets: Path = TERMINATION_LOG
) -> None:
    """Write the message to the file that `FORENSICS_TERMINATION_LOG` names.

    Without that it is the kubelet's, where there is one. It is a hint: nothing depends on it.
    """
    named = environ.get("FORENSICS_TERMINATION_LOG")
    path = Path(named) if named else kubelets
    with suppress(OSError):
        if named or path.exists():
            path.write_bytes(words)
