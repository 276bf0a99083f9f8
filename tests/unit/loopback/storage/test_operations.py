"""The verbs on stored objects, without HTTP."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from forensics_loopback import ApiError, LoopbackCluster
from forensics_loopback.kinds.resources import RequestTarget
from forensics_loopback.storage.deletion import delete
from forensics_loopback.storage.operations import APPLY, JSON_PATCH, MERGE
from forensics_loopback.storage.writes import WriteOptions

Obj = dict[str, Any]


@pytest.fixture
def cluster() -> LoopbackCluster:
    """A cluster that does not listen: nothing but its store."""
    return LoopbackCluster()


def obj(kind: str, name: str = "one", *, version: str = "v1", **more: Any) -> Obj:
    meta = {"name": name, "namespace": "default", **more.pop("metadata", {})}
    return {"apiVersion": version, "kind": kind, "metadata": meta, **more}


def target(
    cluster: LoopbackCluster, resource: str, name: str = "one", sub: str = ""
) -> RequestTarget:
    found = cluster.registry.named(resource)
    return RequestTarget(found, "default" if found.namespaced else "", name, sub)


CONTAINERS = [{"name": "c", "image": "x"}]
POD_SPEC = {"restartPolicy": "Never", "containers": CONTAINERS}


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        (obj("Secret", data={"a": "?"}), 400, "illegal base64"),
        (obj("ConfigMap", data={"a": "x" * 1_048_577}), 422, "Too long"),
        (obj("ConfigMap", "x" * 254), 422, "no more than 253 bytes"),
        (obj("ConfigMap", ""), 422, "name or generateName is required"),
        (obj("ConfigMap", metadata={"labels": {"a": "no spaces please"}}), 422, "a valid label"),
        (obj("ConfigMap", metadata={"labels": {"a": "x" * 64}}), 422, "no more than 63 bytes"),
        (obj("ConfigMap", metadata={"labels": {"a/" + "k" * 64: "x"}}), 422, "name part"),
        (obj("ConfigMap", metadata={"labels": {"a": 1}}), 422, "a valid label"),
        (obj("ConfigMap", metadata={"resourceVersion": "1"}), 400, "should not be set"),
        (obj("Pod", spec={}), 422, "spec.containers: Required value"),
        (obj("Pod", spec={"containers": [{}]}), 422, "spec.containers[0].name"),
        (obj("Job", version="batch/v1", spec={}), 422, "spec.template.spec.containers"),
        (
            obj("Job", "j" * 64, version="batch/v1", spec={"template": {"spec": POD_SPEC}}),
            422,
            "no more than 63 bytes",
        ),
        (
            obj("Job", version="batch/v1", spec={"template": {"spec": {"containers": CONTAINERS}}}),
            422,
            "restartPolicy",
        ),
        (
            obj(
                "CustomResourceDefinition",
                version="apiextensions.k8s.io/v1",
                spec={
                    "group": "g.io",
                    "scope": "Cluster",
                    "names": {"plural": "things", "kind": "Thing"},
                    "versions": [],
                },
            ),
            422,
            "must be spec.names.plural",
        ),
    ],
)
def test_what_creation_refuses(cluster: LoopbackCluster, body: Obj, code: int, text: str) -> None:
    with pytest.raises(ApiError) as caught:
        cluster.create(body)
    assert caught.value.code == code
    assert text in caught.value.message


EVENT: Obj = {
    "eventTime": "2026-01-01T00:00:00.000000Z",
    "reportingController": "c",
    "reportingInstance": "i",
    "action": "a",
    "reason": "r",
    "regarding": {"namespace": "default"},
}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"action": ""}, "action: Required value"),
        ({"reason": "x" * 129}, "reason: Too long"),
        ({"note": "x" * 1025}, "message: Too long"),
        ({"regarding": {"namespace": "other"}}, "does not match event.namespace"),
        ({"eventTime": None}, "eventTime: Required value"),
    ],
)
def test_what_is_asked_of_events(cluster: LoopbackCluster, change: Obj, text: str) -> None:
    with pytest.raises(ApiError) as caught:
        cluster.create(obj("Event", version="events.k8s.io/v1", **{**EVENT, **change}))
    assert text in caught.value.message


def test_old_events_need_no_event_time(cluster: LoopbackCluster) -> None:
    made = cluster.create(obj("Event", firstTimestamp="2026-01-01T00:00:00Z", involvedObject={}))
    assert made["eventTime"] is None


def test_the_kind_must_be_the_url_s(cluster: LoopbackCluster) -> None:
    resource = cluster.registry.named("secrets")
    with pytest.raises(ApiError, match="does not match the expected API version"):
        cluster.operations.create(resource, "default", obj("ConfigMap"))
    with pytest.raises(ApiError, match="does not match the namespace"):
        cluster.operations.create(resource, "kube-system", obj("Secret"))


def test_a_secret_keeps_its_data_and_adds_strings(cluster: LoopbackCluster) -> None:
    data = {"a": base64.b64encode(b"1").decode()}
    made = cluster.create(obj("Secret", data=data, stringData={"b": "2"}))
    assert made["data"] == {"a": "MQ==", "b": "Mg=="}


def test_the_given_object_is_not_changed(cluster: LoopbackCluster) -> None:
    body = obj("Secret", stringData={"a": "b"})
    cluster.create(body)
    assert body == obj("Secret", stringData={"a": "b"})


def test_a_custom_resource_must_be_replaced_with_its_version(
    cluster: LoopbackCluster,
) -> None:
    cluster.create(obj("Lease", version="coordination.k8s.io/v1", spec={}))
    with pytest.raises(ApiError, match="must be specified for an update"):
        cluster.operations.replace(
            target(cluster, "leases"), obj("Lease", version="coordination.k8s.io/v1", spec={})
        )


def test_replacing_under_another_name_or_uid(cluster: LoopbackCluster) -> None:
    cluster.create(obj("ConfigMap"))
    place = target(cluster, "configmaps")
    with pytest.raises(ApiError, match="does not match the name on the URL"):
        cluster.operations.replace(place, obj("ConfigMap", "two"))
    with pytest.raises(ApiError, match="Precondition failed: UID"):
        cluster.operations.replace(place, obj("ConfigMap", metadata={"uid": "other"}))


def test_a_job_s_template_never_changes(cluster: LoopbackCluster) -> None:
    cluster.create(obj("Job", version="batch/v1", spec={"template": {"spec": POD_SPEC}}))
    change = {"spec": {"template": {"spec": {"nodeName": "n"}}}}
    with pytest.raises(ApiError, match="field is immutable"):
        cluster.operations.patch(target(cluster, "jobs"), MERGE, change)


def test_patches_of_unknown_types(cluster: LoopbackCluster) -> None:
    cluster.create(obj("ConfigMap"))
    with pytest.raises(ApiError) as caught:
        cluster.operations.patch(target(cluster, "configmaps"), "text/plain", {})
    assert caught.value.code == 415


def test_a_dry_run_changes_nothing(cluster: LoopbackCluster) -> None:
    before = cluster.create(obj("ConfigMap"))
    dry = WriteOptions(dry_run=True)
    place = target(cluster, "configmaps")
    written = cluster.operations.patch(place, MERGE, {"data": {"a": "1"}}, dry)
    assert written.object["data"] == {"a": "1"}
    delete(cluster.operations, place, {"dryRun": "All"})
    applied = obj("ConfigMap", "two")
    options = WriteOptions("me", dry_run=True)
    cluster.operations.patch(target(cluster, "configmaps", "two"), APPLY, applied, options)
    assert cluster.list("configmaps") == [before]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (obj("ConfigMap", "two"), "as in the URL"),
        ({"metadata": {}}, "names apiVersion and kind"),
        (obj("ConfigMap", metadata={"resourceVersion": "1"}), "has been modified"),
    ],
)
def test_what_apply_refuses(cluster: LoopbackCluster, body: Obj, text: str) -> None:
    cluster.create(obj("ConfigMap"))
    with pytest.raises(ApiError, match=text):
        cluster.operations.patch(target(cluster, "configmaps"), APPLY, body, WriteOptions("me"))


def test_applying_the_status_of_nothing(cluster: LoopbackCluster) -> None:
    body = {"apiVersion": "v1", "kind": "Pod", "status": {}}
    with pytest.raises(ApiError) as caught:
        cluster.operations.patch(
            target(cluster, "pods", sub="status"), APPLY, body, WriteOptions("me")
        )
    assert caught.value.code == 404


def test_events_are_patched_in_their_own_words(cluster: LoopbackCluster) -> None:
    cluster.create(obj("Event", version="events.k8s.io/v1", **EVENT))
    resource = cluster.registry.find("events.k8s.io", "v1", "events")
    assert resource is not None
    place = RequestTarget(resource, "default", "one")
    cluster.operations.patch(place, MERGE, {"note": "again"})
    assert cluster.get("events", "one", "default")["message"] == "again"
    change = [{"op": "replace", "path": "/message", "value": "third"}]
    cluster.operations.patch(place, JSON_PATCH, change)
    assert cluster.get("events", "one", "default")["message"] == "third"


def test_deletion_preconditions(cluster: LoopbackCluster) -> None:
    made = cluster.create(obj("ConfigMap"))
    place = target(cluster, "configmaps")
    with pytest.raises(ApiError, match="ResourceVersion in the precondition"):
        delete(cluster.operations, place, {"preconditions": {"resourceVersion": "1"}})
    with pytest.raises(ApiError, match="invalid propagationPolicy"):
        delete(cluster.operations, place, {"propagationPolicy": "Sideways"})
    meta = made["metadata"]
    right = {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}
    assert delete(cluster.operations, place, {"preconditions": right})[1]


def test_deleting_twice_changes_nothing_more(cluster: LoopbackCluster) -> None:
    cluster.create(obj("ConfigMap", metadata={"finalizers": ["a/b"]}))
    first, _ = delete(cluster.operations, target(cluster, "configmaps"))
    second, gone = delete(cluster.operations, target(cluster, "configmaps"))
    assert (second, gone) == (first, False)
    cluster.patch("configmaps", "one", {"data": {"a": "1"}}, "default")
    assert cluster.list("configmaps")[0]["data"] == {"a": "1"}


def test_amending_what_was_replaced_does_nothing(cluster: LoopbackCluster) -> None:
    old = cluster.create(obj("ConfigMap"))
    cluster.delete("configmaps", "one", "default")
    cluster.create(obj("ConfigMap"))
    assert cluster.operations.amend("configmaps", old, lambda o: o.clear()) is None


def test_a_withdrawn_definition_is_served_no_longer(cluster: LoopbackCluster) -> None:
    version = {"name": "v1", "served": True, "storage": True}
    unserved = {"name": "v0", "served": False, "storage": False}
    spec = {
        "group": "g.io",
        "scope": "Cluster",
        "names": {"plural": "things", "kind": "Thing"},
        "versions": [version, unserved],
    }
    kind = "CustomResourceDefinition"
    cluster.create(obj(kind, "things.g.io", version="apiextensions.k8s.io/v1", spec=spec))
    assert cluster.registry.named("things").singular_name == "thing"
    assert cluster.registry.find("g.io", "v0", "things") is None
    cluster.create(obj("Thing", version="g.io/v1"))
    cluster.delete("customresourcedefinitions", "things.g.io")
    assert cluster.store.objects("things.g.io") == []
    with pytest.raises(LookupError):
        cluster.registry.named("things")
    with pytest.raises(LookupError):
        cluster.create(obj("Thing", "two", version="g.io/v1"))


def test_unknown_fields_can_be_ignored(cluster: LoopbackCluster) -> None:
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"a": {"type": "string"}}}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    spec = {
        "group": "g.io",
        "scope": "Namespaced",
        "names": {"plural": "things", "kind": "Thing", "singular": "thing"},
        "versions": [version],
    }
    kind = "CustomResourceDefinition"
    cluster.create(obj(kind, "things.g.io", version="apiextensions.k8s.io/v1", spec=spec))
    body, resource = obj("Thing", version="g.io/v1", a="1", b="2"), cluster.registry.named("things")
    ignore = WriteOptions(validation="Ignore")
    written = cluster.operations.create(resource, "default", body, ignore)
    assert (written.warnings, "b" in written.object) == ([], False)
