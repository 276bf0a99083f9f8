"""Capture a container of this host: python 01_capture_container.py docker://web s3://cases."""

import asyncio
import sys

from collector import capture_container

container, destination = sys.argv[1:]
result = asyncio.run(capture_container(container, to=destination))
print(result.location, f"sha256:{result.manifest_sha256}")
