"""Keys and seals: sign a bundle's manifest, and tell whether a seal holds::

    from forensics_core.seals import generate_key, sign, verify_seal

    private, public = generate_key()
    seal = sign(b'{"_type": "https://in-toto.io/Statement/v1"}', private)
    verify_seal(seal, b'{"_type": "https://in-toto.io/Statement/v1"}', public)

Keys are ECDSA on P-256, as PEM in bytes. A seal is a Sigstore bundle (JSON), which `cosign` checks
without us. `open_bundle` and `verify` check a bundle's own seal where they get a `key`.
"""

from __future__ import annotations

from forensics_core.bundle.seal import generate_key, public_key_of, sign, verify_seal

__all__ = ["generate_key", "public_key_of", "sign", "verify_seal"]
