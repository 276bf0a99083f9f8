"""The seal: a signature over the manifest, exactly as it is stored.

ECDSA on P-256 with SHA-256 in a DSSE envelope, inside a Sigstore bundle, so that `cosign` checks it
offline with the public key, and `openssl` does over `pae(...)`::

    private, public = generate_key()
    seal = sign(manifest, private)
    verify_seal(seal, manifest, public)

Source: https://github.com/secure-systems-lab/dsse/blob/master/protocol.md
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from forensics_core._internal import strict_json
from forensics_core.errors import UsageError, VerificationError

PAYLOAD_TYPE = "application/vnd.in-toto+json"
MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"

MAX_SIGNATURES = 16
"""Signatures that a seal may have; ours have one, and each that is tried takes time."""

_ECDSA = ec.ECDSA(hashes.SHA256())


def pae(payload: bytes) -> bytes:
    """Return the bytes that are signed: DSSE's pre-authentication encoding of `payload`."""
    kind = PAYLOAD_TYPE.encode()
    # With the lengths in front no other type and payload have the same bytes.
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def generate_key() -> tuple[bytes, bytes]:
    """Return a new key pair as PEM: the private key (PKCS#8, not encrypted) and the public one."""
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return private, _public_pem(key.public_key())


def sign(manifest: bytes, private_key_pem: bytes) -> bytes:
    """Return the seal of `manifest`, a Sigstore bundle of version 0.3 as JSON.

    Raises `UsageError` for anything but an unencrypted ECDSA key on P-256.
    """
    key = _private_key(private_key_pem)
    signature = key.sign(pae(manifest), _ECDSA)
    seal = {
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": key_hint(_public_pem(key.public_key()))}},
        "dsseEnvelope": {
            "payload": base64.b64encode(manifest).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": base64.b64encode(signature).decode()}],
        },
    }
    return json.dumps(seal).encode() + b"\n"


def verify_seal(seal: bytes, manifest: bytes, public_key_pem: bytes) -> None:
    """Return if the owner of the key sealed exactly `manifest`.

    Raises `VerificationError` that says why not, and `UsageError` for an unusable key.
    """
    key = _public_key(public_key_pem)
    payload, kind, signatures = _envelope(seal)
    if kind != PAYLOAD_TYPE:
        raise _refused(f"it is over '{kind}', not over an in-toto statement")
    if len(signatures) > MAX_SIGNATURES:
        raise _refused(f"it has {len(signatures)} signatures, more than {MAX_SIGNATURES}")
    # The envelope has the manifest a second time; what everybody reads is the object beside it.
    if payload != manifest:
        raise _refused("it is over another manifest")
    signed = pae(manifest)
    if not any(_signed(key, signature, signed) for signature in signatures):
        raise _refused("its signature was not made with this key")


def public_key_of(private_key_pem: bytes) -> bytes:
    """Return the public key that belongs to a private one, both as PEM. Raises `UsageError`."""
    return _public_pem(_private_key(private_key_pem).public_key())


def key_hint(public_key_pem: bytes) -> str:
    """Return what names a key within a seal: base64 of the SHA-256 of its DER encoding."""
    der = _public_key(public_key_pem).public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return base64.b64encode(hashlib.sha256(der).digest()).decode()


def _envelope(seal: bytes) -> tuple[bytes, str, list[bytes]]:
    try:
        envelope: Any = strict_json.loads(seal, limit=len(seal))["dsseEnvelope"]
        signatures = [_decoded(each["sig"]) for each in envelope["signatures"]]
        return _decoded(envelope["payload"]), str(envelope["payloadType"]), signatures
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise _refused("it is not a Sigstore bundle with a DSSE envelope") from error


def _decoded(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _signed(key: ec.EllipticCurvePublicKey, signature: bytes, signed: bytes) -> bool:
    try:
        key.verify(signature, signed, _ECDSA)
    except InvalidSignature:
        return False
    return True


def _private_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _unusable("private key") from error
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise _unusable("private key")


def _public_key(pem: bytes) -> ec.EllipticCurvePublicKey:
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _unusable("public key") from error
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise _unusable("public key")


def _public_pem(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _unusable(what: str) -> UsageError:
    return UsageError(
        f"This is not a {what} for seals: it must be ECDSA on P-256, in PEM, without a passphrase",
        hint="Make one with: openssl ecparam -name prime256v1 -genkey -noout",
    )


def _refused(why: str) -> VerificationError:
    return VerificationError(
        f"The seal does not hold: {why}", hint="Check the key; if it is right, do not trust this"
    )
