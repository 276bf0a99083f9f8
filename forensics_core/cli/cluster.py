"""The cluster that a command is about: the options that lead there, and what it refuses."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from forensics_core._internal.extras import needing
from forensics_core._internal.lean_client import load_models_by_need
from forensics_core.errors import AlreadyExists, ClusterError, Forbidden, Invalid, NotFound

if TYPE_CHECKING:
    from forensics_core.kube import ClusterConnection, PodCheckpoints

NAMESPACE = "forensics-system"
"""Where PodCheckpoints live unless the operator is set otherwise."""
_REQUEST = re.compile(r"^(GET|POST|PUT|PATCH|DELETE) /\S*: ")
"""How messages of the gateway begin; nobody typed that."""
_DENIED = re.compile(r"^.* denied request: ", re.DOTALL)
"""How an admission policy's answer begins, before the words of its author."""
_UNKNOWN_KIND = ("404 page not found", "could not find the requested resource", "HTTP 404")
"""What an API server says that does not serve the resource."""


@dataclass(frozen=True, slots=True)
class ClusterAccess:
    """Which cluster, and the namespace in it that holds PodCheckpoints."""

    namespace: str
    kubeconfig: str | None = None
    context: str | None = None

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[ClusterConnection]:
        """Connect. What the API server refuses in the block is told as people need it."""
        # Its client is an extra: reading bundles needs none.
        with needing("operator", "Talking to a cluster"):
            load_models_by_need()
            from forensics_core.kube import connect
        with explained_refusals(self.namespace):
            async with connect(self.kubeconfig, context=self.context) as cluster:
                yield cluster

    @asynccontextmanager
    async def checkpoints(self) -> AsyncIterator[PodCheckpoints]:
        """Connect, and yield the client of the PodCheckpoints."""
        async with self.connect() as cluster:
            yield self.client(cluster)

    def client(self, cluster: ClusterConnection) -> PodCheckpoints:
        """Return the client of the PodCheckpoints."""
        from forensics_core.kube import PodCheckpoints

        return PodCheckpoints(cluster, self.namespace)


def cluster_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--kubeconfig`, `--context` and `--checkpoint-namespace`, passed as one `access`."""

    @wraps(command)
    def with_access(
        *, checkpoint_namespace: str, kubeconfig: str | None, context: str | None, **given: Any
    ) -> Any:
        access = ClusterAccess(checkpoint_namespace, kubeconfig, context)
        return command(access=access, **given)

    # Backwards, as click shows first what was added last.
    for option in reversed(_CLUSTER_OPTIONS):
        with_access = option(with_access)
    return with_access


_CLUSTER_OPTIONS = (
    click.option(
        "--checkpoint-namespace",
        metavar="NS",
        default=NAMESPACE,
        envvar="FORENSICS_NAMESPACE",
        show_default=True,
        show_envvar=True,
        help="Where PodCheckpoints live.",
    ),
    click.option("--context", metavar="NAME", help="The kubeconfig's context to use."),
    click.option(
        "--kubeconfig",
        metavar="FILE",
        type=click.Path(exists=True, dir_okay=False),
        help="Default: what KUBECONFIG names, else ~/.kube/config.",
    ),
)


@contextmanager
def explained_refusals(namespace: str) -> Iterator[None]:
    """Raise what the API server refuses in the block in the words of whoever typed the command.

    `namespace` is where PodCheckpoints were looked for.
    """
    try:
        yield
    except (AlreadyExists, Forbidden, Invalid, NotFound) as error:
        message = _REQUEST.sub("", error.message)
        said, hint = _explanation(message, error, namespace)
        raise type(error)(said, hint=hint) from error


def _explanation(message: str, error: ClusterError, namespace: str) -> tuple[str, str]:
    if _DENIED.match(message):
        return _DENIED.sub("", message), "The cluster's admission policy refused the request"
    # Nothing but its words tells an unknown resource from an unknown name: both are a 404.
    if isinstance(error, NotFound) and any(said in message for said in _UNKNOWN_KIND):
        return (
            "The cluster knows no PodCheckpoints",
            "Install kube-forensics into it (make deploy), or choose another with --context",
        )
    if isinstance(error, NotFound) and f'namespaces "{namespace}" not found' in message:
        return (
            f"There is no namespace '{namespace}' for PodCheckpoints",
            "Install kube-forensics (make deploy), or name another with --checkpoint-namespace",
        )
    return message, error.hint
