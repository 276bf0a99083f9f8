"""`forensics checkpoint`: ask the cluster for a pod's evidence."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from forensics_core.cli.cluster import ClusterAccess, cluster_options
from forensics_core.cli.options import (
    INCIDENT_ID,
    object_lock_options,
    object_output_option,
    parse_duration,
    size_type,
    volumes_option,
    wait_timeout_option,
)
from forensics_core.cli.program import command_name, run
from forensics_core.cli.render import clean, print_data, print_text
from forensics_core.errors import UsageError

if TYPE_CHECKING:
    from forensics_core.api.podcheckpoint import PodCheckpoint, PodCheckpointSpec

ARTIFACTS = (
    "context",
    "inspect",
    "diff",
    "filesystem",
    "logs",
    "processes",
    "network",
    "volumes",
    "memory",
)
"""Spelled out, as the models are only loaded when they are needed; a test compares."""
COMPRESSIONS = ("auto", "zstd", "none")
AFTER_CAPTURE = {
    "keep": "Keep",
    "delete": "Delete",
    "delete-even-if-partial": "DeleteEvenIfPartial",
}
"""What `--after-capture` takes, and what the resource calls it."""


@click.command("checkpoint", short_help="Capture a pod of the cluster.")
@click.argument("pod")
@click.option("-n", "--namespace", help="The pod's namespace.  [default: the kubeconfig's]")
@click.option(
    "--to", metavar="URL", help="s3://bucket[/prefix].  [default: the operator's, if it has one]"
)
@click.option("--subpath", help="The folder beneath it.  [default: forensics]")
@click.option(
    "-c",
    "--container",
    "containers",
    metavar="NAME",
    multiple=True,
    help="Only this container; may be repeated.  [default: all]",
)
@click.option(
    "--artifact",
    "artifacts",
    multiple=True,
    type=click.Choice(ARTIFACTS),
    help="Only this; may be repeated.  [default: all but volumes and memory]",
)
@click.option(
    "--compression",
    type=click.Choice(COMPRESSIONS),
    help="How large artifacts are stored.  [default: auto]",
)
@click.option("--pause", is_flag=True, help="Freeze the containers meanwhile.")
@click.option(
    "--record",
    type=parse_duration,
    metavar="TIME",
    help="Record execs, writes, connections: so long, or as the capture takes.",
)
@volumes_option
@click.option(
    "--deleted-budget",
    type=size_type,
    metavar="SIZE",
    help="Of files that only processes still hold, so much of each container.  [default: 1GiB]",
)
@click.option("--no-freeze", is_flag=True, help="With memory: hold no process still.")
@click.option("--isolate", is_flag=True, help="Cut the pod off the network first.")
@click.option(
    "--after-capture",
    type=click.Choice(tuple(AFTER_CAPTURE)),
    help="What becomes of the pod once it is captured.  [default: keep]",
)
@click.option("--incident", metavar="ID", help="The incident it belongs to.")
@click.option("--reason", metavar="TEXT", help="Why it is captured; goes into the manifest.")
@object_lock_options
@click.option("--kms-key-id", metavar="K", help="Encrypt with this key of the KMS.")
@click.option(
    "--deadline",
    type=parse_duration,
    metavar="TIME",
    help="End by then with what there is.  [default: 1h]",
)
@click.option(
    "--ttl",
    type=parse_duration,
    metavar="TIME",
    help="Delete the request, not the evidence, so long after.",
)
@click.option("--name", help="What to call the request.  [default: made of the pod's name]")
@click.option("--wait", is_flag=True, help="Follow it to its end.")
@wait_timeout_option
@click.option("--dry-run", is_flag=True, help="Ask the cluster whether it would be accepted.")
@cluster_options
@object_output_option
def checkpoint_command(
    pod: str,
    namespace: str | None,
    name: str | None,
    wait: bool,
    timeout: int | None,
    dry_run: bool,
    access: ClusterAccess,
    output: str,
    **given: Any,
) -> None:
    """Ask for the evidence of POD, which an operator in the cluster then captures.

    Without --wait the command ends as soon as the cluster has accepted the request. With it, it
    says when the pod may be killed, and ends with 0 once everything is stored, and sealed if the
    operator has a key, 1 if the capture failed, 4 if something that was asked for is missing.
    """
    if timeout is not None and not wait:
        raise UsageError("--timeout is for --wait", hint="Add --wait")
    if dry_run:
        from forensics_core.cli.preview import preview

        preview(pod, namespace, name, given, access, output)
    else:
        made = run(partial(_create, pod, namespace, name, given, access))
        _print_created(made, output, wait=wait)
        if wait:
            from forensics_core.cli.watching import watch

            watch(made.metadata.name, access, output, timeout)


async def _create(
    pod: str, namespace: str | None, name: str | None, given: dict[str, Any], access: ClusterAccess
) -> PodCheckpoint:
    async with access.connect() as cluster:
        # As kubectl has it: a pod is looked for where the context points, wherever PodCheckpoints
        # live.
        spec = build_spec(pod, namespace or cluster.namespace, given)
        return await access.client(cluster).create(spec, name=name)


def _print_created(made: PodCheckpoint, output: str, *, wait: bool) -> None:
    name = clean(made.metadata.name)
    if output == "text":
        print_text(f"Created the checkpoint {name}")
        if not wait:
            print_text(f"Follow it with: {command_name()} watch {name}")
    elif not wait:
        # Whoever waits gets the object as it is in the end: a program expects one document.
        print_data(made.to_dict(), output)


_TAKEN = {
    "pod": "the name of a pod",
    "namespace": "the name of a namespace",
    "containers": "the name of a container",
    "destination": "a bucket and a prefix, such as s3://cases/2026",
    "subpath": "a folder, such as forensics/2026",
    "incident": INCIDENT_ID,
}
"""What options take whose values have to look like something."""
_OPTIONS = {
    "pod": "POD",
    "namespace": "--namespace",
    "destination": "--to",
    "subpath": "--subpath",
    "containers": "--container",
    "artifacts": "--artifact",
    "reason": "--reason",
    "incident": "--incident",
    "retention": "--retention-days",
    "encryption": "--kms-key-id",
    "recordSeconds": "--record",
    "volumes": "--volume",
    "deletedBudget": "--deleted-budget",
    "freeze": "--no-freeze",
    "activeDeadlineSeconds": "--deadline",
    "ttlSecondsAfterFinished": "--ttl",
}
"""What the fields of the spec are called on the command line."""


def pod_name(text: str) -> str:
    """Return the pod's name, which kubectl also takes as `pod/NAME`."""
    kind, _, name = text.rpartition("/")
    # Another kind stays as it was typed, so that the error names all of it.
    return name if kind in {"", "pod", "pods", "po"} else text


def build_spec(pod: str, namespace: str, given: Mapping[str, Any]) -> PodCheckpointSpec:
    """Return the spec with what was given, and nothing else: the rest is the cluster's to say.

    `given` has the options by their names in Python; what is None or empty was not given. Raises
    `UsageError` that names the first option which does not fit.
    """
    from forensics_core._internal.arguments import checked_arguments
    from forensics_core.api.podcheckpoint import PodCheckpointSpec

    fields = {
        "pod": pod_name(pod),
        "namespace": namespace,
        "destination": given.get("to"),
        "subpath": given.get("subpath"),
        "containers": given.get("containers"),
        "artifacts": given.get("artifacts"),
        "compression": given.get("compression"),
        "pause": given.get("pause") or None,
        "reason": given.get("reason"),
        "incident": given.get("incident"),
        "retention": _retention(given),
        "isolate": given.get("isolate") or None,
        "afterCapture": AFTER_CAPTURE.get(given.get("after_capture") or ""),
        "encryption": {"kmsKeyId": given["kms_key_id"]} if given.get("kms_key_id") else None,
        "recordSeconds": given.get("record"),
        "volumes": given.get("volumes"),
        "deletedBudget": given.get("deleted_budget"),
        "freeze": False if given.get("no_freeze") else None,
        "activeDeadlineSeconds": given.get("deadline"),
        "ttlSecondsAfterFinished": given.get("ttl"),
    }
    # An empty subpath means none, and is not the default.
    wanted = {
        name: value
        for name, value in fields.items()
        if value not in (None, (), "") or (name == "subpath" and value == "")
    }
    hint = "See `forensics checkpoint --help` for what it takes"
    with checked_arguments(_OPTIONS, takes=_TAKEN, hint=hint):
        return PodCheckpointSpec.model_validate(wanted)


def _retention(given: Mapping[str, Any]) -> dict[str, Any] | None:
    named = {
        "days": given.get("retention_days"),
        "mode": given.get("retention_mode"),
        "legalHold": given.get("legal_hold") or None,
    }
    said = {name: value for name, value in named.items() if value is not None}
    if said.keys() == {"mode"}:
        raise UsageError(
            "--retention-mode needs to know for how long", hint="Add --retention-days N"
        )
    return said or None
