"""Have a cluster capture a pod, follow it, and learn where the evidence is::

    from forensics_core.checkpoints import connect

    async with connect() as cluster:
        checkpoint = await cluster.checkpoint("web-0", namespace="shop", to="s3://cases")
        async for progress in checkpoint.progress():
            print(progress.summary)
        evidence = await checkpoint.captured()  # raises CheckpointFailed with reason and hint

Many pods are one `Incident`: `cluster.incident("INC-7")` asks for all of them, and says which may
be killed. It needs the extra `operator`, and an operator in the cluster that does the work. Who
stops following a checkpoint does not stop its capture: `Checkpoint.cancel` does.
"""

from __future__ import annotations

from forensics_core.checkpoints.cluster import Checkpoint, Cluster, connect
from forensics_core.checkpoints.incident import Incident
from forensics_core.checkpoints.options import CheckpointOptions

__all__ = ["Checkpoint", "CheckpointOptions", "Cluster", "Incident", "connect"]
