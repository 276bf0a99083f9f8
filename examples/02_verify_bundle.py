"""Verify a bundle: python 02_verify_bundle.py s3://cases/forensics/inc-4711 [forensics.pub]."""

import asyncio
import sys
from pathlib import Path

from forensics_core import verify

location, *keys = sys.argv[1:]
key = Path(keys[0]).read_bytes() if keys else None
verification = asyncio.run(verify(location, key=key))
for line in (*verification.problems, *verification.notes):
    print(ascii(str(line)))
for name in verification.extras:
    print(f"not part of the evidence: {name!a}")
verification.raise_for_problems()
print(f"Verified: {verification.artifacts} artifacts, sha256:{verification.manifest_sha256}")
