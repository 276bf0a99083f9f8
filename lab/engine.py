"""What both engines of the lab offer: containers that are made, started and removed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio

FOREVER = ("/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1; done")
"""A command that runs until it is stopped, and stops at once."""


class ContainerEngine(ABC):
    """Makes containers; `docker` and `containerd` say how."""

    __slots__ = ()

    @abstractmethod
    async def create(self, *arguments: Any, **options: Any) -> str:
        """Make a container of an image and a command; return its ID."""

    @abstractmethod
    async def start(self, container: str) -> None:
        """Start a container."""

    @abstractmethod
    async def remove(self, container: str) -> None:
        """Remove a container, whatever its state."""

    async def run(self, image: str, command: Sequence[str] = FOREVER, **options: Any) -> str:
        """Make a container, start it, and return its ID; the options are those of `create`."""
        container = await self.create(image, command, **options)
        await self.start(container)
        return container

    @asynccontextmanager
    async def container(
        self, image: str, command: Sequence[str] = FOREVER, **options: Any
    ) -> AsyncIterator[str]:
        """Run a container for the block."""
        container = await self.run(image, command, **options)
        try:
            yield container
        finally:
            with anyio.CancelScope(shield=True):
                await self.remove(container)
