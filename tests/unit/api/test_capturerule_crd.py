"""The CRD of CaptureRule: as checked in, structural, bounded; and its rules hold."""

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

from forensics_core.api.capturerule import NOT_IN_TEMPLATE, CaptureRule
from forensics_core.api.capturerule_crd import capturerule_crd, capturerule_crd_yaml
from forensics_core.api.crd import crd

CHECKED_IN = Path(__file__).parents[3] / "deploy" / "crd-capturerules.yaml"
PLAIN = {"namespaces": ["shop"], "events": ["Failed"]}


def schema(definition: dict[str, Any]) -> dict[str, Any]:
    root: dict[str, Any] = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return root


SPEC = schema(capturerule_crd())["properties"]["spec"]


def nodes(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for name in ("items", "additionalProperties"):
        if name in node:
            yield from nodes(node[name], f"{path}[]")


def own_nodes() -> Iterator[tuple[str, dict[str, Any]]]:
    for part in ("spec", "status"):
        yield from nodes(schema(capturerule_crd())["properties"][part], f".{part}")


def holds(rule: dict[str, Any], value: Any) -> bool:
    return bool(cel.evaluate(rule["rule"], {"self": value}))


def test_the_checked_in_file_is_what_the_models_say() -> None:
    wanted = capturerule_crd_yaml()
    assert CHECKED_IN.read_text() == wanted, "run: forensics crd capturerules > deploy/crd-..."
    assert yaml.safe_load(wanted) == capturerule_crd()


def test_kubernetes_knows_every_field_of_the_definition() -> None:
    checker = Path(sys.executable).parent / "kubernetes-validate"
    subprocess.run([checker, "--strict", "--quiet", CHECKED_IN], check=True)


def test_the_schema_is_structural_described_and_bounded() -> None:
    for path, node in own_nodes():
        assert "type" in node, path
        assert not {"$ref", "$defs", "anyOf", "oneOf", "allOf", "const", "title"} & set(node), path
        assert path.endswith("[]") or node.get("description"), path
        match node["type"]:
            case "string":
                assert {"maxLength", "enum", "format"} & set(node), path
            case "array":
                assert "maxItems" in node, path
            case "integer":
                assert {"minimum", "maximum"} <= set(node), path
            case "object":
                assert {"properties", "maxProperties"} & set(node), path


def test_a_template_has_all_of_a_checkpoints_spec_but_what_each_capture_has_of_its_own() -> None:
    whole = schema(crd())["properties"]["spec"]["properties"]
    template = SPEC["properties"]["template"]["properties"]
    assert set(template) == set(whole) - NOT_IN_TEMPLATE
    assert template["subpath"]["x-kubernetes-validations"]
    assert "x-kubernetes-validations" not in SPEC["properties"]["template"]


@pytest.mark.parametrize(
    ("more", "fine"),
    [
        ({}, True),
        ({"alert": {}}, False),
        ({"alert": {}, "events": ["Failed", "Alert"]}, True),
        ({"hold": False}, True),
        ({"hold": True}, False),
        ({"hold": True, "events": ["Deleted"]}, True),
    ],
)
def test_what_narrows_an_event_needs_that_event(more: dict[str, Any], fine: bool) -> None:
    rules = SPEC["x-kubernetes-validations"]
    assert all(holds(rule, PLAIN | more) for rule in rules) is fine


@pytest.mark.parametrize(
    ("operator", "values", "fine"),
    [("In", ["a"], True), ("In", [], False), ("Exists", None, True), ("Exists", ["a"], False)],
)
def test_a_comparison_has_the_values_that_it_takes(
    operator: str, values: list[str] | None, fine: bool
) -> None:
    items = SPEC["properties"]["selector"]["properties"]["matchExpressions"]["items"]
    (rule,) = items["x-kubernetes-validations"]
    given = {} if values is None else {"values": values}
    assert holds(rule, {"key": "app", "operator": operator} | given) is fine


def test_no_default_is_null() -> None:
    assert "null" not in capturerule_crd_yaml()


def test_what_the_schema_takes_the_model_reads() -> None:
    full = PLAIN | {
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"destination": "s3://cases", "artifacts": ["logs"]},
        "limits": {"perPod": 2, "perHour": 5, "perNamespace": 3},
        "dryRun": True,
    }
    jsonschema.validate(full, SPEC)
    rule = CaptureRule.parse({"spec": full})
    assert rule.spec.limits.per_pod == 2
    assert not jsonschema.Draft202012Validator(SPEC).is_valid(PLAIN | {"namespaces": ["A"]})
