"""The lab's discarding S3 endpoint as a process of its own, so that its work is nobody else's."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from lab.certificate import SelfSignedCertificate
from lab.process import LabError, stop
from lab.sink import STATISTICS, StoreSink

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class SinkCounts:
    """What the endpoint has counted since it started."""

    objects: int
    stored: int
    """Bytes in all objects."""
    uploads: int
    """Multipart uploads that were neither completed nor aborted."""


@dataclass(frozen=True, slots=True)
class RemoteSink:
    """A running endpoint."""

    endpoint: str
    """`http://127.0.0.1:PORT`, or `https:`."""
    certificate: SelfSignedCertificate | None = None
    """What it shows to clients that come by TLS."""

    @property
    def env(self) -> dict[str, str]:
        """The AWS variables that lead a client here, and keep its user's own settings out."""
        return {
            **StoreSink(port=urlsplit(self.endpoint).port or 0, certificate=self.certificate).env,
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }

    def counts(self) -> SinkCounts:
        """Ask it what it has counted."""
        trust = self.certificate.client() if self.certificate else None
        url = self.endpoint + STATISTICS
        with urllib.request.urlopen(url, timeout=30, context=trust) as answer:  # noqa: S310  # loopback
            said = json.load(answer)
        return SinkCounts(len(said["objects"]), sum(said["objects"].values()), said["uploads"])


@contextmanager
def remote_sink(
    keep: int = 0, tls: SelfSignedCertificate | None = None, rate: float = 0
) -> Iterator[RemoteSink]:
    """Run an endpoint for the block that keeps objects of up to `keep` bytes.

    It speaks TLS with a certificate, and takes `rate` bytes per second of all clients together.
    Raises `LabError` if it does not start.
    """
    command = [sys.executable, "-m", "lab.sink", f"--keep={keep}", f"--rate={rate}"]
    if tls:
        command += [f"--certificate={tls.path}", f"--key={tls.key}"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            endpoint = process.stdout.readline().strip() if process.stdout else ""
            if not endpoint:
                raise LabError("The discarding S3 endpoint did not start")
            yield RemoteSink(endpoint, tls)
        finally:
            stop(process, grace=5)  # type: ignore[arg-type] # it is the same for text and bytes
