from __future__ import annotations

import json

import pytest

from forensics_core.cli.cluster import explained_refusals
from forensics_core.errors import ApiUnavailable, ClusterError, Forbidden, NotFound
from forensics_core.kube.answers import failure

CREATE = "POST /apis/forensics.orkaproj.io/v1alpha1/namespaces/forensics-system/podcheckpoints"
DENIAL = (
    'podcheckpoints.forensics.orkaproj.io "web-0" is forbidden: ValidatingAdmissionPolicy '
    "'podcheckpoints.forensics.orkaproj.io' with binding 'podcheckpoints.forensics.orkaproj.io' "
    "denied request: ada may not capture the pod web-0 in shop: that takes the right to create "
    "pods/exec there"
)


def explained(code: int, message: str | None) -> ClusterError:
    """Return what becomes of an answer; a message of None stands for one that is no Status."""
    status = {"kind": "Status", "code": code, "message": message}
    body = b"404 page not found\n" if message is None else json.dumps(status).encode()
    with pytest.raises(ClusterError) as raised, explained_refusals("forensics-system"):
        raise failure(CREATE, code, {}, body)
    return raised.value


def test_a_policy_speaks_in_its_own_words() -> None:
    error = explained(403, DENIAL)
    assert isinstance(error, Forbidden)
    assert error.message.startswith("ada may not capture the pod web-0 in shop")
    assert "policy" in error.hint


def test_a_missing_right_is_told_without_the_request() -> None:
    error = explained(403, 'User "ada" cannot create resource "podcheckpoints"')
    assert error.message == 'User "ada" cannot create resource "podcheckpoints"'
    assert "can-i" in error.hint


@pytest.mark.parametrize("said", [None, "the server could not find the requested resource"])
def test_a_cluster_without_the_resource(said: str | None) -> None:
    error = explained(404, said)
    assert isinstance(error, NotFound)
    assert error.message == "The cluster knows no PodCheckpoints"
    assert "make deploy" in error.hint


def test_a_cluster_without_the_namespace() -> None:
    error = explained(404, 'namespaces "forensics-system" not found')
    assert "no namespace 'forensics-system'" in error.message
    assert "--checkpoint-namespace" in error.hint


def test_an_unknown_name_stays_what_it_is() -> None:
    error = explained(404, 'podcheckpoints.forensics.orkaproj.io "x" not found')
    assert error.message == 'podcheckpoints.forensics.orkaproj.io "x" not found'


def test_an_absent_server_is_not_explained_away() -> None:
    with pytest.raises(ApiUnavailable, match="POST"), explained_refusals("forensics-system"):
        raise ApiUnavailable(f"{CREATE}: refused")
