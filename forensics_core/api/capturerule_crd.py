"""The CustomResourceDefinition of CaptureRule, made from its model and from PodCheckpoint's.

A rule's template is what a PodCheckpoint's spec is, so its schema is that one, rules and all::

    print(capturerule_crd_yaml())
"""

from __future__ import annotations

from forensics_core.api import names
from forensics_core.api.capturerule import (
    NOT_IN_TEMPLATE,
    CaptureRule,
    CaptureRuleSpec,
    CaptureRuleStatus,
)
from forensics_core.api.crd import spec_schema
from forensics_core.api.schema import (
    Schema,
    as_yaml,
    column,
    definition,
    structural,
    without_defaults,
)


def capturerule_crd() -> Schema:
    """Return the CustomResourceDefinition as data."""
    return definition(
        plural=names.RULE_PLURAL,
        singular=names.RULE_SINGULAR,
        kind=names.RULE_KIND,
        short_name=names.RULE_SHORT_NAME,
        columns=_columns(),
        root=_root(),
    )


def capturerule_crd_yaml() -> str:
    """Return the CustomResourceDefinition as YAML, fit for `kubectl apply -f -`."""
    return as_yaml(capturerule_crd())


def _columns() -> list[Schema]:
    return [
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
    ]


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
