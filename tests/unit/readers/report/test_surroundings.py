"""How far an intruder could have come: what the cluster and the node said, whatever they said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from forensics_core.api.order import ArtifactKind
from forensics_core.bundle.reader import open_bundle
from forensics_core.bundle.writer import ArtifactSpec, BundleWriter
from forensics_core.errors import ForensicsError
from forensics_core.readers.context import load_pod
from forensics_core.readers.findings.find import find
from forensics_core.readers.findings.finding import Rule
from forensics_core.readers.findings.ports import of_the_pod
from forensics_core.readers.report.content import ReportContent, read_content
from forensics_core.readers.report.node import read_node
from forensics_core.readers.report.surroundings import Surroundings, read_surroundings, selects
from forensics_core.storage.blocks import one
from forensics_core.storage.storage import open_destination
from tests.bundles import capture

POD = """
metadata: {labels: {app: shop}}
spec:
  hostNetwork: true
  volumes:
  - {name: a, secret: {secretName: db}}
  - {name: b, projected: {sources: [{secret: {name: token}}, odd]}}
  - {name: c, hostPath: {path: /var/run}}
  imagePullSecrets: [{name: registry}]
  containers:
  - name: web
    ports: [{containerPort: 8080}, {containerPort: odd}]
    envFrom: [{secretRef: {name: settings}}]
    env: [{name: A, valueFrom: {secretKeyRef: {name: keys}}}, {name: B, value: "1"}]
    securityContext: {privileged: true, capabilities: {add: [NET_ADMIN]}}
"""
ACCOUNT = {
    "serviceAccount": {"metadata": {"name": "web", "namespace": "shop"}},
    "bindings": [
        {
            "kind": "RoleBinding",
            "metadata": {"name": "readers", "namespace": "shop"},
            "roleRef": {"kind": "Role", "name": "reader"},
        },
        {
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "all"},
            "roleRef": {"kind": "ClusterRole", "name": "gone"},
        },
    ],
    "roles": [
        {
            "kind": "Role",
            "metadata": {"name": "reader"},
            "rules": [
                {"verbs": ["get"], "resources": ["secrets"], "resourceNames": ["db"]},
                {"verbs": ["get"], "resources": ["configmaps"]},
            ],
        },
        {"gone": {"kind": "ClusterRole", "name": "gone"}},
    ],
}
NETWORK = {
    "networkPolicies": [
        {
            "metadata": {"name": "closed"},
            "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
        },
        {"metadata": {"name": "other"}, "spec": {"podSelector": {"matchLabels": {"app": "x"}}}},
    ],
    "servicesSelectingThePod": ["front"],
}
OWNERS = [
    {"kind": "ReplicaSet", "metadata": {"name": "web-1"}, "status": {"replicas": 3}},
    {"gone": {"kind": "Deployment", "name": "web"}},
]
KERNEL = {
    "release": "6.1.0\n",
    "modules": {
        "loaded": [{"name": "nf_tables"}],
        "disagreements": [
            {"module": "hideme", "shownBy": ["sysfs"], "missingIn": ["proc", "kallsyms"]},
            "odd",
        ],
    },
}
FIREWALL = {"namespaces": [{"tables": [{}], "saved": {"nft": "table inet x {\n}\n", "odd": 1}}]}


async def written(folder: Path, **documents: Any) -> Path:
    """Write a bundle with these documents of the cluster and the node, by name."""
    async with open_destination(str(folder)) as destination:
        bundle = BundleWriter(destination)
        for name, document in documents.items():
            data = document.encode() if isinstance(document, str) else json.dumps(document).encode()
            kind = "yaml" if name.startswith("context__pod") else "json"
            spec = ArtifactSpec(f"{name.replace('__', '/')}.{kind}", ArtifactKind.CONTEXT)
            await bundle.add(spec, one(data))
        await bundle.finish(capture())
    return folder


async def whole(folder: Path) -> ReportContent:
    await written(
        folder,
        context__pod=POD,
        context__serviceaccount=ACCOUNT,
        context__network=NETWORK,
        context__owners=OWNERS,
        context__images={"containers": [{"name": "web", "image": "shop:1", "imageID": "sha256:0"}]},
        context__storage={"persistentVolumeClaims": [{"metadata": {"name": "data"}}]},
        node__kernel=KERNEL,
        node__ebpf={"programs": [{}, {}]},
        node__firewall=FIREWALL,
    )
    async with open_bundle(str(folder)) as bundle:
        return await read_content(bundle)


async def test_what_the_cluster_said_of_the_pod(tmp_path: Path) -> None:
    found = (await whole(tmp_path / "bundle")).surroundings
    assert found.known and found.account == "shop/web"
    assert found.powerful == ["get: secrets named db in its namespace (by readers, reader)"]
    assert found.rights[1:] == ["get: configmaps in its namespace (by readers, reader)"]
    assert found.secrets == [
        "db (volume)",
        "keys (environment)",
        "registry (to pull images)",
        "settings (environment)",
        "token (volume)",
    ]
    assert found.policies == ["closed: restricts Ingress, Egress"]
    assert found.services == ["front"] and found.storage == ["data"]
    assert found.siblings == [
        "ReplicaSet web-1, 3 replicas at the time",
        "Deployment web: it was gone already",
        "web: image shop:1, sha256:0",
    ]
    assert found.pod == [
        "hostNetwork: it shares this with its node",
        "hostPath /var/run: a directory of its node",
        "web is privileged: it is root on its node",
        "web has the capabilities NET_ADMIN",
    ]


async def test_what_the_node_said_and_a_module_that_hides(tmp_path: Path) -> None:
    story = await whole(tmp_path / "bundle")
    assert story.node.lines == [
        "Kernel 6.1.0, 1 modules are loaded",
        "2 programs of eBPF are loaded",
        "node/firewall.json: 1 tables, 0 chains, 0 rules, 0 sets in the pod's network",
    ]
    assert story.node.rules == ["# nft\ntable inet x {\n}"]
    (only,) = story.findings.findings
    assert (only.rule, only.subject) == (Rule.HIDDEN_MODULE, "module hideme")
    assert only.detail == "shown by sysfs, not by proc, kallsyms"


async def test_ports_that_the_pod_declares(tmp_path: Path) -> None:
    folder = await written(tmp_path / "bundle", context__pod=POD)
    async with open_bundle(str(folder)) as bundle:
        assert of_the_pod(await load_pod(bundle)) == {("tcp", 8080)}


@pytest.mark.parametrize(
    "odd", ["7", "[1, {}]", '{"spec": [], "roles": 7, "namespaces": {}}', "x: ["]
)
async def test_documents_of_any_shape_are_read(tmp_path: Path, odd: str) -> None:
    names = ("serviceaccount", "network", "images", "owners", "storage")
    documents = {f"context__{name}": odd for name in names}
    node = {f"node__{name}": odd for name in ("kernel", "ebpf", "firewall", "conntrack")}
    folder = await written(tmp_path / "bundle", context__pod=odd, **documents, **node)
    missed: list[ForensicsError] = []
    async with open_bundle(str(folder)) as bundle:
        found = await read_surroundings(bundle, missed)
        await read_node(bundle, missed)
        findings = await find(bundle)
    assert not found.secrets and not found.rights
    # Only the last is no JSON and no YAML: that is told, and all else is read.
    assert bool(missed) == (odd == "x: [")
    assert ("context/pod.yaml is not YAML" in findings.not_looked_at) == (odd == "x: [")


async def test_a_bundle_made_by_hand_has_no_surroundings(tmp_path: Path) -> None:
    folder = await written(tmp_path / "bundle")
    async with open_bundle(str(folder)) as bundle:
        assert await read_surroundings(bundle, []) == Surroundings()


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ({"key": "app", "operator": "In", "values": ["shop"]}, True),
        ({"key": "app", "operator": "In", "values": ["x"]}, False),
        ({"key": "app", "operator": "NotIn", "values": ["shop"]}, False),
        ({"key": "app", "operator": "Exists"}, True),
        ({"key": "app", "operator": "DoesNotExist"}, False),
        ({"key": "tier", "operator": "DoesNotExist"}, True),
    ],
)
def test_selectors_of_policies(expression: dict[str, Any], expected: bool) -> None:
    assert selects({"matchExpressions": [expression]}, {"app": "shop"}) is expected
