"""A certificate for a server on loopback, made when it is needed: nobody else is to trust it."""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ADDRESS = "127.0.0.1"
VALID = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class SelfSignedCertificate:
    """A self-signed certificate with its key, as files."""

    path: Path
    """PEM: what a client is to trust, as in `AWS_CA_BUNDLE`."""
    key: Path

    @property
    def env(self) -> dict[str, str]:
        """The variables that make clients trust it: those of AWS's, and those written in Go."""
        return {"AWS_CA_BUNDLE": str(self.path), "SSL_CERT_FILE": str(self.path)}

    def server(self) -> ssl.SSLContext:
        """Return a server's side of TLS."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path, self.key)
        return context

    def client(self) -> ssl.SSLContext:
        """Return the side of a client that trusts nothing else."""
        return ssl.create_default_context(cafile=self.path)


def make_certificate(folder: Path) -> SelfSignedCertificate:
    """Make a certificate for 127.0.0.1 in `folder`, which is to be private."""
    key = ec.generate_private_key(ec.SECP256R1())
    made = SelfSignedCertificate(folder / "certificate.pem", folder / "key.pem")
    made.path.write_bytes(_signed(key).public_bytes(serialization.Encoding.PEM))
    made.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return made


def _signed(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "lab")])
    now = datetime.now(UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(ADDRESS))])
    return (
        x509.CertificateBuilder(name, name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + VALID)
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
