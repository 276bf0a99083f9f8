"""The CustomResourceDefinition of CaptureRule, made from its model and from PodCheckpoint's.

A rule's template is what a PodCheckpoint's spec is, so its schema is that one, rules and all::

    print(capturerule_crd_yaml())
"""

from __future__ import annotations

import json

import yaml

from forensics_core.api import names
from forensics_core.api.capturerule import (
    NOT_IN_TEMPLATE,
    CaptureRule,
    CaptureRuleSpec,
    CaptureRuleStatus,
)
from forensics_core.api.crd import spec_schema
from forensics_core.api.schema import Schema, column, structural, without_defaults


def capturerule_crd() -> Schema:
    """Return the CustomResourceDefinition as data."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names.RULE_PLURAL}.{names.GROUP}"},
        "spec": {
            "group": names.GROUP,
            "scope": "Namespaced",
            "names": {
                "plural": names.RULE_PLURAL,
                "singular": names.RULE_SINGULAR,
                "kind": names.RULE_KIND,
                "listKind": f"{names.RULE_KIND}List",
                "shortNames": [names.RULE_SHORT_NAME],
                "categories": [names.CATEGORY],
            },
            "versions": [_version()],
        },
    }


def capturerule_crd_yaml() -> str:
    """Return the CustomResourceDefinition as YAML, fit for `kubectl apply -f -`."""
    # Through JSON: a list that the schema has twice is written twice, not once with an alias.
    manifest = json.loads(json.dumps(capturerule_crd()))
    text: str = yaml.safe_dump(manifest, sort_keys=False, width=100, allow_unicode=True)
    return text


def _version() -> Schema:
    return {
        "name": names.VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [
            column("Events", ".spec.events", "What pods are captured for"),
            column(
                "Active", '.status.conditions[?(@.type=="Active")].status', "Whether it is acted on"
            ),
            column("Captured", ".status.captured", "PodCheckpoints made", kind="integer"),
            column("Held-Back", ".status.heldBack.total", "What was not captured", kind="integer"),
            column("Last", ".status.lastTriggered", "When it last captured a pod", kind="date"),
            column("Age", ".metadata.creationTimestamp", "How old the rule is", kind="date"),
            column("Namespaces", ".spec.namespaces", "Where the pods are", wide=True),
            column("Dry-Run", ".spec.dryRun", "Whether it only tells", kind="boolean", wide=True),
        ],
        "schema": {"openAPIV3Schema": _root()},
    }


def _root() -> Schema:
    return {
        "description": CaptureRule.__doc__,
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            # A label bears the name, and labels have 63 characters.
            "metadata": {
                "type": "object",
                "properties": {"name": {"type": "string", "maxLength": names.NAME_LIMIT}},
            },
            "spec": _spec(),
            "status": _status(),
        },
    }


def _spec() -> Schema:
    schema = structural(CaptureRuleSpec)
    properties = schema["properties"]
    for field in ("namespaces", "events"):
        properties[field]["x-kubernetes-list-type"] = "set"
    properties["template"] |= _template()
    requirement = properties["selector"]["properties"]["matchExpressions"]["items"]
    requirement["x-kubernetes-validations"] = [_VALUES]
    schema["x-kubernetes-validations"] = [_ALERT, _HOLD]
    return schema


def _template() -> Schema:
    whole = spec_schema()
    properties = {
        name: node for name, node in whole["properties"].items() if name not in NOT_IN_TEMPLATE
    }
    return {"type": "object", "properties": properties}


def _status() -> Schema:
    schema = without_defaults(structural(CaptureRuleStatus))
    conditions = schema["properties"]["conditions"]
    conditions |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}
    return schema


_VALUES = {
    "rule": ("(self.operator in ['In', 'NotIn']) == (has(self.values) && self.values.size() > 0)"),
    "message": "In and NotIn take values, Exists and DoesNotExist take none",
}
_ALERT = {
    "rule": "!has(self.alert) || 'Alert' in self.events",
    "message": "alert narrows the event Alert: name that among the events",
    "fieldPath": ".alert",
}
_HOLD = {
    "rule": "!has(self.hold) || !self.hold || 'Deleted' in self.events",
    "message": "hold keeps pods that are being deleted: name Deleted among the events",
    "fieldPath": ".hold",
}


for _model in (CaptureRuleSpec, CaptureRuleStatus):
    structural(_model)
