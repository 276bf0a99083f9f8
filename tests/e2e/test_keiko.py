"""A PodCheckpoint of the older group. Needs deploy/overlays/keiko, and `keiko: true`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.existing import look
from tests.e2e.installation import CRD, OPERATOR
from tests.e2e.pods import POD
from tests.e2e.requests import IN_SYSTEM, Requests

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(0)]

THEIRS = "podcheckpoints.forensics.keikoproj.io"


@pytest.fixture
def theirs(requests: Requests) -> Iterator[str]:
    """Apply one of theirs, and return its name."""
    commands = requests.commands
    if commands.get("crd", THEIRS) is None:
        pytest.skip("deploy/overlays/keiko is not applied to this cluster")
    if not look(commands, OPERATOR).settings.keiko:
        pytest.skip("The operator's settings do not say `keiko: true`")
    name = f"{commands.inputs.run}-keiko"
    spec = {
        "destination": commands.inputs.destination,
        "subpath": "forensics",
        "pod": POD,
        "namespace": requests.target.namespace,
    }
    body = {
        "apiVersion": "forensics.keikoproj.io/v1alpha1",
        "kind": "PodCheckpoint",
        "metadata": {"name": name},
        "spec": spec,
    }
    commands.apply(body, IN_SYSTEM)
    yield name
    over = f"--timeout={commands.inputs.timeout}s"
    commands.kubectl("delete", THEIRS, name, IN_SYSTEM, "--ignore-not-found", over)


def test_one_of_theirs_is_one_of_ours_and_goes_with_it(requests: Requests, theirs: str) -> None:
    commands = requests.commands
    over = f"--timeout={commands.inputs.timeout}s"
    commands.kubectl("wait", THEIRS, theirs, IN_SYSTEM, "--for=condition=Complete", over)
    told = commands.kubectl("describe", THEIRS, theirs, IN_SYSTEM)
    assert "Completion Time:" in told and "Succeeded:" in told
    uid = commands.get(THEIRS, theirs, IN_SYSTEM)["metadata"]["uid"]
    ours = f"{theirs[:54]}-{uid[:8]}"
    assert commands.get(CRD, ours, IN_SYSTEM)["status"]["phase"] == "Complete"
    commands.kubectl("delete", THEIRS, theirs, IN_SYSTEM, over)
    commands.until(lambda: commands.get(CRD, ours, IN_SYSTEM) is None, "The end of ours")
