"""Paths of the API."""

from __future__ import annotations

from forensics_core.kube.resources import JOBS, NODES, PODCHECKPOINTS, PODS


def test_core_and_grouped_kinds() -> None:
    assert PODS.path() == "/api/v1/pods"
    assert PODS.path("prod", "web", "log") == "/api/v1/namespaces/prod/pods/web/log"
    assert JOBS.path("a", "b") == "/apis/batch/v1/namespaces/a/jobs/b"
    assert (PODS.api_version, JOBS.api_version) == ("v1", "batch/v1")


def test_the_clusters_own_kinds_have_no_namespace() -> None:
    assert NODES.path("prod", "n") == "/api/v1/nodes/n"


def test_names_cannot_leave_their_segment() -> None:
    assert PODS.path("a/../b", "c?d") == "/api/v1/namespaces/a%2F..%2Fb/pods/c%3Fd"


def test_our_own_kind() -> None:
    expected = "/apis/forensics.orkaproj.io/v1alpha1/namespaces/n/podcheckpoints/x/status"
    assert PODCHECKPOINTS.path("n", "x", "status") == expected
