"""What lies in a folder, by its names: of a bundle on this machine.

Whoever may write there can fill it up, and can make it deeper than any path: neither keeps anybody
from what a bundle has by name.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Set
from pathlib import Path

from forensics_core.errors import (
    AccessDenied,
    DestinationError,
    ObjectNotFound,
    TooManyObjects,
)
from forensics_core.storage.objects import StoredObject

_OWN_FOLDER = "Name a bundle's own folder"


def listing(root: Path, at_most: int) -> list[StoredObject]:
    """Return all that is no folder, `at_most` so many. Raises `DestinationError` of every kind."""
    entries: list[StoredObject] = []
    if root.is_file():
        raise DestinationError(
            f"{root} is a file, and a bundle is a folder", hint="Name the folder that it lies in"
        )
    try:
        for entry in _walk(root):
            # Whoever named a home directory in place of a bundle should hear so, and not wait for
            # all of it to be listed.
            if len(entries) == at_most:
                raise TooManyObjects(f"{root} holds more than {at_most} files", hint=_OWN_FOLDER)
            entries.append(entry)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise TooManyObjects(
                f"{root} has deeper folders than a bundle", hint=_OWN_FOLDER
            ) from error
        raise explain_reading(error, root) from error
    return entries


def named(root: Path, names: Set[str]) -> list[StoredObject]:
    """Return those of some names that are there, links and special files included."""
    found = list[StoredObject]()
    for name in sorted(names):
        try:
            status = os.lstat(root / name)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise explain_reading(error, root / name) from error
        if not stat.S_ISDIR(status.st_mode):
            found.append(StoredObject(name, status.st_size))
    return found


def _walk(root: Path) -> Iterator[StoredObject]:
    """Yield all that is no folder, however deep it lies."""
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        try:
            listing = os.scandir(root / prefix)
        except FileNotFoundError:
            # A folder within may go while others are listed: that is no word about the root.
            if not prefix:
                raise
            continue
        with listing as members:
            for member in members:
                name = prefix + member.name
                if member.is_dir(follow_symlinks=False):
                    waiting.append(f"{name}/")
                else:
                    yield StoredObject(name, member.stat(follow_symlinks=False).st_size)


def explain_reading(error: OSError, path: Path) -> DestinationError:
    """Return why something could not be read, and what to do."""
    if isinstance(error, FileNotFoundError):
        return ObjectNotFound(f"{path} does not exist", hint="Check the location")
    if isinstance(error, PermissionError):
        return AccessDenied(f"{path} may not be read", hint="Use an account that may")
    # What O_NOFOLLOW says of a link, O_DIRECTORY of a link in the middle, and a socket of being
    # opened.
    if error.errno in {errno.ELOOP, errno.ENOTDIR, errno.ENXIO}:
        return DestinationError(
            f"{path} is not a regular file below ordinary folders",
            hint="Links and special files are not evidence, and are not followed",
        )
    return DestinationError(f"{path}: {error.strerror}", hint="Check the disk")
