"""`forensics checkpoint`: ask the cluster for a pod's evidence."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from forensics_core.cli.durations import duration
from forensics_core.cli.options import object_output_option
from forensics_core.cli.place import Place, place_options
from forensics_core.cli.render import clean, say
from forensics_core.cli.running import run
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
COMPRESSIONS = ("zstd", "none")
MODES = ("Governance", "Compliance")


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
    help="How the file system is stored.  [default: zstd]",
)
@click.option("--pause", is_flag=True, help="Freeze the containers meanwhile.")
@click.option("--incident", metavar="ID", help="The incident it belongs to.")
@click.option("--reason", metavar="TEXT", help="Why it is captured; goes into the manifest.")
@click.option("--retention-days", type=click.IntRange(1, 36500), help="Object Lock: for how long.")
@click.option(
    "--retention-mode",
    type=click.Choice(MODES, case_sensitive=False),
    help="Object Lock: who may lift it.  [default: Governance]",
)
@click.option("--legal-hold", is_flag=True, help="Object Lock: hold until somebody lifts it.")
@click.option("--kms-key-id", metavar="K", help="Encrypt with this key of the KMS.")
@click.option(
    "--deadline",
    type=duration,
    metavar="TIME",
    help="End by then with what there is.  [default: 1h]",
)
@click.option(
    "--ttl",
    type=duration,
    metavar="TIME",
    help="Delete the request, not the evidence, so long after.",
)
@click.option("--name", help="What to call the request.  [default: made of the pod's name]")
@click.option("--wait", is_flag=True, help="Follow it to its end.")
@click.option(
    "--timeout", type=duration, metavar="TIME", help="With --wait: stop waiting after that."
)
@click.option("--dry-run", is_flag=True, help="Ask the cluster whether it would be accepted.")
@place_options
@object_output_option
def checkpoint_command(
    pod: str,
    namespace: str | None,
    name: str | None,
    wait: bool,
    timeout: int | None,
    dry_run: bool,
    place: Place,
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

        preview(pod, namespace, name, given, place, output)
    else:
        made = partial(_create, pod, namespace, name, given, place)
        _report(run(made), place, output, wait=wait, timeout=timeout)


async def _create(
    pod: str, namespace: str | None, name: str | None, given: dict[str, Any], place: Place
) -> PodCheckpoint:
    from forensics_core.cli.request import build_spec

    async with place.cluster() as cluster:
        spec = build_spec(pod, namespace or cluster.namespace, given)
        return await place.of(cluster).create(spec, name=name)


def _report(
    made: PodCheckpoint, place: Place, output: str, *, wait: bool, timeout: int | None
) -> None:
    from forensics_core.cli.describing import say_data
    from forensics_core.cli.following import called, follow

    if output == "text":
        say(f"Created the checkpoint {clean(made.metadata.name)}")
    if wait:
        follow(made.metadata.name, place, output, timeout)
    elif output == "text":
        say(f"Follow it with: {called()} watch {clean(made.metadata.name)}")
    else:
        say_data(made.to_dict(), output)
