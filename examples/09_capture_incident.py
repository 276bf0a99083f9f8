"""Capture all pods that match, and say which may be killed:
python 09_capture_incident.py INC-7 shop app=web s3://cases."""

import asyncio
import sys

from forensics_core import connect


async def main(incident: str, namespace: str, selector: str, destination: str) -> None:
    async with connect() as cluster:
        case = cluster.incident(incident)
        selection = await case.select(namespace=namespace, selector=selector)
        print(f"{selection.total} pods: {', '.join(map(str, selection.pods))}")
        for request in await case.checkpoint(selection, to=destination):
            print(request.pod, request.state, request.error or "")
        async for checkpoint in case.follow():
            print(checkpoint.pod, checkpoint.status.phase or "Pending")
        summary = await case.summary()
    print(f"{summary.headline}: {', '.join(summary.may_be_killed)}")


asyncio.run(main(*sys.argv[1:]))
