"""Who may ask for a capture: whoever may exec into the pod. Needs an API server that has policies.

The requests are made by impersonation, on the server's side only: nothing of them stays. Rights and
policies take a moment to come into effect, at each API server another, hence the patience.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from tests.e2e.commands import Commands
from tests.e2e.installation import SYSTEM
from tests.e2e.requests import Requests

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(0)]

RBAC = "rbac.authorization.k8s.io"
STAMP = "forensics.orkaproj.io/requested-by"


@pytest.fixture(scope="module")
def responder(requests: Requests) -> Iterator[str]:
    """Somebody who may create PodCheckpoints, and nothing else."""
    commands, run = requests.commands, requests.commands.inputs.run
    user = f"{run}-ada"
    with binding(commands, SYSTEM, f"{run}-responder", "forensics-responder", user):
        yield user


@contextmanager
def binding(commands: Commands, namespace: str, name: str, role: str, user: str) -> Iterator[None]:
    """Bind a ClusterRole to somebody for the block."""
    where = f"--namespace={namespace}"
    manifest = {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": RBAC, "kind": "User", "name": user}],
    }
    commands.apply(manifest, where)
    try:
        yield
    finally:
        commands.kubectl("delete", "rolebinding", name, where)


@pytest.fixture(scope="module")
def exec_role(requests: Requests) -> Iterator[str]:
    """A ClusterRole with the right to exec into pods."""
    commands, name = requests.commands, f"{requests.commands.inputs.run}-exec"
    rule = {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["create"]}
    manifest = {
        "apiVersion": f"{RBAC}/v1",
        "kind": "ClusterRole",
        "metadata": {"name": name},
        "rules": [rule],
    }
    commands.apply(manifest)
    yield name
    commands.kubectl("delete", "clusterrole", name)


def test_without_the_right_to_exec_nobody_captures(requests: Requests, responder: str) -> None:
    manifest, why = requests.sample("refused"), f"{responder} may not capture the pod"
    requests.commands.until(
        lambda: why in requests.refusal(manifest, f"--as={responder}"),
        "The refusal of a responder who may not exec",
    )


def test_with_it_they_do_but_in_nobody_elses_name(
    requests: Requests, responder: str, exec_role: str
) -> None:
    commands, namespace = requests.commands, requests.target.namespace
    dry = ("--dry-run=server", f"--as={responder}", f"--namespace={SYSTEM}")
    with binding(commands, namespace, exec_role, exec_role, responder):
        manifest = requests.sample("allowed")
        commands.until(lambda: commands.apply(manifest, *dry), "The creation by who may exec")
        manifest["metadata"]["annotations"] = {STAMP: "somebody-else"}
        commands.until(
            lambda: "names somebody else" in requests.refusal(manifest, f"--as={responder}"),
            "The refusal of another name",
        )
        manifest["metadata"]["annotations"] = {STAMP: responder}
        commands.until(lambda: commands.apply(manifest, *dry), "The creation in one's own name")


def test_requests_live_in_their_namespace_only(requests: Requests) -> None:
    manifest: dict[str, Any] = requests.sample("misplaced")
    manifest["metadata"]["namespace"] = requests.target.namespace
    where = f"--namespace={requests.target.namespace}"
    words = ("apply", where, "--dry-run=server", "-f", "-")
    refused = partial(requests.commands.refusal, *words, stdin=json.dumps(manifest))
    requests.commands.until(
        lambda: "not acted on in the namespace" in refused(), "The refusal of another namespace"
    )
