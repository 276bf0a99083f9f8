"""`forensics incident INC checkpoint`: ask for the evidence of all pods that match."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from forensics_core.cli.cluster import ClusterAccess, cluster_options
from forensics_core.cli.options import object_output_option, wait_timeout_option
from forensics_core.cli.program import Terminated, command_name, run
from forensics_core.cli.render import (
    clean,
    clean_message,
    counted,
    print_data,
    print_text,
    table,
)
from forensics_core.cli.request import checkpoint_command
from forensics_core.cli.spec import AFTER_CAPTURE, build_spec
from forensics_core.cli.watching import CapturedInPart
from forensics_core.errors import ForensicsError, UsageError

if TYPE_CHECKING:
    from forensics_core.api.incident import PodRequest
    from forensics_core.api.selection import PodQuery, SelectedPod, Selection

FEW = 30
"""Pods that are listed one by one without being asked to."""
_LIMIT = 200
"""Spelled out, as the models are only loaded when they are needed; a test compares."""
CONFIRMED = 20
"""More pods than that are captured only once somebody has said yes."""
_MAX_SHOWN = 10
"""Of more than `FEW`: those that are listed."""
_ONE_POD = {"pod", "namespace", "name", "incident", "wait", "timeout", "dry_run", "output"}
_CLUSTER = {"checkpoint_namespace", "kubeconfig", "context"}
CAPTURE_OPTIONS = [
    option for option in checkpoint_command.params if option.name not in _ONE_POD | _CLUSTER
]
"""How each pod is captured: as with one."""


@dataclass(frozen=True, slots=True)
class SelectionRequest:
    """What was typed: which pods, and how they are captured."""

    incident: str
    query: Mapping[str, Any]
    """Arguments of a `PodQuery`, but for the namespace."""
    namespace: str | None
    everywhere: bool
    limit: int
    again: bool
    given: Mapping[str, Any]
    access: ClusterAccess

    @property
    def harms(self) -> bool:
        """Whether it does more to the pods than look at them."""
        after = self.given.get("after_capture")
        return bool(self.given.get("isolate")) or AFTER_CAPTURE.get(after or "", "Keep") != "Keep"


@click.command("checkpoint", short_help="Capture all pods that match.")
@click.option("-n", "--namespace", help="The pods' namespace.  [default: the kubeconfig's]")
@click.option("-A", "--all-namespaces", "everywhere", is_flag=True, help="In all namespaces.")
@click.option("-l", "--selector", metavar="LABELS", default="", help="As in kubectl: app=web.")
@click.option("--owner", metavar="KIND/NAME", default="", help="What made them: deployment/web.")
@click.option("--node", metavar="NAME", default="", help="The node that they run on.")
@click.option(
    "--image",
    metavar="DIGEST",
    default="",
    help="Of a container: sha256: and 12 digits or more, or the image as it is written.",
)
@click.option("--all", "every", is_flag=True, help="All pods there are.")
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000),
    default=_LIMIT,
    show_default=True,
    help="If more match, none is captured.",
)
@click.option("--again", is_flag=True, help="Also those that are captured already, or under way.")
@click.option("-y", "--yes", is_flag=True, help=f"Do not ask, also for more than {CONFIRMED} pods.")
@click.option("--wait", is_flag=True, help="Follow all of them to their end.")
@wait_timeout_option
@click.option("--dry-run", is_flag=True, help="List the pods, and ask for nothing.")
@cluster_options
@object_output_option
@click.pass_obj
def incident_checkpoint_command(
    incident: str,
    /,
    namespace: str | None,
    everywhere: bool,
    selector: str,
    owner: str,
    node: str,
    image: str,
    every: bool,
    limit: int,
    again: bool,
    yes: bool,
    wait: bool,
    timeout: int | None,
    dry_run: bool,
    access: ClusterAccess,
    output: str,
    **given: Any,
) -> None:
    """Ask for the evidence of all pods that match, dying and crash-looping ones first.

    All that is given has to match. A pod whose capture was asked for already, for this incident and
    without failing, is left alone: the same command asks for what is missing. Ends with 0 once the
    cluster has accepted all requests, 4 if it refused some of them, 1 if it refused all.
    """
    if timeout is not None and not wait:
        raise UsageError("--timeout is for --wait", hint="Add --wait")
    query = {"selector": selector, "owner": owner, "node": node, "image": image, "every": every}
    request = SelectionRequest(incident, query, namespace, everywhere, limit, again, given, access)
    selection = run(partial(_select, request))
    selection.check()
    if dry_run:
        _print_preview(selection, run(partial(_request, request, selection, dry_run=True)), output)
        return
    if output == "text":
        print_text("\n".join(_preview(selection)))
    _confirm(request, selection, yes=yes)
    requests = _uninterrupted(request, selection)
    _print_requests(request, requests, output, wait=wait)
    if wait and any(one.checkpoint for one in requests):
        from forensics_core.cli.incident_status import watch_incident

        watch_incident(incident, access, output, timeout)
    _raise_for_refused(requests)


async def _select(request: SelectionRequest) -> Selection:
    from forensics_core.kube.selection import select

    _spec(request)
    async with request.access.connect() as cluster:
        query = _query(request, cluster.namespace)
        return await select(
            cluster, query, limit=request.limit, collectors_in=request.access.namespace
        )


def _query(request: SelectionRequest, default: str) -> PodQuery:
    from forensics_core.api.selection import PodQuery

    if request.everywhere and request.namespace:
        raise UsageError("-n and -A contradict each other", hint="Leave one of them out")
    if not any(request.query.values()):
        raise UsageError(
            "Nothing says which pods are meant",
            hint="Add -l LABELS, --owner KIND/NAME, --node NAME, --image DIGEST, or --all",
        )
    return PodQuery(None if request.everywhere else request.namespace or default, **request.query)


def _spec(request: SelectionRequest) -> Any:
    """Return the spec for all of them; only its pod is another one each time."""
    if not request.incident:
        raise UsageError("The incident has no id", hint="Name one, such as INC-7")
    return build_spec("any", "default", {**request.given, "incident": request.incident})


async def _request(
    request: SelectionRequest, selection: Selection, *, dry_run: bool = False
) -> list[PodRequest]:
    from forensics_core.kube.incident import request_captures

    async with request.access.checkpoints() as checkpoints:
        return await request_captures(
            checkpoints, selection.pods, _spec(request), again=request.again, dry_run=dry_run
        )


def _uninterrupted(request: SelectionRequest, selection: Selection) -> list[PodRequest]:
    try:
        return run(partial(_request, request, selection))
    except (KeyboardInterrupt, Terminated) as error:
        raise type(error)(
            "Stopped asking. What was asked for goes on: "
            f"`{_command(request)} status` shows it, and the same command asks for the rest."
        ) from error


def _command(request: SelectionRequest) -> str:
    return f"{command_name()} incident {clean(request.incident)}"


def _confirm(request: SelectionRequest, selection: Selection, *, yes: bool) -> None:
    """Ask before many pods are captured, and before any is isolated or deleted.

    Raises `UsageError` where nobody can answer, `click.Abort` if the answer is no.
    """
    if yes or (selection.total <= CONFIRMED and not request.harms):
        return
    what = f"capture {counted(selection.total, 'pod')}"
    if request.given.get("isolate"):
        what += ", and cut each off the network"
    after = AFTER_CAPTURE.get(request.given.get("after_capture") or "", "Keep")
    what += ", and delete each once it is captured" if after != "Keep" else ""
    if not sys.stdin.isatty():
        raise UsageError(f"This would {what}", hint="Add --yes, or see them first with --dry-run")
    click.confirm(f"{what.capitalize()}?", abort=True, err=True)


def _preview(selection: Selection, *, whole: bool = False) -> Iterator[str]:
    """Yield how many pods there are, and which; the first ones of many unless `whole`."""
    pods = selection.pods
    states = Counter(clean(pod.state) for pod in pods).most_common()
    nodes = len({pod.node for pod in pods})
    told = ", ".join(f"{count} {state}" for state, count in states)
    found = "1 pod matches" if len(pods) == 1 else f"{len(pods):,} pods match"
    yield f"{found} {clean(str(selection.query))}: {told}, on {counted(nodes, 'node')}"
    shown = pods if whole or len(pods) <= FEW else pods[:_MAX_SHOWN]
    yield _pod_table(shown)
    if len(shown) < len(pods):
        yield f"... and {len(pods) - len(shown):,} more: --dry-run lists all"


def _pod_table(pods: Sequence[SelectedPod]) -> str:
    rows = [(str(pod), pod.state, pod.node or "(none yet)", pod.owner) for pod in pods]
    return table(("POD", "STATE", "NODE", "OWNER"), rows)


def _print_preview(selection: Selection, requests: list[PodRequest], output: str) -> None:
    if output != "text":
        data = {"total": selection.total, "requests": [one.to_dict() for one in requests]}
        print_data({"dryRun": True} | data, output)
        return
    print_text("\n".join(_preview(selection, whole=True)))
    print_text("")
    print_text(f"Dry run: nothing was created. {_outcome(requests, would=True)}")
    _print_refused(requests)


def _outcome(requests: Sequence[PodRequest], *, would: bool = False) -> str:
    states = Counter(str(one.state) for one in requests)
    accepted, existing, refused = (states[each] for each in ("Created", "Existing", "Refused"))
    verb = "Would ask" if would else "Asked"
    told = f"{verb} for the capture of {counted(accepted, 'pod')}."
    told += f" {existing:,} asked for before." if existing else ""
    told += f" {refused:,} refused." if refused else ""
    return told


def _print_requests(
    request: SelectionRequest, requests: list[PodRequest], output: str, *, wait: bool
) -> None:
    if output != "text":
        if wait:
            # Whoever waits gets how all of them stand in the end: a program expects one document.
            _print_refused(requests, err=True)
        else:
            items = [one.to_dict() for one in requests]
            print_data({"incident": request.incident, "requests": items}, output)
        return
    print_text(f"\n{_outcome(requests)}")
    _print_refused(requests)
    if not wait and any(one.checkpoint for one in requests):
        print_text(f"Follow it with: {_command(request)} status --watch")


def _print_refused(requests: Sequence[PodRequest], *, err: bool = False) -> None:
    for one in requests:
        if one.error is not None:
            line = f"Refused: {clean(str(one.pod))}: {clean_message(str(one.error))}"
            click.echo(line, err=err)


def _raise_for_refused(requests: Sequence[PodRequest]) -> None:
    """Raise an error if not all were accepted; of code 4 if some were."""
    refused = [one for one in requests if one.error is not None]
    if not refused:
        return
    message = f"{len(refused):,} of {counted(len(requests), 'request')} were refused"
    hint = "See why each was; the same command asks for those that are missing"
    if len(refused) == len(requests):
        raise ForensicsError(message, hint=hint)
    raise CapturedInPart(message, hint=hint)


# Behind the command's own, in the order in which `forensics checkpoint` has them.
incident_checkpoint_command.params += CAPTURE_OPTIONS
