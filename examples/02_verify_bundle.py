"""Verify a bundle in CI: python 02_verify_bundle.py s3://cases/forensics/x [forensics.pub]."""

import asyncio
import sys
from pathlib import Path

from forensics_core.bundles import verify

location, *keys = sys.argv[1:]
key = Path(keys[0]).read_bytes() if keys else None
verification = asyncio.run(verify(location, key=key))
for line in (*verification.problems, *verification.notes):
    print(ascii(str(line)))
for name in verification.extras:
    print(f"not part of the evidence: {name!a}")
verification.raise_for_problems()  # an exception, and so a build that fails
print(f"Verified: {verification.artifacts} artifacts, sha256:{verification.manifest_sha256}")
