"""What changed, and one file: python 06_read_bundle.py s3://cases/forensics/x web /etc/passwd."""

import asyncio
import sys

from forensics_core.bundles import open_bundle


async def main(location: str, container: str, path: str) -> None:
    async with open_bundle(location) as bundle:  # with key=, only if its seal holds
        found = bundle.container(container)
        async for change in found.changes():
            print(change.kind, ascii(change.path))
        print(ascii(await found.read(path)))


asyncio.run(main(*sys.argv[1:]))
