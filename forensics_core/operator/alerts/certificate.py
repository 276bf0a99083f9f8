"""The certificate of the port that takes alerts: from files, or made for each start.

Files may be renewed while the operator runs; what is made lives in memory alone.
"""

from __future__ import annotations

import hashlib
import logging
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
from anyio import to_thread
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from forensics_core.errors import UsageError

log = logging.getLogger(__name__)

LIFETIME = timedelta(days=825)
"""Of a certificate that is made: the operator is restarted more often than that."""


@dataclass(slots=True)
class ServerCertificate:
    """A TLS context, kept up to date with the files that it is made of."""

    folder: Path
    names: tuple[str, ...]
    """DNS names for a certificate that has to be made."""
    context: ssl.SSLContext = field(
        default_factory=lambda: ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    )
    _loaded: str = ""

    async def load(self) -> None:
        """Load the files, or make a certificate. Raises `UsageError` for files that do not fit."""
        await to_thread.run_sync(self._load)

    async def renew(self, every: float) -> None:
        """Load the files again whenever they changed, until cancelled."""
        while True:
            await anyio.sleep(every)
            try:
                await self.load()
            except UsageError as error:
                log.error("The certificate for alerts stays as it is: %s", error)

    def _load(self) -> None:
        pair = self.folder / "tls.crt", self.folder / "tls.key"
        if not all(file.exists() for file in pair):
            if not self._loaded:
                self._make()
            return
        try:
            digest = hashlib.sha256(b"".join(file.read_bytes() for file in pair)).hexdigest()
            if digest != self._loaded:
                # From the next handshake on: connections that are open keep what they have.
                self.context.load_cert_chain(*pair)
                self._loaded = digest
        except (OSError, ssl.SSLError) as error:
            raise UsageError(
                f"tls.crt and tls.key in {self.folder} are no certificate and its key: {error}",
                hint="Put both into the Secret forensics-alerts-tls, in PEM",
            ) from error

    def _make(self) -> None:
        certificate, key = make_certificate(self.names)
        with _in_memory(certificate + key) as path:
            self.context.load_cert_chain(path)
        self._loaded = hashlib.sha256(certificate).hexdigest()
        log.warning(
            "The certificate for alerts was made for this start alone, SHA-256 %s: senders cannot "
            "check it. Put one into the Secret forensics-alerts-tls.",
            hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.decode())).hexdigest(),
        )


def make_certificate(names: tuple[str, ...]) -> tuple[bytes, bytes]:
    """Return a certificate that signs itself and its key, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # A sender's clock may be behind ours.
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM), private


@contextmanager
def _in_memory(data: bytes) -> Iterator[str]:
    """Yield a path that leads to `data`: OpenSSL wants files, and there is no disk to write on."""
    handle = os.memfd_create("certificate")
    try:
        os.write(handle, data)
        yield f"/proc/self/fd/{handle}"
    finally:
        os.close(handle)
