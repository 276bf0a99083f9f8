"""Where PodCheckpoints are: the options that lead to a cluster, and the connection they open."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from forensics_core._internal.extras import needing

if TYPE_CHECKING:
    from forensics_core.kube import Cluster, PodCheckpoints

NAMESPACE = "forensics-system"
"""Where PodCheckpoints live unless the operator is set otherwise."""


@dataclass(frozen=True, slots=True)
class Place:
    """A cluster, and the namespace in it that holds PodCheckpoints."""

    namespace: str
    kubeconfig: str | None = None
    context: str | None = None

    @asynccontextmanager
    async def cluster(self) -> AsyncIterator[Cluster]:
        """Connect. Errors of the block are told as people need them; see `explaining`."""
        from forensics_core.cli.explaining import explaining

        with needing("operator", "Talking to a cluster"):
            from forensics_core.kube import connect
        with explaining(self.namespace):
            async with connect(self.kubeconfig, context=self.context) as cluster:
                yield cluster

    @asynccontextmanager
    async def checkpoints(self) -> AsyncIterator[PodCheckpoints]:
        """Connect, and yield the client of the PodCheckpoints here."""
        async with self.cluster() as cluster:
            yield self.of(cluster)

    def of(self, cluster: Cluster) -> PodCheckpoints:
        """Return the client of the PodCheckpoints here."""
        from forensics_core.kube import PodCheckpoints

        return PodCheckpoints(cluster, self.namespace)


def place_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--kubeconfig`, `--context` and `--checkpoint-namespace`, passed as one `place`."""

    @wraps(command)
    def with_place(
        *, checkpoint_namespace: str, kubeconfig: str | None, context: str | None, **given: Any
    ) -> Any:
        return command(place=Place(checkpoint_namespace, kubeconfig, context), **given)

    for option in reversed(_OPTIONS):
        with_place = option(with_place)
    return with_place


_OPTIONS = (
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
