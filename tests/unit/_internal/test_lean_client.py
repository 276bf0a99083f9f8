"""The client of Kubernetes comes without its models, which are there for whoever asks."""

from __future__ import annotations

import subprocess
import sys

import pytest

BEGIN = """
import sys
from forensics_core._internal.lean_client import load_models_by_need
def models():
    return [name for name in sys.modules if ".client.models." in name or ".client.api." in name]
"""
SCRIPTS = {
    "ours need no model": """
assert load_models_by_need()
import forensics_core.operator.main
from kubernetes_asyncio.client import ApiClient, Configuration
import forensics_core.kube.sessions
assert ApiClient is forensics_core.kube.sessions.ApiClient
assert Configuration(host="https://pods.example").host == "https://pods.example"
assert not models(), models()
""",
    "a model is there once it is asked for": """
assert load_models_by_need()
from kubernetes_asyncio import client
assert not models()
assert client.V1Pod(kind="Pod").kind == "Pod"
assert client.CoreV1Api.__module__ == "kubernetes_asyncio.client.api.core_v1_api"
assert client.__version__
assert len(models()) > 500
""",
    "a model is there for the client that reads one": """
assert load_models_by_need()
import asyncio
from kubernetes_asyncio.client import ApiClient
class Answer:
    data = '{"kind": "Pod"}'
async def read():
    async with ApiClient() as client:
        return client.deserialize(Answer, "V1Pod")
assert asyncio.run(read()).kind == "Pod"
""",
    "all of a package is there for whoever takes all of it": """
assert load_models_by_need()
from kubernetes_asyncio.client import *
assert V1Pod.__name__ == "V1Pod"
from kubernetes_asyncio import watch
assert watch.Watch
""",
    "the packages tell what the interpreter asks": """
assert load_models_by_need()
import kubernetes_asyncio
assert not hasattr(kubernetes_asyncio, "__wrapped__")
assert not hasattr(kubernetes_asyncio.client, "V1NoSuchThing")
assert kubernetes_asyncio.__version__
""",
    "what was loaded stays": """
from kubernetes_asyncio import client
assert not load_models_by_need()
assert client.V1Pod
""",
    "what is not installed stays away": """
sys.path = []
assert not load_models_by_need()
assert "kubernetes_asyncio" not in sys.modules
""",
}


@pytest.mark.parametrize("case", SCRIPTS)
def test_the_client_of_kubernetes_is_loaded_by_need(case: str) -> None:
    program = BEGIN + SCRIPTS[case]
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", ["forensics_core.operator:start", "slackbot:start"])
def test_our_services_start_without_models(command: str) -> None:
    module, _, name = command.partition(":")
    program = f"""
import atexit, sys
sys.argv[1:] = ["--help"]
def check():
    loaded = [name for name in sys.modules if name.startswith("kubernetes_asyncio.client.models.")]
    print("models:", len(loaded))
atexit.register(check)
from {module} import {name}
{name}()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.endswith("models: 0\n"), (done.stdout, done.stderr)
