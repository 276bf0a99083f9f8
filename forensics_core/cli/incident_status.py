"""`forensics incident INC status`: how all pods of an incident stand, and which may be killed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import click
from anyio import to_thread

from forensics_core.cli.cluster import ClusterAccess, cluster_options
from forensics_core.cli.options import object_output_option, parse_duration
from forensics_core.cli.program import Terminated, command_name, run
from forensics_core.cli.progress import may_be_terminal, standard_error
from forensics_core.cli.render import clean, clean_message, print_data, print_text, size, table
from forensics_core.cli.watching import CapturedInPart
from forensics_core.errors import ForensicsError, NotFound

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

    from forensics_core.api.incident import IncidentSummary, PodSummary

FEW = 30
"""Pods that have a line each; of more than that, phases are counted."""
_COLUMNS = ("POD", "NODE", "PHASE", "PROGRESS", "SIZE", "FINDINGS", "CHECKPOINT")
Show = Callable[["IncidentSummary"], Awaitable[None]]


@click.command("status", short_help="Show which pods may be killed, and what was found.")
@click.option("-w", "--watch", "watched", is_flag=True, help="Follow all of them to their end.")
@click.option("--timeout", type=parse_duration, metavar="TIME", help="Stop watching after that.")
@cluster_options
@object_output_option
@click.pass_obj
def incident_status_command(
    incident: str, /, watched: bool, timeout: int | None, access: ClusterAccess, output: str
) -> None:
    """Show how the pods of the incident stand: which may be killed, which failed, what was found.

    With --watch it ends with the last capture: with 0 if all is there, 1 if nothing was captured, 4
    if a capture failed or something that was asked for is missing. Ctrl-C stops the watching only.
    """
    if watched:
        watch_incident(incident, access, output, timeout)
    else:
        _print_summary(run(partial(summary_of, incident, access)), output)


async def summary_of(incident: str, access: ClusterAccess) -> IncidentSummary:
    """Return how an incident stands. Raises `NotFound` if it has no checkpoints."""
    from forensics_core.api.incident import IncidentSummary
    from forensics_core.kube.incident import of_incident

    async with access.checkpoints() as checkpoints:
        summary = IncidentSummary.of(incident, await of_incident(checkpoints, incident))
    _check(summary)
    return summary


def _check(summary: IncidentSummary) -> None:
    if not summary.pods:
        raise NotFound(
            f"The incident '{summary.incident}' has no checkpoints",
            hint=f"`{command_name()} incident {summary.incident} checkpoint` asks for them; "
            f"`{command_name()} list` shows those of others",
        )


def watch_incident(incident: str, access: ClusterAccess, output: str, timeout: int | None) -> None:
    """Follow the incident's captures to their end, print how they stand then, as `output` says.

    Raises what `raise_for_incident` raises, and `ForensicsError` after `timeout` seconds.
    """
    watching = partial(_watch, incident, access, quiet=output != "text", within=timeout)
    try:
        summary = run(watching)
    except (KeyboardInterrupt, Terminated) as error:
        raise type(error)(
            "Stopped watching. The captures go on: "
            f"`{command_name()} incident {clean(incident)} status --watch` shows them again."
        ) from error
    _print_summary(summary, output)
    raise_for_incident(summary)


def raise_for_incident(summary: IncidentSummary) -> None:
    """Raise `ForensicsError` if nothing was captured, `CapturedInPart` if something is missing."""
    failed, partial_ = len(summary.failed), len(summary.partial)
    told = f"Of {len(summary.pods)} pods {failed} failed, and of {partial_} something is missing"
    hint = "See why above; `checkpoint` asks again for those that failed"
    if failed == len(summary.pods):
        raise ForensicsError(told, hint=hint)
    if failed or partial_:
        raise CapturedInPart(told, hint=hint)


async def _watch(
    incident: str, access: ClusterAccess, *, quiet: bool, within: int | None
) -> IncidentSummary:
    from forensics_core.kube.incident import follow_incident

    with anyio.move_on_after(within):
        async with (
            access.checkpoints() as checkpoints,
            _shown(quiet=quiet) as show,
            follow_incident(checkpoints, incident) as summaries,
        ):
            async for summary in summaries:
                _check(summary)
                await show(summary)
                if summary.finished:
                    return summary
    raise ForensicsError(
        f"The captures of '{incident}' have not ended within {within} s",
        hint=f"They go on: `{command_name()} incident {incident} status --watch` shows them again",
    )


# What is shown meanwhile


@asynccontextmanager
async def _shown(*, quiet: bool) -> AsyncIterator[Show]:
    """Yield what shows a summary: redrawn on a terminal, news line by line in a pipe."""
    if quiet:
        yield _nothing
        return
    # In threads, because rich looks at the file system, and whoever reads may be slow.
    console = await to_thread.run_sync(standard_error) if may_be_terminal() else None
    if console is None or not console.is_terminal or console.is_dumb_terminal:
        yield partial(_print_changes, IncidentChanges())
        return
    live = await to_thread.run_sync(_live, console)
    with live:
        yield partial(_redraw, live)


async def _nothing(_: IncidentSummary) -> None:
    """Show nothing."""


async def _print_changes(news: IncidentChanges, summary: IncidentSummary) -> None:
    for line in news.lines(summary):
        await to_thread.run_sync(partial(click.echo, line, err=True))


def _live(console: Console) -> Live:
    from rich.live import Live

    # Rich would move what is printed meanwhile to its own console, the standard error.
    return Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)


async def _redraw(live: Live, summary: IncidentSummary) -> None:
    from rich.text import Text

    lines = live_lines(summary, live.console.height)
    shown = Text("\n".join(lines), no_wrap=True, overflow="ellipsis")
    await to_thread.run_sync(partial(live.update, shown, refresh=True))


def live_lines(summary: IncidentSummary, height: int) -> Iterator[str]:
    """Yield what a terminal of so many lines has room for."""
    yield from _head(summary)
    if len(summary.pods) <= min(FEW, height - 5):
        yield _pod_table(summary)


class IncidentChanges:
    """What is worth a line since the last summary: who may be killed, who failed."""

    def __init__(self) -> None:
        self._told: set[str] = set()
        self._phases: Any = None

    def lines(self, summary: IncidentSummary) -> Iterator[str]:
        """Yield what is new; at first how far all of them are."""
        for pod in summary.pods:
            name = pod.checkpoint.metadata.name
            if name not in self._told and (pod.may_be_killed or pod in summary.failed):
                self._told.add(name)
                yield _changes_of(pod)
        counts = _phases(summary)
        if counts != self._phases:
            self._phases = counts
            yield f"{summary.headline} ({counts})"


def _changes_of(pod: PodSummary) -> str:
    if pod.may_be_killed:
        return f"{clean(pod.name)} may be killed"
    return f"{clean(pod.name)} failed: {clean_message(pod.reason)}"


# How they stand


def _print_summary(summary: IncidentSummary, output: str) -> None:
    if output == "text":
        print_text("\n".join(description(summary)))
    else:
        print_data(summary.to_dict(), output)


def description(summary: IncidentSummary) -> Iterator[str]:
    """Yield everything that matters about an incident's pods: a line each while they are few."""
    yield from _head(summary)
    few = len(summary.pods) <= FEW
    if summary.may_be_killed:
        yield f"May be killed: {', '.join(map(clean, summary.may_be_killed))}"
    if few:
        yield ""
        yield _pod_table(summary)
    yield from _troubles("Failed", summary.failed)
    yield from _troubles("Partial", summary.partial)
    yield from _findings(summary)


def _head(summary: IncidentSummary) -> Iterator[str]:
    yield f"{clean(summary.incident)}: {summary.headline}"
    facts = {
        "Phases": _phases(summary),
        "Evidence": size(summary.size) if summary.size else "",
        "Findings": ", ".join(
            f"{count} {severity.lower()}" for severity, count in summary.severities.items()
        ),
    }
    yield from (f"{name + ':':<10} {value}" for name, value in facts.items() if value)


def _phases(summary: IncidentSummary) -> str:
    return ", ".join(f"{count} {phase}" for phase, count in summary.phases.items())


def _pod_table(summary: IncidentSummary) -> str:
    return table(_COLUMNS, [_row(pod) for pod in summary.pods], right="SIZE FINDINGS")


def _row(pod: PodSummary) -> tuple[str, ...]:
    status = pod.checkpoint.status
    progress = status.progress.summary if status.progress else ""
    # Why it waits says more than that there is no progress.
    waits = pod.reason.partition(":")[0] if not status.progress else ""
    return (
        pod.name,
        status.node,
        str(pod.phase),
        progress or waits,
        status.size,
        str(status.findings.total) if status.findings else "",
        pod.checkpoint.metadata.name,
    )


def _troubles(kind: str, pods: tuple[PodSummary, ...]) -> Iterator[str]:
    if pods:
        yield ""
        yield table((kind.upper(), "REASON"), [(pod.name, pod.reason) for pod in pods])


def _findings(summary: IncidentSummary) -> Iterator[str]:
    rows = [
        (str(found.severity), _some(names), found.container or "(node)", found.message)
        for names, found in summary.first_findings()
    ]
    if rows:
        yield ""
        yield table(("SEVERITY", "PODS", "CONTAINER", "FINDING"), rows)


def _some(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
