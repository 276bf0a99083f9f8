"""The gateway to the cluster: clients, list-and-watch, leases, events, permissions, logs.

Everything runs on one `ClusterConnection`, which `connect` opens from the kubeconfig or from inside
a pod::

    async with connect() as cluster:
        checkpoint = await PodCheckpoints(cluster).wait("web-0")
"""

from forensics_core.kube.connection import ClusterConnection, connect
from forensics_core.kube.podcheckpoints import PodCheckpoints

__all__ = ["ClusterConnection", "PodCheckpoints", "connect"]
