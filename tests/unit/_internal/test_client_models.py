"""Programs of ours load the client library without its models; the client itself works."""

from __future__ import annotations

import subprocess
import sys

import pytest

LEAN = """
import sys
from forensics_core._internal.client_models import leave_models_out

assert leave_models_out()
import forensics_core.kube.sessions, forensics_core.kube.credentials
from kubernetes_asyncio import client

models = [name for name in sys.modules if name.startswith("kubernetes_asyncio.client.models.")]
assert not models, models
assert client.ApiClient is forensics_core.kube.sessions.ApiClient
assert client.Configuration(host="https://pods.example").host == "https://pods.example"
assert not hasattr(client, "V1Pod")
assert not leave_models_out()
"""
TOO_LATE = """
from kubernetes_asyncio import client
from forensics_core._internal.client_models import leave_models_out

assert not leave_models_out()
assert client.V1Pod
"""
MISSING = """
import sys
from forensics_core._internal.client_models import leave_models_out

sys.path[:] = [path for path in sys.path if "site-packages" not in path]
assert not leave_models_out()
assert "kubernetes_asyncio" not in sys.modules
"""
CHANGED = """
import sys, tempfile, pathlib
from forensics_core._internal.client_models import leave_models_out

folder = pathlib.Path(tempfile.mkdtemp()) / "kubernetes_asyncio"
folder.mkdir()
(folder / "__init__.py").touch()
sys.path.insert(0, str(folder.parent))
assert not leave_models_out()
assert "kubernetes_asyncio" not in sys.modules
"""


@pytest.mark.parametrize("script", [LEAN, TOO_LATE, MISSING, CHANGED])
def test_models_are_left_out_where_nobody_has_them_yet(script: str) -> None:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("program", ["forensics_core.operator", "slackbot"])
def test_programs_start_without_the_models(program: str) -> None:
    script = f"""
import sys
import {program}

sys.argv = ["program", "--help"]
try:
    {program}.start()
except SystemExit as end:
    assert not end.code
assert "kubernetes_asyncio.client.api_client" in sys.modules
assert not any(name.startswith("kubernetes_asyncio.client.models.") for name in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
