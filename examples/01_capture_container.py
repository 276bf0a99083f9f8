"""Capture a container of this host: python 01_capture_container.py docker://web ./cases."""

import asyncio
import sys

from forensics_core.capture import capture_container

container, destination = sys.argv[1:]
evidence = asyncio.run(capture_container(container, to=destination))
print(evidence.location, f"sha256:{evidence.manifest_sha256}")
