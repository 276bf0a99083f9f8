"""A loopback Kubernetes API and Job runner, for tests and demos, ours and yours.

    async with LoopbackCluster() as cluster:
        cluster.seed_pod("web")
        config = await cluster.kubeconfig(tmp_path / "kubeconfig")
        ...  # kubectl, kubernetes_asyncio or anything else, against the file or `cluster.url`

It behaves like a Kubernetes 1.36 in what clients and controllers rely on: versions, conflicts,
watches with bookmarks and 410, server-side apply, status subresources, finalizers, owner
references, custom resources with validation and printer columns, Jobs whose pods really run
(`ProcessRunner`) or end as a test says (any async function), logs that can be followed.

`Fault`s break it on purpose, `cluster.records` counts what was asked of it, a `Policy` or
`cluster.enforce_rbac()` decides who may do what.

It is not a Kubernetes. One process holds everything in memory. There are no admission webhooks and
policies, no controllers but those for Jobs, their pods and garbage, no conversion between versions
of a custom resource; a CEL rule with a function that only Kubernetes has passes.

    client        the API as kubelet and controllers see it, over HTTP or in the process
    controllers   the scheduler and the Job controller
    kinds         resources, objects, errors: what everybody here knows of each kind
    kubelet       runs pods, serves their logs; joins any cluster as a node by a kubeconfig
    printing      objects as tables, as lists, as metadata alone
    server        HTTP: requests, watches, discovery, access, faults
    storage       the store, its verbs, the ways to patch, deletion and garbage
    validation    names, schemas and their CEL rules, defaults and checks of built-in kinds
"""

from forensics_core._internal.extras import needing

with needing("loopback", "The loopback cluster"):
    from forensics_loopback.cluster import LoopbackCluster
    from forensics_loopback.kinds.status import ApiError
    from forensics_loopback.kubelet.logs import LogOptions
    from forensics_loopback.kubelet.process import ProcessRunner
    from forensics_loopback.kubelet.runner import ContainerExit, JobRunner, RunningPod, succeed
    from forensics_loopback.server.access import (
        ADMIN,
        AccessAttributes,
        Policy,
        User,
        allow_all,
        rbac,
    )
    from forensics_loopback.server.faults import WRITES, Fault, FaultQueue, Faults
    from forensics_loopback.server.requests import READS, WATCHES, Recorded, Records
    from forensics_loopback.server.server import TOKEN

__all__ = [
    "ADMIN",
    "READS",
    "TOKEN",
    "WATCHES",
    "WRITES",
    "AccessAttributes",
    "ApiError",
    "ContainerExit",
    "Fault",
    "FaultQueue",
    "Faults",
    "JobRunner",
    "LogOptions",
    "LoopbackCluster",
    "Policy",
    "ProcessRunner",
    "Recorded",
    "Records",
    "RunningPod",
    "User",
    "allow_all",
    "rbac",
    "succeed",
]
