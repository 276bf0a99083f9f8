"""The small documents of a bundle: those that can be looked at in a moment, as the operator does.

A manifest may name thousands of objects of any size; of these a few are chosen by name and size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from forensics_core.bundle.expected import ExpectedObject, expected_objects
from forensics_core.bundle.layout import container_file
from forensics_core.bundle.manifest import Statement
from forensics_core.readers.context import POD
from forensics_core.readers.findings.node import KERNEL
from forensics_core.readers.findings.small import FILES

MAX_CONTAINERS = 16
"""Containers of a pod that are looked at."""
LIMIT = 2 * 1024 * 1024
"""Bytes of a document, as stored and as before compression."""
POD_LIMIT = 256 * 1024
"""Bytes of the pod's document: YAML takes long to parse."""


@dataclass(frozen=True, slots=True)
class SmallDocuments:
    """Which documents of a bundle are small enough to be looked at."""

    containers: tuple[str, ...] = ()
    """Those that are looked at."""
    objects: tuple[ExpectedObject, ...] = ()
    left_out: int = 0
    """Documents that are too large, or of containers that are too many."""

    def of(self, container: str) -> Iterator[ExpectedObject]:
        """Yield the documents of one container."""
        names = {container_file(container, file) for file in FILES}
        return (each for each in self.objects if each.name in names)

    def called(self, name: str) -> Iterator[ExpectedObject]:
        """Yield the document of that name, if there is one."""
        return (each for each in self.objects if each.name == name)


NO_DOCUMENTS = SmallDocuments()


def small_documents(statement: Statement) -> SmallDocuments:
    """Choose the documents of a bundle that rules can look at in a moment."""
    objects = {each.name: each for each in expected_objects(statement)}
    named = tuple(each.name for each in statement.predicate.containers)
    wanted = {container: [container_file(container, file) for file in FILES] for container in named}
    looked_at = named[:MAX_CONTAINERS]
    names = [KERNEL, POD, *(name for container in looked_at for name in wanted[container])]
    chosen = tuple(each for each in _existing(objects, names) if _is_small(each))
    every = [KERNEL, POD, *(name for names in wanted.values() for name in names)]
    left_out = sum(1 for _ in _existing(objects, every)) - len(chosen)
    return SmallDocuments(looked_at, chosen, left_out) if chosen else NO_DOCUMENTS


def _existing(objects: Mapping[str, ExpectedObject], names: list[str]) -> Iterator[ExpectedObject]:
    return (objects[name] for name in names if name in objects)


def _is_small(expected: ExpectedObject) -> bool:
    limit = limit_of(expected)
    return (expected.size or 0) <= limit and expected.original_size <= limit


def limit_of(expected: ExpectedObject) -> int:
    """Return how many bytes are read of a document at most."""
    return POD_LIMIT if expected.name == POD else LIMIT
