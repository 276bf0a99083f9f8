"""List what is in a bundle, and what is not: python 03_list_bundle.py s3://cases/forensics/x."""

import asyncio
import sys

from forensics_core.bundles import open_bundle


async def main(location: str) -> None:
    async with open_bundle(location) as bundle:
        for artifact in bundle.artifacts:
            print(f"{artifact.original_size:>12} bytes  {artifact.sha256}  {artifact.name!a}")
        for gap in bundle.gaps:
            print(f"not captured: {gap.what!a} of {gap.container}: {gap.reason}, {gap.message!a}")


asyncio.run(main(sys.argv[1]))
