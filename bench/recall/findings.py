"""Do the report's rules see the traces that they are about?

A trace is seen where a finding of its rule names it. Most traces are of no rule: nobody can say
that a name, a route or a page of memory is an intruder's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import anyio

from bench.page import table
from forensics_core.bundle.reader import open_bundle
from forensics_core.readers.findings.find import find
from forensics_core.readers.findings.finding import Finding, Rule
from lab.intruder.container import PlantedTrace
from lab.process import LabError

COVERED: dict[str, Rule] = {
    "file": Rule.NEW_EXECUTABLE,
    "timestomp": Rule.NEW_EXECUTABLE,
    "setuid": Rule.SETUID_ADDED,
    "capability": Rule.CAPABILITY_ADDED,
    "package-file": Rule.PROGRAM_CHANGED,
    "cron": Rule.CRON,
    "systemd": Rule.SERVICE,
    "init": Rule.SERVICE,
    "preload": Rule.PRELOAD,
    "ssh-key": Rule.AUTHORIZED_KEYS,
    "bashrc": Rule.SHELL_PROFILE,
    "profile": Rule.SHELL_PROFILE,
    "pam": Rule.PAM,
    "sudoers": Rule.SUDO,
    "uid-0": Rule.ROOT_USER,
    "history": Rule.SHELL_HISTORY,
    "history-null": Rule.HISTORY_LINKED,
    "log-removed": Rule.LOG_REMOVED,
    "log-emptied": Rule.LOG_EMPTIED,
    "deleted-program": Rule.RUNS_DELETED,
    "memfd-program": Rule.RUNS_MEMFD,
    "environment": Rule.SECRET,
    "exec": Rule.ENTERED,
    "raw": Rule.RAW_SOCKET,
    "packet": Rule.RAW_SOCKET,
}
"""The rule that is about a trace, by the trace's id."""
_CALLED = {"environment": "AWS_SECRET_ACCESS_KEY", "packet": "packet sockets"}
"""What a finding calls a trace whose own words it does not have, or must not show."""


def findings_of(folder: Path) -> list[Finding]:
    """Return the findings of the only bundle below a folder. Raises `LabError` without one."""
    manifests = [*folder.rglob("manifest.json")]
    if len(manifests) != 1:
        raise LabError(f"There are {len(manifests)} bundles, not one")
    return anyio.run(_findings, str(manifests[0].parent))


async def _findings(location: str) -> list[Finding]:
    async with open_bundle(location) as bundle:
        return (await find(bundle)).findings


def seen(planted: Sequence[PlantedTrace], findings: Sequence[Finding]) -> dict[str, bool]:
    """Return whether each trace that is there and has a rule is seen, by the trace's id."""
    return {
        each.trace.id: any(_is_about(one, each) for one in findings)
        for each in planted
        if each.trace.id in COVERED
    }


def _is_about(finding: Finding, planted: PlantedTrace) -> bool:
    told = f"{finding.path} {finding.subject} {finding.detail}"
    return finding.rule is COVERED[planted.trace.id] and any(
        word in told for word in _words(planted)
    )


def _words(planted: PlantedTrace) -> Iterator[str]:
    trace = planted.trace
    yield from [_CALLED[trace.id]] if trace.id in _CALLED else []
    yield from (clue.anchor for clue in (*planted.content, *planted.known))
    # A file at a place that every system has is known by that.
    yield from (word for step in trace.steps for word in step[1:] if word.startswith("/"))


def page_part(rounds: Sequence[tuple[str, dict[str, str], dict[str, bool]]]) -> str:
    """Return the table of what the rules saw; of each round runtime, titles and `seen`."""
    titles = {name: title for _, several, _ in rounds for name, title in several.items()}
    rows = (
        [titles[name], f"`{rule}`", *(_cell(found.get(name)) for _, _, found in rounds)]
        for name, rule in COVERED.items()
        if name in titles
    )
    return table(("trace", "rule", *(runtime for runtime, _, _ in rounds)), rows)


def _cell(found: bool | None) -> str:
    return "not planted" if found is None else "found" if found else "**not found**"
