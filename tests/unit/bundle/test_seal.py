from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from forensics_core.bundle.seal import generate_key, key_hint, pae, sign, verify_seal
from forensics_core.errors import UsageError, VerificationError

MANIFEST = b'{\n  "_type": "https://in-toto.io/Statement/v1"\n}\n'


@pytest.fixture(scope="module")
def keys() -> tuple[bytes, bytes]:
    return generate_key()


def test_the_encoding_before_signing_is_that_of_the_specification() -> None:
    assert pae(b"hello") == b"DSSEv1 28 application/vnd.in-toto+json 5 hello"


def test_a_seal_holds_for_its_manifest_and_key(keys: tuple[bytes, bytes]) -> None:
    private, public = keys
    verify_seal(sign(MANIFEST, private), MANIFEST, public)


def test_another_manifest_is_refused(keys: tuple[bytes, bytes]) -> None:
    private, public = keys
    with pytest.raises(VerificationError, match="another manifest"):
        verify_seal(sign(MANIFEST, private), MANIFEST + b" ", public)


def test_another_key_is_refused(keys: tuple[bytes, bytes]) -> None:
    with pytest.raises(VerificationError, match="not made with this key"):
        verify_seal(sign(MANIFEST, keys[0]), MANIFEST, generate_key()[1])


def test_the_seal_is_a_sigstore_bundle_with_a_hint_of_the_key(keys: tuple[bytes, bytes]) -> None:
    private, public = keys
    seal = json.loads(sign(MANIFEST, private))
    assert seal["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
    assert seal["verificationMaterial"]["publicKey"] == {"hint": key_hint(public)}
    assert base64.b64decode(seal["dsseEnvelope"]["payload"]) == MANIFEST
    assert seal["dsseEnvelope"]["payloadType"] == "application/vnd.in-toto+json"


def spoil_type(seal: dict[str, Any]) -> None:
    seal["dsseEnvelope"]["payloadType"] = "text/plain"


def spoil_signature(seal: dict[str, Any]) -> None:
    seal["dsseEnvelope"]["signatures"][0]["sig"] = "AAAA"


def spoil_base64(seal: dict[str, Any]) -> None:
    seal["dsseEnvelope"]["payload"] = "?"


def drop_signatures(seal: dict[str, Any]) -> None:
    seal["dsseEnvelope"]["signatures"] = []


def drop_envelope(seal: dict[str, Any]) -> None:
    del seal["dsseEnvelope"]


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (spoil_type, "text/plain"),
        (spoil_signature, "not made with this key"),
        (spoil_base64, "not a Sigstore bundle"),
        (drop_signatures, "not made with this key"),
        (drop_envelope, "not a Sigstore bundle"),
    ],
)
def test_a_spoiled_seal_is_refused(
    keys: tuple[bytes, bytes], spoil: Callable[[dict[str, Any]], None], why: str
) -> None:
    private, public = keys
    seal = json.loads(sign(MANIFEST, private))
    spoil(seal)
    with pytest.raises(VerificationError, match=why):
        verify_seal(json.dumps(seal).encode(), MANIFEST, public)


@pytest.mark.parametrize("key", ["dsseEnvelope", "DSSEEnvelope"])
def test_a_seal_with_two_envelopes_is_refused(keys: tuple[bytes, bytes], key: str) -> None:
    """Each reader would check the one that it takes."""
    private, public = keys
    seal = sign(MANIFEST, private).rstrip()
    other = json.loads(sign(MANIFEST, generate_key()[0]))["dsseEnvelope"]
    twice = b'{"%b": %b, ' % (key.encode(), json.dumps(other).encode()) + seal[1:]
    with pytest.raises(VerificationError, match="not a Sigstore bundle"):
        verify_seal(twice, MANIFEST, public)


@pytest.mark.parametrize("seal", [b"", b"[]", b"\xff", b"[" * 100_000])
def test_what_is_no_seal_is_refused(keys: tuple[bytes, bytes], seal: bytes) -> None:
    with pytest.raises(VerificationError, match="not a Sigstore bundle"):
        verify_seal(seal, MANIFEST, keys[1])


def other_keys() -> list[tuple[bytes, bytes]]:
    pairs = []
    for key in (ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate()):
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        pairs.append((private, public))
    return [*pairs, (b"nothing", b"nothing")]


@pytest.mark.parametrize("pair", other_keys(), ids=["p384", "ed25519", "garbage"])
def test_other_keys_are_refused(keys: tuple[bytes, bytes], pair: tuple[bytes, bytes]) -> None:
    with pytest.raises(UsageError, match="P-256"):
        sign(MANIFEST, pair[0])
    with pytest.raises(UsageError, match="P-256"):
        verify_seal(sign(MANIFEST, keys[0]), MANIFEST, pair[1])


def test_openssl_agrees(keys: tuple[bytes, bytes], tmp_path: Path) -> None:
    private, public = keys
    (signature,) = json.loads(sign(MANIFEST, private))["dsseEnvelope"]["signatures"]
    (tmp_path / "key.pem").write_bytes(public)
    (tmp_path / "sig").write_bytes(base64.b64decode(signature["sig"]))

    def openssl(signed: bytes) -> int:
        command = ["openssl", "dgst", "-sha256", "-verify", "key.pem", "-signature", "sig"]
        return subprocess.run(command, cwd=tmp_path, input=signed, capture_output=True).returncode

    assert openssl(pae(MANIFEST)) == 0
    assert openssl(pae(MANIFEST + b" ")) != 0


def test_a_key_of_openssl_signs(tmp_path: Path) -> None:
    made = ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout"]
    private = subprocess.run(made, capture_output=True, check=True).stdout
    shown = ["openssl", "ec", "-pubout"]
    public = subprocess.run(shown, input=private, capture_output=True, check=True).stdout
    verify_seal(sign(MANIFEST, private), MANIFEST, public)
