"""YARA rules, compiled, and what they find in one piece of data.

Source: https://virustotal.github.io/yara-x/docs/
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from forensics_core._internal.extras import needing
from forensics_core.errors import UsageError

if TYPE_CHECKING:
    import yara_x

MAX_SOURCE = 64 * 1024 * 1024
"""Bytes of one file of rules."""
MAX_MATCHES = 10_000
"""Matches of one pattern in one piece of data: the engine finds no more of it."""
MAX_HITS = 20
"""Matches of one rule that are kept; all are counted."""
EXCERPT = 32
"""Bytes of a match that are shown."""
_WHO = "Scanning with YARA rules"


RuleName = tuple[str, str]
"""A namespace, which is the file of rules, and a rule in it."""


@dataclass(frozen=True, slots=True)
class Hit:
    """One pattern of a rule, at one place."""

    pattern: str
    offset: int
    """Bytes from the beginning of the file."""
    length: int
    excerpt: str
    """What is there, at most `EXCERPT` bytes of it: printable ASCII, the rest as `\\x1b`."""


@dataclass(slots=True)
class RuleMatch:
    """What one rule found in one file."""

    name: RuleName
    tags: tuple[str, ...]
    hits: list[Hit]
    """The first of them; a rule can hold without any."""
    total: int


class TimedOut(Exception):
    """The rules took too long over one piece of data."""


class Matcher:
    """Compiled rules; made by `compile_rules`."""

    def __init__(self, rules: yara_x.Rules, seconds: int) -> None:
        from yara_x import Scanner

        self._scanner = Scanner(rules)
        self._scanner.set_timeout(seconds)
        self._scanner.max_matches_per_pattern(MAX_MATCHES)

    def scan(
        self, data: bytes, start: int, seen: int, reported: Container[RuleName]
    ) -> Iterator[RuleMatch]:
        """Yield what the rules find in `data`, which begins at `start` of its file.

        Of rules that were `reported` before, the matches within the first `seen` bytes are left
        out. Raises `TimedOut`.
        """
        import yara_x

        try:
            result = self._scanner.scan(data)
        except yara_x.TimeoutError as error:
            raise TimedOut from error
        for rule in result.matching_rules:
            name = rule.namespace, rule.identifier
            found = RuleMatch(name, rule.tags, [], 0)
            known = seen if name in reported else 0
            for pattern in rule.patterns:
                fresh = [one for one in pattern.matches if one.offset + one.length > known]
                found.total += len(fresh)
                room = MAX_HITS - len(found.hits)
                found.hits += [_hit(pattern.identifier, one, data, start) for one in fresh[:room]]
            yield found


def _hit(pattern: str, match: yara_x.Match, data: bytes, start: int) -> Hit:
    shown = data[match.offset : match.offset + min(match.length, EXCERPT)]
    return Hit(pattern, start + match.offset, match.length, escaped(shown))


def escaped(data: bytes) -> str:
    r"""Return bytes as text that steers no terminal: printable ASCII as it is, the rest `\xNN`."""
    text = data.replace(b"\\", b"\\\\").decode("ascii", errors="backslashreplace")
    return "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in text)


def compile_rules(files: Sequence[Path], seconds: int) -> Matcher:
    """Compile files of rules, each in a namespace of its own: its name without the ending.

    They may take so many `seconds` over one piece of data. `include` is refused: rules
    of somebody else could otherwise read this machine's files.

    Raises `UsageError` for rules that are none, `ForensicsError` where YARA-X is not installed.
    """
    with needing("scan", _WHO):
        import yara_x
    compiler = yara_x.Compiler(includes_enabled=False)
    for namespace, path in _namespaces(files):
        compiler.new_namespace(namespace)
        try:
            compiler.add_source(_source(path), origin=str(path))
        except yara_x.CompileError as error:
            raise UsageError(
                f"{path} has rules that YARA-X does not take: {error}",
                hint="Correct them; 'include' is not followed: name each file of rules",
            ) from error
    return Matcher(compiler.build(), seconds)


def _namespaces(files: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """Yield each file with a namespace that no other has."""
    taken = set[str]()
    for path in files:
        name, number = path.stem, 2
        while name in taken:
            name, number = f"{path.stem}-{number}", number + 1
        taken.add(name)
        yield name, path


def _source(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(MAX_SOURCE + 1)
    if len(data) > MAX_SOURCE:
        raise UsageError(f"{path} has more than {MAX_SOURCE} bytes", hint="Split it")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is not text in UTF-8: {error}",
            hint="Name the source of the rules: compiled rules are not read",
        ) from error
