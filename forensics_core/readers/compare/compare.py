"""Comparing containers: a suspect with a healthy one, or with its image::

async with open_bundle("cases/42") as bundle, open_bundle("cases/43") as replica:
    suspect, healthy = Container(bundle, "web"), Container(replica, "web")
    differences = await compare(suspect, healthy, notes)

What cannot be read is noted, and the rest is compared.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass

from forensics_core.bundle.layout import container_file
from forensics_core.bundle.reader import BundleReader
from forensics_core.errors import ForensicsError, UsageError
from forensics_core.readers.compare import facts
from forensics_core.readers.compare.bundle import BundleSide, open_side
from forensics_core.readers.compare.difference import Area, Difference, DifferenceKind, Differences
from forensics_core.readers.compare.facts import Facts
from forensics_core.readers.compare.files import PASSWD, compare_files
from forensics_core.readers.compare.image import ImageSide
from forensics_core.readers.compare.packages import compare_packages
from forensics_core.readers.findings.changes import root_users
from forensics_core.readers.findings.finding import Rule
from forensics_core.readers.notes import Notes


@dataclass(frozen=True, slots=True)
class ComparedContainer:
    """One container of an open bundle."""

    bundle: BundleReader
    name: str

    @property
    def image_id(self) -> str:
        """The image that it was made of, as its runtime called it; empty where nobody says."""
        several = self.bundle.statement.predicate.containers
        return next((one.image_id for one in several if one.name == self.name), "")


def pairs(
    suspect: BundleReader, healthy: BundleReader, first: str = "", second: str = ""
) -> list[tuple[ComparedContainer, ComparedContainer]]:
    """Return which containers are compared: the ones that are named, or else those of one name.

    Bundles of a single container each are compared whatever it is called. Raises `UsageError` where
    there are none.
    """
    ours, theirs = suspect.containers, healthy.containers
    if first or second:
        names = [
            (suspect.check_container(first or second), healthy.check_container(second or first))
        ]
    elif len(ours) == len(theirs) == 1:
        names = [(ours[0], theirs[0])]
    else:
        names = [(name, name) for name in ours if name in theirs]
    if not names:
        raise UsageError(
            "The bundles have no container of the same name",
            hint=f"Name them: LOCATION:{_one_of(ours)} LOCATION:{_one_of(theirs)}",
        )
    return [
        (ComparedContainer(suspect, one), ComparedContainer(healthy, other)) for one, other in names
    ]


def _one_of(names: Sequence[str]) -> str:
    return names[0] if names else "NAME"


async def compare(
    suspect: ComparedContainer, healthy: ComparedContainer | ImageSide, notes: Notes
) -> Differences:
    """Return all that differs, ranked by `Differences.ranked`."""
    found = Differences(suspect.name, healthy.name)
    comparison = _ContainerComparison(suspect, found, notes)
    if isinstance(healthy, ImageSide):
        await comparison.with_image(healthy)
        found.notes.append("An image has no processes, sockets and mounts: those are not compared")
    else:
        if suspect.image_id != healthy.image_id:
            found.notes.append("The containers are of different images")
        await comparison.with_container(healthy)
    return found


class _ContainerComparison:
    """One comparison under way."""

    def __init__(self, suspect: ComparedContainer, found: Differences, notes: Notes) -> None:
        self._suspect = suspect
        self._found = found
        self._notes = notes
        self._added: Collection[str] = ()

    async def with_image(self, image: ImageSide) -> None:
        await self._noting(lambda: self._files(lambda: _itself(image)))

    async def with_container(self, healthy: ComparedContainer) -> None:
        await self._noting(lambda: self._files(lambda: open_side(healthy.bundle, healthy.name)))
        for compare_area in (self._processes, self._sockets, self._mounts):
            await self._noting(lambda area=compare_area: area(healthy))  # type: ignore[misc]

    async def _noting(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do a part; what it fails with keeps no other from being done."""
        try:
            await work()
        except UsageError:
            raise
        except ForensicsError as error:
            self._notes.add(error)

    async def _files(self, open_other: Callable[[], Awaitable[BundleSide | ImageSide]]) -> None:
        ours = await open_side(self._suspect.bundle, self._suspect.name)
        theirs = await open_other()
        for side, whose in ((ours, "suspect's"), (theirs, "healthy one's")):
            if side.gap:
                self._found.notes.append(f"The {whose} files are not all there: {side.gap}")
        self._added = await compare_files(ours, theirs, self._found, ours.mount_points)
        await self._users(ours, theirs)
        compare_packages(await ours.packages(), await theirs.packages(), self._found)

    async def _users(self, ours: BundleSide, theirs: BundleSide | ImageSide) -> None:
        """Tell of users with root's rights that only the suspect has."""
        here, there = await ours.read(PASSWD) or b"", await theirs.read(PASSWD) or b""
        for user in sorted({*root_users(here, ())} - {*root_users(there, ())}):
            detail = f"the user {user} has the uid 0"
            self._found.add(
                Difference(
                    Area.FILE, DifferenceKind.DIFFERENT, PASSWD.decode(), detail, Rule.ROOT_USER
                )
            )

    async def _processes(self, healthy: ComparedContainer) -> None:
        read = facts.processes
        (running, here), (others, there) = await self._both(read, healthy, "processes.json")
        facts.compare_processes(running, others, self._added, self._found)
        facts.compare_facts(Area.ENVIRONMENT, here, there, self._found)

    async def _sockets(self, healthy: ComparedContainer) -> None:
        both = await self._both(facts.sockets, healthy, "network.json")
        (waiting, connected), (others, elsewhere) = both
        facts.compare_facts(Area.SOCKET, waiting, others, self._found)
        facts.compare_facts(Area.CONNECTION, connected, elsewhere, self._found)

    async def _mounts(self, healthy: ComparedContainer) -> None:
        async def read(bundle: BundleReader, name: str) -> tuple[Facts, Facts]:
            return await facts.mounts(bundle, name), {}

        (here, _), (there, _) = await self._both(read, healthy, "mounts.json")
        facts.compare_mounts(here, there, self._found)

    async def _both(
        self,
        read: Callable[[BundleReader, str], Awaitable[tuple[Facts, Facts]]],
        healthy: ComparedContainer,
        file: str,
    ) -> list[tuple[Facts, Facts]]:
        """Read a document of both. Raises `ForensicsError` where one has none."""
        both = []
        for container in (self._suspect, healthy):
            name = container_file(container.name, file)
            if name not in container.bundle.objects:
                raise ForensicsError(f"{container.bundle.url}{name} was not captured: not compared")
            both.append(await read(container.bundle, container.name))
        return both


async def _itself(image: ImageSide) -> ImageSide:
    return image
