"""Have a cluster capture a pod: python 05_capture_pod.py web-0 shop s3://cases forensics.pub."""

import asyncio
import sys
from pathlib import Path

from forensics_core import connect, verify


async def main(pod: str, namespace: str, destination: str, public_key: bytes) -> None:
    async with connect() as cluster:
        checkpoint = await cluster.checkpoint(pod, namespace=namespace, to=destination)
        async for progress in checkpoint.progress():
            print(progress.summary)
        evidence = await checkpoint.captured()  # or raises CheckpointFailed
    verification = await verify(evidence.location, key=public_key)
    verification.raise_for_problems()
    print(f"{evidence.location} verified, sha256:{evidence.manifest_sha256}")


pod, namespace, destination, key_file = sys.argv[1:]
asyncio.run(main(pod, namespace, destination, Path(key_file).read_bytes()))
