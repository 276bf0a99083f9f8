"""What the client library loads and nobody uses can be given back; what is used stays."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import gc, sys, weakref
import forensics_core.kube.sessions
from kubernetes_asyncio import client
from forensics_core.kube.models import forget_models

pods = weakref.ref(client.V1Pod)
loaded = len(sys.modules)
forgotten = forget_models()
assert forgotten > 500, forgotten
assert len(sys.modules) == loaded - forgotten
assert pods() is None, gc.get_referrers(pods())
assert client.ApiClient is forensics_core.kube.sessions.ApiClient
assert client.Configuration(host="https://pods.example").host == "https://pods.example"
assert forget_models() == 0
"""


def test_models_go_and_the_client_stays() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
