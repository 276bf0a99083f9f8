"""The CustomResourceDefinition: as checked in, structural, bounded; and its rules hold."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cel
import jsonschema
import pytest
import yaml

from forensics_core.api.crd import crd, crd_yaml
from forensics_core.api.podcheckpoint import PodCheckpoint

CHECKED_IN = Path(__file__).parents[3] / "deploy" / "crd.yaml"

SEED = """
apiVersion: forensics.orkaproj.io/v1alpha1
kind: PodCheckpoint
metadata:
  name: podcheckpoint-sample
spec:
  destination: s3://my-bucket
  subpath: forensics
  pod: web-0
  namespace: default
"""


def schema() -> dict[str, Any]:
    root: dict[str, Any] = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return root


def nodes(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    if "items" in node:
        yield from nodes(node["items"], f"{path}[]")


def own_nodes() -> Iterator[tuple[str, dict[str, Any]]]:
    """All nodes but `apiVersion`, `kind` and `metadata`, which the API server knows itself."""
    for part in ("spec", "status"):
        yield from nodes(schema()["properties"][part], f".{part}")


def accepts(spec: dict[str, Any]) -> bool:
    validator = jsonschema.Draft202012Validator(schema()["properties"]["spec"])
    return bool(validator.is_valid(spec))


def holds(rule: dict[str, Any], new: Any, old: Any = None) -> bool:
    context = cel.Context()
    context.add_function("split", lambda text, separator: text.split(separator))
    context.add_variable("self", escaped(new))
    context.add_variable("oldSelf", escaped(old))
    return bool(cel.evaluate(rule["rule"], context))


def escaped(value: Any) -> Any:
    """Spell reserved names as the API server does."""
    if isinstance(value, dict):
        return {"__namespace__" if key == "namespace" else key: value[key] for key in value}
    return value


def rules(*path: str) -> list[dict[str, Any]]:
    node = schema()
    for name in path:
        node = node["properties"][name]
    found: list[dict[str, Any]] = node["x-kubernetes-validations"]
    return found


def test_the_checked_in_file_is_what_the_models_say() -> None:
    assert CHECKED_IN.read_text() == crd_yaml(), "run: forensics crd > deploy/crd.yaml"


def test_the_yaml_reads_back_as_the_data() -> None:
    assert yaml.safe_load(crd_yaml()) == crd()


def test_kubernetes_knows_every_field_of_the_definition() -> None:
    checker = Path(sys.executable).parent / "kubernetes-validate"
    subprocess.run([checker, "--strict", "--quiet", CHECKED_IN], check=True)


def test_the_schema_is_structural() -> None:
    for path, node in own_nodes():
        assert "type" in node, path
        assert not {"$ref", "$defs", "anyOf", "oneOf", "allOf", "const", "title"} & set(node), path


def test_everything_is_bounded() -> None:
    for path, node in own_nodes():
        match node["type"]:
            case "string":
                assert {"maxLength", "enum", "format"} & set(node), path
            case "array":
                assert "maxItems" in node, path
            case "integer":
                assert {"minimum", "maximum"} <= set(node), path
                assert node["maximum"] < 2**53, f"{path}: not exact as a JSON number"


def test_every_field_is_described() -> None:
    for path, node in own_nodes():
        assert path.endswith("[]") or node.get("description"), path
        assert "\n" not in node.get("description", "")


def test_names_short_name_category_and_status_subresource() -> None:
    spec = crd()["spec"]
    assert crd()["metadata"]["name"] == f"{spec['names']['plural']}.{spec['group']}"
    assert spec["names"]["shortNames"] == ["pcp"]
    assert spec["names"]["categories"] == ["forensics"]
    assert spec["versions"][0]["subresources"] == {"status": {}}


def test_printer_columns_point_at_fields_that_exist() -> None:
    columns = crd()["spec"]["versions"][0]["additionalPrinterColumns"]
    paths = {path for path, _ in own_nodes()} | {".metadata.creationTimestamp"}
    assert {column["jsonPath"] for column in columns} <= paths
    plain = [column["name"] for column in columns if not column.get("priority")]
    wide = [column["name"] for column in columns if column.get("priority")]
    assert plain == ["Pod", "Target-NS", "Phase", "Progress", "Size", "Age"]
    assert wide == ["Node", "Location"]


def test_the_seeds_manifest_works_unchanged() -> None:
    manifest = yaml.safe_load(SEED)
    assert accepts(manifest["spec"])
    checkpoint = PodCheckpoint.parse(manifest)
    assert (checkpoint.spec.pod, checkpoint.target_namespace) == ("web-0", "default")


@pytest.mark.parametrize(
    "wrong",
    [
        {"pod": "Web_0"},
        {"pod": ""},
        {"pod": "a" * 254},
        {"namespace": "a.b"},
        {"destination": "file:///tmp"},
        {"destination": "s3://b"},
        {"destination": "s3://bucket//x"},
        {"subpath": "/absolute"},
        {"subpath": "a//b"},
        {"incident": "INC 1"},
        {"incident": "-x"},
        {"incident": "x" * 64},
        {"artifacts": []},
        {"artifacts": ["everything"]},
        {"containers": ["Web"]},
        {"retention": {"days": 0}},
        {"encryption": {}},
        {"activeDeadlineSeconds": 0},
        {"reason": "x" * 1025},
        {"compression": "gzip"},
        {"recordSeconds": 86401},
        {"volumes": ["a"] * 65},
        {"volumes": ["a\nb"]},
        {"deletedBudget": -1},
    ],
)
def test_what_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    assert not accepts({"pod": "web-0"} | wrong)


@pytest.mark.parametrize(
    "right",
    [
        {"pod": "a.b-c.d"},
        {"destination": "s3://cases/2026/q1/"},
        {"subpath": ""},
        {"recordSeconds": 0, "volumes": ["tls", "/var/run/secrets"], "deletedBudget": 0},
        {"incident": "INC-2026.1_a"},
        {"retention": {"days": 30}},
        {"encryption": {"kmsKeyId": "arn:aws:kms:eu-central-1:1:key/2"}},
    ],
)
def test_what_can_be_is_accepted(right: dict[str, Any]) -> None:
    assert accepts({"pod": "web-0"} | right)


FULL = {
    "pod": "web-0",
    "namespace": "prod",
    "destination": "s3://cases",
    "subpath": "forensics",
    "containers": ["web"],
    "artifacts": ["logs", "filesystem"],
    "compression": "zstd",
    "pause": False,
    "recordSeconds": 5,
    "volumes": ["tls"],
    "deletedBudget": 1024,
    "freeze": False,
    "reason": "beacon",
    "incident": "INC-1",
    "retention": {"days": 1},
    "encryption": {"kmsKeyId": "k"},
    "activeDeadlineSeconds": 60,
    "ttlSecondsAfterFinished": 60,
    "cancel": False,
    "isolate": True,
    "afterCapture": "Delete",
    "release": False,
}


def violated(new: dict[str, Any], old: dict[str, Any]) -> list[str]:
    return [rule["fieldPath"] for rule in rules("spec") if not holds(rule, new, old)]


def test_the_full_example_has_every_field() -> None:
    assert set(FULL) == set(schema()["properties"]["spec"]["properties"])


def test_an_unchanged_spec_breaks_no_rule() -> None:
    assert violated(FULL, FULL) == []
    assert violated({"pod": "web-0"}, {"pod": "web-0"}) == []


@pytest.mark.parametrize("field", sorted(set(FULL) - {"cancel", "release"}))
def test_no_field_can_be_changed_added_or_removed(field: str) -> None:
    without = {name: value for name, value in FULL.items() if name != field}
    other = ["volumes"] if isinstance(FULL[field], list) else "other"
    assert violated(FULL | {field: other}, FULL) == [f".{field}"]
    assert violated(without, FULL) == [f".{field}"]
    assert violated(FULL, without) == [f".{field}"]


@pytest.mark.parametrize(
    ("spec", "fine"),
    [
        ({"volumes": ["tls"]}, True),
        ({"volumes": ["tls"], "artifacts": ["logs", "volumes"]}, True),
        ({"volumes": ["tls"], "artifacts": ["filesystem"]}, True),
        ({"volumes": [], "artifacts": ["logs"]}, True),
        ({"volumes": ["tls"], "artifacts": ["logs"]}, False),
    ],
)
def test_volumes_that_are_named_are_asked_for(spec: dict[str, Any], fine: bool) -> None:
    assert violated(spec, spec) == ([] if fine else [".volumes"])


@pytest.mark.parametrize("field", ["cancel", "release"])
def test_cancel_and_release_go_one_way(field: str) -> None:
    asked = FULL | {field: True}
    assert violated(asked, FULL) == []
    assert violated(FULL, asked) == [f".{field}"]
    assert violated({"pod": "web-0"}, {"pod": "web-0", field: True}) == [f".{field}"]


@pytest.mark.parametrize(
    ("retention", "fine"),
    [
        ({"days": 1}, True),
        ({"legalHold": True}, True),
        ({"legalHold": False}, False),
        ({}, False),
    ],
)
def test_retention_needs_days_or_a_hold(retention: dict[str, Any], fine: bool) -> None:
    (rule,) = rules("spec", "retention")
    assert holds(rule, retention) is fine


@pytest.mark.parametrize("field", ["destination", "subpath"])
def test_paths_never_climb(field: str) -> None:
    (rule,) = rules("spec", field)
    assert holds(rule, "a/b.c/..d")
    assert not holds(rule, "a/../b")
    assert not holds(rule, "./a")
    assert "a/../b" in str(message(rule, "a/../b"))


def message(rule: dict[str, Any], value: str) -> object:
    return cel.evaluate(rule["messageExpression"], {"self": value})


@pytest.mark.parametrize("phase", ["Complete", "Failed"])
def test_terminal_phases_are_final(phase: str) -> None:
    (rule,) = rules("status")
    assert holds(rule, {"phase": phase, "sealed": True}, {"phase": phase})
    assert holds(rule, {"phase": phase}, {"phase": "Sealing"})
    assert holds(rule, {"phase": phase}, {})
    assert not holds(rule, {"phase": "Capturing"}, {"phase": phase})
    assert not holds(rule, {}, {"phase": phase})
    assert cel.evaluate(rule["messageExpression"], {"oldSelf": {"phase": phase}}) == (
        f"phase {phase} is final"
    )
