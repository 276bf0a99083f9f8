"""Follow an incident's checkpoints to their end: python 07_follow_incident.py INC-7."""

import asyncio
import sys

from forensics_core.checkpoints import connect


async def main(incident: str) -> None:
    async with connect() as cluster:
        async for checkpoint in cluster.follow(incident=incident):
            status = checkpoint.status
            summary = status.progress.summary if status.progress else ""
            print(checkpoint.pod, status.phase or "Pending", summary)


asyncio.run(main(sys.argv[1]))
