"""What a trace is, how it gets there, and by what it is recognised afterwards."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

MARKER, NAME = "km", "kn"
"""How the random words begin that a trace's content, or its name, is known by."""
DIGITS = 13
"""Hexadecimal digits of such a word, which has 15 letters: as many as a process's name."""
WORD = re.compile(rb"k[mn][0-9a-f]{13}")

VOLUMES, MEMORY = "volumes", "memory"
"""What has to be asked for."""


def marker() -> str:
    """Return a new word for content."""
    return MARKER + secrets.token_hex(7)[:DIGITS]


def name() -> str:
    """Return a new word for a path, or what else a trace is called by."""
    return NAME + secrets.token_hex(7)[:DIGITS]


def loopback_address() -> str:
    """Return an address of this host that nobody else uses, with 24 random bits."""
    return f"127.{secrets.randbelow(250) + 2}.{secrets.randbelow(256)}.{secrets.randbelow(254) + 1}"


def private_address() -> str:
    """Return an address for networks of one's own, with 24 random bits."""
    return f"10.{secrets.randbelow(250) + 2}.{secrets.randbelow(256)}.{secrets.randbelow(254) + 1}"


def number() -> str:
    """Return a number of ten digits below 2**32, and not below 2**31."""
    return str(secrets.randbelow(2**31) + 2**31)


@dataclass(frozen=True, slots=True)
class Clue:
    """What proves that something is there; `{number}` is what the planter told."""

    anchor: str
    """Bytes that occur nowhere else, as text in Latin-1."""
    near: str = ""
    """A regular expression that has to match within a few hundred bytes around."""


def words(*found: str) -> tuple[Clue, ...]:
    """Return clues that need nothing else."""
    return tuple(Clue(each) for each in found)


def address_clues(address: str) -> tuple[Clue, ...]:
    """Return an address as people, and as the kernel's tables, write it."""
    raw = IPv4Address(address).packed
    return words(address, raw[::-1].hex().upper(), raw[::-1].hex(), raw.hex())


ToolStep = tuple[str, ...]
"""A kind that the tool knows, and its arguments."""


@dataclass(frozen=True, slots=True)
class Trace:
    """One trace of the intruder."""

    id: str
    group: str
    title: str
    """For the table."""
    steps: tuple[ToolStep, ...]
    """How it gets there; `exec` steps are the engine's."""
    content: tuple[Clue, ...]
    """Any of them: the evidence itself came home."""
    known: tuple[Clue, ...] = ()
    """Any of them: at least it shows that there is, or was, something."""
    gap: str = ""
    """A regular expression for the gap that tells it, beside one that names it; `{pid}` is the
    process that holds it, `{number}` as in `Clue`."""
    on_request: str = ""
    """What has to be asked for before its content comes: `volumes`, `memory`."""
    only: str = ""
    """The runtime that it is planted on; empty: any."""


def plan(traces: Sequence[Trace]) -> bytes:
    """Return the lines that the tool reads."""
    lines = (
        "\t".join([trace.id, *map(_escaped, step)])
        for trace in traces
        for step in trace.steps
        if not step[0].startswith("exec")
    )
    return "\n".join([*lines, "end", ""]).encode("latin-1")


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")
