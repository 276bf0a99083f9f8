"""What it means that the Docker Engine refuses something, or cannot be reached."""

from __future__ import annotations

import errno
import json

from collector.runtimes.runtime import Unavailable
from forensics_core.errors import ContainerGone, RuntimeUnavailable, SourceError, UsageError


def refusal(status: int, body: bytes) -> Exception:
    """Return the error that an answer of the status 400 or more means."""
    try:
        said = str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        said = body.decode(errors="replace").strip() or f"status {status}"
    if status == 404 or "dead or marked for removal" in said:
        return ContainerGone(
            f"The Docker Engine says: {said}", hint="It was removed; what was read of it is kept"
        )
    if status == 501 or "does not support reading" in said:
        return Unavailable(f"The Docker Engine says: {said}", reason="NotSupported")
    if "multiple ids" in said.lower():
        return UsageError(f"The Docker Engine says: {said}", hint="Give more of the ID, or a name")
    return SourceError(
        f"The Docker Engine answered {status}: {said}", hint="See its log, then capture again"
    )


def unreachable(error: Exception, host: str) -> RuntimeUnavailable:
    """Return why the engine at `host` cannot be talked to."""
    code = getattr(error, "errno", None)
    if code == errno.EACCES:
        return RuntimeUnavailable(
            f"This user may not talk to the Docker Engine at {host}",
            hint="Run it as root, or as a member of the group 'docker'",
        )
    if code == errno.ENOENT or code == errno.ECONNREFUSED:
        return RuntimeUnavailable(
            f"No Docker Engine runs at {host}",
            hint="Start it, or set DOCKER_HOST to where it listens",
        )
    return RuntimeUnavailable(
        f"The Docker Engine at {host} does not answer: {str(error) or type(error).__name__}",
        hint="See whether it runs, and whether DOCKER_HOST is right",
    )
