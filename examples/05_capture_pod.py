"""Have a cluster capture a pod: python 05_capture_pod.py web-0 shop s3://cases forensics.pub."""

import asyncio
import sys
from pathlib import Path

from forensics_core import CheckpointFailed, PodCheckpoints, PodCheckpointSpec, connect, verify


async def main(pod: str, namespace: str, destination: str, public_key: bytes) -> None:
    spec = PodCheckpointSpec(pod=pod, namespace=namespace, destination=destination)
    async with connect() as cluster:
        checkpoints = PodCheckpoints(cluster, "forensics-system")
        made = await checkpoints.create(spec)
        done = await checkpoints.wait(made.metadata.name)  # raises CheckpointFailed
    verification = await verify(done.status.location, key=public_key)
    verification.raise_for_problems()
    print(f"{done.status.location} verified, sha256:{verification.manifest_sha256}")


pod, namespace, destination, key_file = sys.argv[1:]
try:
    asyncio.run(main(pod, namespace, destination, Path(key_file).read_bytes()))
except CheckpointFailed as failure:
    sys.exit(f"{failure.reason}: {failure}")
