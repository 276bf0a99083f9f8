"""Where an SSH server was told to look for keys: `AuthorizedKeysFile` and its kin.

Source: sshd_config(5). What stands in a `Match` block counts as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

SETTINGS = b"/etc/ssh/sshd_config"
SETTINGS_FOLDER = b"/etc/ssh/sshd_config.d"
MAX_SETTINGS = 1024 * 1024
"""Bytes of a file of settings that are read."""
_MAX_PATTERNS = 100
_KEYWORDS = frozenset({"authorizedkeysfile", "authorizedprincipalsfile", "trustedusercakeys"})
_LINE = re.compile(r"\s*(\w+)(?:\s*=\s*|\s+)(\S.*)")
_WORD = re.compile(r'"([^"]*)"|(\S+)')
_SIGN = re.compile(r"%(.)")
_NAME = "[^/]{0,1020}"


def key_files(settings: bytes) -> list[re.Pattern[str]]:
    """Return what matches the paths at which the server takes keys; the first of them."""
    found = dict.fromkeys(_paths(settings[:MAX_SETTINGS].decode(errors="backslashreplace")))
    patterns = (_pattern(path) for path in [*found][:_MAX_PATTERNS])
    return [re.compile(pattern, re.DOTALL) for pattern in patterns if pattern]


def _paths(settings: str) -> Iterator[str]:
    for line in settings.split("\n"):
        match = _LINE.match(line)
        if match and match[1].lower() in _KEYWORDS:
            for quoted, plain in _WORD.findall(match[2]):
                if (path := quoted or plain) != "none" and len(path) < 4096:
                    yield path


def _pattern(path: str) -> str:
    """Return a pattern without the server's own signs; empty for one that could take for ever."""
    path = path if path.startswith(("/", "%h")) else f"%h/{path}"
    at_home = path.startswith("%h")
    pieces = _SIGN.split(path.removeprefix("%h"))
    if sum(sign != "%" for sign in pieces[1::2]) > 1:
        return ""
    pieces[1::2] = ["%" if sign == "%" else _NAME for sign in pieces[1::2]]
    pieces[::2] = [re.escape(piece) for piece in pieces[::2]]
    return ("(?:/.*)?" if at_home else "") + "".join(pieces)
