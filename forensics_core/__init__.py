"""Capture running Kubernetes pods as verifiable evidence, streamed to object storage.

Have a cluster capture a pod, and read what comes of it::

    from forensics_core import connect, open_bundle

    async with connect() as cluster:
        checkpoint = await cluster.checkpoint("web-0", namespace="shop", to="s3://cases")
        evidence = await checkpoint.captured()  # raises CheckpointFailed with reason and hint
    async with open_bundle(evidence.location, key=public_key) as bundle:
        passwd = await bundle.container("web").read("/etc/passwd")

Public are the names of this package and those of the modules `checkpoints`, `bundles`, `capture`,
`seals`, `models` and `errors`; `docs/library.md` has a table of them all. Everything else may
change with any release: the rooms `api`, `storage`, `bundle`, `kube` and so on, and `_internal`.
What is named here is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from forensics_core.version import __version__

if TYPE_CHECKING:
    from forensics_core.bundle.reader import BundleReader
    from forensics_core.bundle.writer import BundleWriter
    from forensics_core.bundles import Bundle, fetch, open_bundle, verify
    from forensics_core.capture import capture_container
    from forensics_core.checkpoints import Checkpoint, Cluster, Incident, connect
    from forensics_core.errors import (
        AccessDenied,
        BundleNotFound,
        CheckpointFailed,
        ClusterError,
        ContainerNotFound,
        DestinationError,
        ForensicsError,
        NotFound,
        NotInBundle,
        UsageError,
        VerificationError,
    )
    from forensics_core.kube.podcheckpoints import PodCheckpoints
    from forensics_core.models import (
        Evidence,
        EvidenceIdentity,
        Fetched,
        Meter,
        PodCheckpoint,
        PodCheckpointSpec,
        Problem,
        ProblemKind,
        S3Access,
        SealState,
        Statement,
        Verification,
    )
    from forensics_core.seals import generate_key, sign, verify_seal
    from forensics_core.storage.storage import open_destination


__all__ = [
    "AccessDenied",
    "Bundle",
    "BundleNotFound",
    "BundleReader",
    "BundleWriter",
    "Checkpoint",
    "CheckpointFailed",
    "Cluster",
    "ClusterError",
    "ContainerNotFound",
    "DestinationError",
    "Evidence",
    "EvidenceIdentity",
    "Fetched",
    "ForensicsError",
    "Incident",
    "Meter",
    "NotFound",
    "NotInBundle",
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
    "capture_container",
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
    "bundles": "Bundle fetch open_bundle verify",
    "capture": "capture_container",
    "checkpoints": "Checkpoint Cluster Incident connect",
    "errors": (
        "AccessDenied BundleNotFound CheckpointFailed ClusterError ContainerNotFound "
        "DestinationError ForensicsError NotFound NotInBundle UsageError VerificationError"
    ),
    "models": (
        "Evidence EvidenceIdentity Fetched Meter PodCheckpoint PodCheckpointSpec Problem "
        "ProblemKind S3Access SealState Statement Verification"
    ),
    "seals": "generate_key sign verify_seal",
    # For programs that write bundles or resources of their own; public since the first release.
    "bundle.reader": "BundleReader",
    "bundle.writer": "BundleWriter",
    "kube.podcheckpoints": "PodCheckpoints",
    "storage.storage": "open_destination",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    """Load a public name from its module: importing this package must cost nothing."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
