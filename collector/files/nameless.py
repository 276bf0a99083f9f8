"""Running a program for which ids have no names.

GNU tar spells access lists with the names that ids have on the machine where it runs, which are not
the container's; older releases do so in spite of `--numeric-owner`.
"""

from __future__ import annotations

from forensics_core._internal import children

_SCRIPT = """
for file in /etc/passwd /etc/group /etc/nsswitch.conf; do
    [ ! -e "$file" ] || mount --bind /dev/null "$file" || exit
done
exec "$@"
"""
_NAMELESS = ("unshare", "--mount", "sh", "-ec", _SCRIPT, "sh")


async def nameless(*command: str) -> list[str]:
    """Return the command that runs `command` where nobody knows the names of users and groups.

    It runs in a mount namespace of its own, in which the files with the names are empty. Where the
    kernel grants us none, the command is returned as it is.
    """
    try:
        run = await children.run([*_NAMELESS, "true"])
    except FileNotFoundError:
        return [*command]
    return [*command] if run.returncode else [*_NAMELESS, *command]
