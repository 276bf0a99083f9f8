"""Other programs, started without anything that our own environment could tell them.

`TAR_OPTIONS`, `GZIP`, `LD_PRELOAD` or `TZ` of whoever runs us would change what is captured, or
destroy it. So a child gets a few fixed variables and what its caller lists, nothing else::

    answer = await children.run(["tar", "--version"])

Every child is started here; a test looks for other ways through all of the source.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO

import anyio
from anyio import to_thread
from anyio.abc import Process

FOLDERS = (
    *("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"),
    *("/run/wrappers/bin", "/run/current-system/sw/bin"),
)
"""Where a machine's own programs lie; the last two are NixOS's. Children look here only."""


def environment(
    keep: Iterable[str] = (),
    extra: Mapping[str, str] | None = None,
    folders: Sequence[str] = FOLDERS,
) -> dict[str, str]:
    """Return the variables of a child: ours of the names in `keep`, and `extra`."""
    fixed = {"PATH": ":".join(folders), "LC_ALL": "C"}
    kept = {name: os.environ[name] for name in keep if name in os.environ}
    return {**fixed, **kept, **(extra or {})}


def program(name: str, folders: Sequence[str] = FOLDERS) -> str:
    """Return the path of a program. Raises `FileNotFoundError`.

    What the machine has comes first. Where it has none, `PATH` is searched, but for relative
    folders: they are wherever the user happens to be, possibly in evidence.
    """
    if "/" in name:
        return name
    named = (path for path in os.environ.get("PATH", "").split(":") if path.startswith("/"))
    found = shutil.which(name, path=":".join((*folders, *named)))
    if found is None:
        raise FileNotFoundError(f"The program {name} is not installed")
    return found


async def run(
    command: Sequence[str], folders: Sequence[str] = FOLDERS
) -> subprocess.CompletedProcess[bytes]:
    """Return what `command` wrote, and its code, whatever that is. Raises `OSError`."""
    first = await to_thread.run_sync(program, command[0], folders)
    variables = environment(folders=folders)
    return await anyio.run_process([first, *command[1:]], check=False, env=variables)


async def start(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    stdin: int | IO[bytes] | None = subprocess.DEVNULL,
    stdout: int | IO[bytes] | None = subprocess.PIPE,
    stderr: int | IO[bytes] | None = subprocess.PIPE,
    pass_fds: Sequence[int] = (),
    cwd: Path | None = None,
    folders: Sequence[str] = FOLDERS,
) -> Process:
    """Start `command` in a session of its own, so that Ctrl-C reaches only us. Raises `OSError`.

    `env`, where it is given, is all of its environment, and its `PATH` leads to the program.
    """
    first = command[0]
    if env is None:
        first, env = await to_thread.run_sync(program, first, folders), environment(folders=folders)
    return await anyio.open_process(
        [first, *command[1:]],
        env=env,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        pass_fds=pass_fds,
        cwd=cwd,
        start_new_session=True,
    )
