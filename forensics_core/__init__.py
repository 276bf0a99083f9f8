"""Capture running Kubernetes pods as verifiable evidence, streamed to object storage.

What most scripts need is named here, and loaded when it is first used::

    from forensics_core import verify

    verification = await verify("s3://cases/forensics/20260801T101112Z_shop_web_4f2a-1")

With the extra `operator` installed, also what talks to a cluster::

    async with connect() as cluster:
        checkpoints = PodCheckpoints(cluster, "forensics-system")
        made = await checkpoints.create(PodCheckpointSpec(pod="web-0", namespace="shop"))
        done = await checkpoints.wait(made.metadata.name)  # raises CheckpointFailed
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from forensics_core.version import __version__

if TYPE_CHECKING:
    from forensics_core.api.podcheckpoint import PodCheckpoint, PodCheckpointSpec
    from forensics_core.bundle.fetch import Fetched, fetch
    from forensics_core.bundle.identity import EvidenceIdentity
    from forensics_core.bundle.manifest import Statement
    from forensics_core.bundle.reader import BundleReader, open_bundle
    from forensics_core.bundle.seal import generate_key, sign, verify_seal
    from forensics_core.bundle.verification import Problem, ProblemKind, SealState, Verification
    from forensics_core.bundle.verify import verify
    from forensics_core.bundle.writer import BundleWriter
    from forensics_core.errors import (
        AccessDenied,
        BundleNotFound,
        CheckpointFailed,
        ClusterError,
        DestinationError,
        ForensicsError,
        UsageError,
        VerificationError,
    )
    from forensics_core.kube.connection import Cluster, connect
    from forensics_core.kube.podcheckpoints import PodCheckpoints
    from forensics_core.pipeline.meter import Meter
    from forensics_core.storage.s3.client import S3Access
    from forensics_core.storage.storage import open_destination


__all__ = [
    "AccessDenied",
    "BundleNotFound",
    "BundleReader",
    "BundleWriter",
    "CheckpointFailed",
    "Cluster",
    "ClusterError",
    "DestinationError",
    "EvidenceIdentity",
    "Fetched",
    "ForensicsError",
    "Meter",
    "PodCheckpoint",
    "PodCheckpointSpec",
    "PodCheckpoints",
    "Problem",
    "ProblemKind",
    "S3Access",
    "SealState",
    "Statement",
    "UsageError",
    "Verification",
    "VerificationError",
    "__version__",
    "connect",
    "fetch",
    "generate_key",
    "open_bundle",
    "open_destination",
    "sign",
    "verify",
    "verify_seal",
]

_HOMES = {
    "api.podcheckpoint": "PodCheckpoint PodCheckpointSpec",
    "errors": (
        "AccessDenied BundleNotFound CheckpointFailed ClusterError DestinationError "
        "ForensicsError UsageError VerificationError"
    ),
    "bundle.writer": "BundleWriter",
    "bundle.fetch": "Fetched fetch",
    "bundle.identity": "EvidenceIdentity",
    "bundle.manifest": "Statement",
    "bundle.reader": "BundleReader open_bundle",
    "bundle.seal": "generate_key sign verify_seal",
    "bundle.verification": "Problem ProblemKind SealState Verification",
    "bundle.verify": "verify",
    "storage.storage": "open_destination",
    "pipeline.meter": "Meter",
    "storage.s3.client": "S3Access",
    "kube.connection": "Cluster connect",
    "kube.podcheckpoints": "PodCheckpoints",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    """Load a public name from its module: importing this package must cost nothing."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
