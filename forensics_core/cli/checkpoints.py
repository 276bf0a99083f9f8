"""The PodCheckpoints of a cluster: `get`, `list`, `cancel`, `release`, and how each is shown."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import click

from forensics_core.cli.cluster import ClusterAccess, cluster_options
from forensics_core.cli.options import object_output_option
from forensics_core.cli.program import command_name, run
from forensics_core.cli.render import (
    clean,
    clean_message,
    counted,
    print_data,
    print_text,
    size,
    table,
)

if TYPE_CHECKING:
    from forensics_core.api.podcheckpoint import PodCheckpoint

_COLUMNS = ("NAME", "NAMESPACE", "POD", "PHASE", "PROGRESS", "SIZE", "AGE")
_UNITS_OF_AGE = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


@click.command("get", short_help="Show one capture.")
@click.argument("name")
@cluster_options
@click.option(
    "--timings", is_flag=True, help="Show what each step took until the pod could be killed."
)
@object_output_option
def get_command(name: str, access: ClusterAccess, output: str, timings: bool) -> None:
    """Show the capture NAME: how far it is, and where its evidence lies."""
    checkpoint = run(partial(_get, name, access))
    if timings and output == "text":
        print_text(timings_table(checkpoint))
    else:
        _print_object(checkpoint, "\n".join(description(checkpoint)), output)


def timings_table(checkpoint: PodCheckpoint) -> str:
    """Return what each step took, and all together, in seconds."""
    rows = [(each.step.value, each.milliseconds) for each in checkpoint.status.timings]
    if not rows:
        return "Nothing is measured before the pod may be killed."
    rows.append(("Total", sum(milliseconds for _, milliseconds in rows)))
    return table(
        ("STEP", "SECONDS"), [(step, f"{each / 1000:.3f}") for step, each in rows], right="SECONDS"
    )


async def _get(name: str, access: ClusterAccess) -> PodCheckpoint:
    async with access.checkpoints() as checkpoints:
        return await checkpoints.get(name)


@click.command("list", short_help="List the captures of the cluster.")
@click.option("-n", "--namespace", help="Only those of pods in this namespace.")
@click.option("--incident", metavar="ID", help="Only those of this incident.")
@click.option("-l", "--selector", default="", help="Only those with these labels, as in kubectl.")
@cluster_options
@object_output_option
def list_command(
    namespace: str | None, incident: str | None, selector: str, access: ClusterAccess, output: str
) -> None:
    """List the captures that were asked for, the oldest first."""
    found = run(partial(_list, _label_selector(incident, selector), access))
    _print_list(_of_namespace(found, namespace), output)


def _label_selector(incident: str | None, selector: str) -> str:
    from forensics_core.api.names import INCIDENT_LABEL

    parts = [selector, f"{INCIDENT_LABEL}={incident}" if incident else ""]
    return ",".join(part for part in parts if part)


async def _list(selector: str, access: ClusterAccess) -> list[PodCheckpoint]:
    async with access.checkpoints() as checkpoints:
        return await checkpoints.list(label_selector=selector)


def _of_namespace(found: list[PodCheckpoint], namespace: str | None) -> list[PodCheckpoint]:
    # Here, as the server cannot: it is the pod's namespace, which is neither the PodCheckpoint's
    # own nor among its labels.
    wanted = [one for one in found if namespace in (None, one.target_namespace)]
    return sorted(wanted, key=_by_age)


def _by_age(checkpoint: PodCheckpoint) -> tuple[str, str]:
    return str(checkpoint.metadata.creation_timestamp or ""), checkpoint.metadata.name


def _print_list(found: list[PodCheckpoint], output: str) -> None:
    if output != "text":
        items = [one.to_dict() for one in found]
        # A `List` is what kubectl prints, so that scripts written for it can read this.
        print_data({"apiVersion": "v1", "kind": "List", "items": items}, output)
    elif found:
        print_text(checkpoint_table(found))
    else:
        print_text("There are none.")


@click.command("cancel", short_help="Stop a capture, and keep what there is.")
@click.argument("name")
@cluster_options
@object_output_option
def cancel_command(name: str, access: ClusterAccess, output: str) -> None:
    """Ask the capture NAME to stop. What was captured by then is kept; this cannot be taken back.

    The evidence of a capture that has ended already stays as it is.
    """
    checkpoint = run(partial(_cancel, name, access))
    _print_object(checkpoint, _cancel_message(checkpoint), output)


async def _cancel(name: str, access: ClusterAccess) -> PodCheckpoint:
    async with access.checkpoints() as checkpoints:
        return await checkpoints.cancel(name)


def _cancel_message(checkpoint: PodCheckpoint) -> str:
    name = clean(checkpoint.metadata.name)
    if checkpoint.finished:
        return f"The checkpoint {name} had ended before: {checkpoint.status.phase}"
    return f"The checkpoint {name} is told to stop. Follow it with: {command_name()} watch {name}"


@click.command("release", short_help="Lift a pod's isolation.")
@click.argument("name")
@cluster_options
@object_output_option
def release_command(name: str, access: ClusterAccess, output: str) -> None:
    """Lift the isolation of the pod that the capture NAME is of; this cannot be taken back.

    The pod gets its labels back, and so its Services, if it is still there.
    """
    checkpoint = run(partial(_release, name, access))
    _print_object(checkpoint, _release_message(checkpoint), output)


async def _release(name: str, access: ClusterAccess) -> PodCheckpoint:
    async with access.checkpoints() as checkpoints:
        return await checkpoints.release(name)


def _release_message(checkpoint: PodCheckpoint) -> str:
    name = clean(checkpoint.metadata.name)
    if not checkpoint.spec.isolate:
        return f"The checkpoint {name} has isolated nothing"
    return f"The pod of the checkpoint {name} is being released. See: {command_name()} get {name}"


def _print_object(checkpoint: PodCheckpoint, said: str, output: str) -> None:
    """Print what is said of a checkpoint to people, or all of it to programs."""
    if output == "text":
        print_text(said)
    else:
        print_data(checkpoint.to_dict(), output)


def checkpoint_table(checkpoints: Sequence[PodCheckpoint], now: datetime | None = None) -> str:
    """Return a table with a row each; `now` is what ages are counted to."""
    moment = now or datetime.now(UTC)
    return table(_COLUMNS, [_row(one, moment) for one in checkpoints], right="SIZE")


def _row(checkpoint: PodCheckpoint, now: datetime) -> tuple[str, ...]:
    metadata, status = checkpoint.metadata, checkpoint.status
    return (
        metadata.name,
        checkpoint.target_namespace,
        checkpoint.spec.pod,
        status.phase or "",
        status.progress.summary if status.progress else "",
        status.size,
        age(metadata.creation_timestamp, now),
    )


def age(since: datetime | None, now: datetime) -> str:
    """Return how long ago that was, in its largest unit: `5m`."""
    if since is None:
        return ""
    # Not below zero: the API server's clock may be ahead of this machine's.
    seconds = max(0, int((now - since).total_seconds()))
    unit, letter = next((each for each in _UNITS_OF_AGE if seconds >= each[0]), _UNITS_OF_AGE[-1])
    return f"{seconds // unit}{letter}"


def description(checkpoint: PodCheckpoint) -> list[str]:
    """Return everything that matters about one checkpoint, a line each."""
    spec, status = checkpoint.spec, checkpoint.status
    progress = status.progress
    facts = {
        "Name": clean(checkpoint.metadata.name),
        "Pod": clean(f"{checkpoint.target_namespace}/{spec.pod}"),
        "Node": clean(status.node),
        "Incident": clean(spec.incident),
        "Reason": clean_message(spec.reason),
        "Phase": status.phase or "not begun",
        "Progress": clean_message(progress.summary) if progress else "",
        "Attempt": str(status.attempt or ""),
        "Started": _timestamp(status.start_time),
        "Ended": _timestamp(status.completion_time),
        **outcome(checkpoint),
    }
    lines = [f"{name + ':':<10} {value}" for name, value in facts.items() if value]
    return lines + first_findings(checkpoint) + _containers(checkpoint) + _conditions(checkpoint)


def outcome(checkpoint: PodCheckpoint) -> dict[str, str]:
    """Return what became of it: where the evidence is, whether it is sealed, its digest."""
    status = checkpoint.status
    if checkpoint.failed:
        # Not called evidence: nothing vouches for what an attempt left there.
        left = f"{clean(status.location)} (no evidence)" if status.location else ""
        return {"Left at": left} if left else {}
    if not status.manifest_sha256:
        return {}
    return {
        "Evidence": f"{status.artifacts} artifacts, {size(status.bytes)}",
        "Location": clean(status.location),
        "Sealed": "yes" if status.sealed else "no",
        "Manifest": f"sha256:{status.manifest_sha256}",
        **_findings(checkpoint),
    }


def _findings(checkpoint: PodCheckpoint) -> dict[str, str]:
    """Return how many findings there are; nothing where the operator did not look."""
    found = checkpoint.status.findings
    if found is None:
        return {}
    several = found.by_severity
    counts = {"high": several.high, "medium": several.medium, "low": several.low}
    told = ", ".join(f"{count} {severity}" for severity, count in counts.items() if count)
    left = f"; {counted(found.not_looked_at, 'document')} not looked at"
    shown = f"{found.total}{f' ({told})' if told else ''}{left if found.not_looked_at else ''}"
    return {"Findings": shown}


def first_findings(checkpoint: PodCheckpoint) -> list[str]:
    """Return a table of the findings that want a look first, an empty line in front."""
    found = checkpoint.status.findings
    rows = [
        (one.severity, one.container or "(node)", one.message)
        for one in (found.first if found else ())
    ]
    return ["", table(("SEVERITY", "CONTAINER", "FINDING"), rows)] if rows else []


def _timestamp(when: datetime | None) -> str:
    return when.isoformat().replace("+00:00", "Z") if when else ""


def _containers(checkpoint: PodCheckpoint) -> list[str]:
    found = [(one.name, one.state, one.reason) for one in checkpoint.status.containers]
    return ["", table(("CONTAINER", "STATE", "REASON"), found)] if found else []


def _conditions(checkpoint: PodCheckpoint) -> list[str]:
    found = [
        (one.type, one.status, one.reason, one.message) for one in checkpoint.status.conditions
    ]
    headings = ("CONDITION", "STATUS", "REASON", "MESSAGE")
    return ["", table(headings, found)] if found else []
