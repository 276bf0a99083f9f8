"""`forensics checkpoint`: ask the cluster for a pod's evidence."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from forensics_core.cli.cluster import ClusterAccess, cluster_options
from forensics_core.cli.options import (
    object_lock_options,
    object_output_option,
    parse_duration,
    size_type,
    volumes_option,
    wait_timeout_option,
)
from forensics_core.cli.program import command_name, run
from forensics_core.cli.render import clean, print_data, print_text
from forensics_core.cli.spec import AFTER_CAPTURE, build_spec
from forensics_core.errors import UsageError

if TYPE_CHECKING:
    from forensics_core.api.podcheckpoint import PodCheckpoint

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
