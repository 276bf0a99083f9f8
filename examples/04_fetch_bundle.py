"""Bring a bundle home, verified on the way: python 04_fetch_bundle.py s3://cases/x ./inc-4711."""

import asyncio
import sys
from pathlib import Path

from forensics_core.bundles import fetch

location, folder = sys.argv[1:]
fetched = asyncio.run(fetch(location, Path(folder), decompress=True))
fetched.raise_for_problems()
for path in sorted(fetched.folder.rglob("*")):
    print(ascii(str(path)))
