"""The CustomResourceDefinition, made from the models.

The schema is a structural one: no references, no alternatives, everything bounded, so that the API
server can price the rules. The rules are those that one field's bounds cannot say::

    print(crd_yaml())

Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
"""

from __future__ import annotations

from forensics_core.api import names
from forensics_core.api.podcheckpoint import (
    Phase,
    PodCheckpoint,
    PodCheckpointSpec,
    PodCheckpointStatus,
)
from forensics_core.api.schema import (
    Schema,
    as_yaml,
    column,
    definition,
    structural,
    without_defaults,
)

_CEL_RESERVED = frozenset({"namespace"})
"""Of our fields' names, those that rules must spell `__name__`."""
_ONE_WAY = ("cancel", "release")
"""Fields that can be set to true, and then stay so; all others cannot be changed."""
_MAP_KEYS = {"conditions": "type", "containers": "name"}
_TERMINAL = ", ".join(f"'{phase}'" for phase in Phase if phase.terminal)


def crd() -> Schema:
    """Return the CustomResourceDefinition as data."""
    return definition(
        plural=names.PLURAL,
        singular=names.SINGULAR,
        kind=names.KIND,
        short_name=names.SHORT_NAME,
        columns=_columns(),
        root=_root(),
    )


def crd_yaml() -> str:
    """Return the CustomResourceDefinition as YAML, fit for `kubectl apply -f -`."""
    return as_yaml(crd())


def _columns() -> list[Schema]:
    return [
        column("Pod", ".spec.pod", "The pod to capture"),
        column("Target-NS", ".spec.namespace", "Its namespace, where it is another one"),
        column("Phase", ".status.phase", "How far it has come"),
        column("Progress", ".status.progress.summary", "What the current attempt has done"),
        column("Size", ".status.size", "What the evidence weighs"),
        column("Age", ".metadata.creationTimestamp", "How old the request is", kind="date"),
        column("Node", ".status.node", "The pod's node", wide=True),
        column("Location", ".status.location", "Where the evidence is", wide=True),
    ]


def _root() -> Schema:
    return {
        "description": PodCheckpoint.__doc__,
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": _spec(),
            "status": _status(),
        },
    }


def spec_schema() -> Schema:
    """Return the schema of a PodCheckpoint's spec without what holds it to its first version."""
    schema = structural(PodCheckpointSpec)
    properties = schema["properties"]
    for field in ("containers", "artifacts", "volumes"):
        properties[field]["x-kubernetes-list-type"] = "set"
    properties["destination"]["x-kubernetes-validations"] = [_no_dots("destination")]
    properties["subpath"]["x-kubernetes-validations"] = [_no_dots("subpath")]
    properties["retention"]["x-kubernetes-validations"] = [_RETENTION]
    return schema


def _spec() -> Schema:
    schema = spec_schema()
    properties = schema["properties"]
    schema["x-kubernetes-validations"] = [
        *(_immutable(field) for field in properties if field not in _ONE_WAY),
        *(_one_way(field) for field in _ONE_WAY),
        _VOLUMES,
    ]
    return schema


def _status() -> Schema:
    schema = without_defaults(structural(PodCheckpointStatus))
    for field, key in _MAP_KEYS.items():
        schema["properties"][field] |= {
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": [key],
        }
    schema["x-kubernetes-validations"] = [_FINAL]
    return schema


_RETENTION = {
    "rule": "has(self.days) || (has(self.legalHold) && self.legalHold)",
    "message": "retention needs days, or legalHold: true",
    "reason": "FieldValueRequired",
}
_VOLUMES = {
    "rule": (
        "!has(self.volumes) || self.volumes.size() == 0 || !has(self.artifacts)"
        " || self.artifacts.exists(kind, kind == 'volumes' || kind == 'filesystem')"
    ),
    "message": "volumes are named: ask for the artifact volumes, or for filesystem",
    "reason": "FieldValueInvalid",
    "fieldPath": ".volumes",
}
_FINAL = {
    "rule": (
        f"!(has(oldSelf.phase) && oldSelf.phase in [{_TERMINAL}])"
        " || (has(self.phase) && self.phase == oldSelf.phase)"
    ),
    "message": "a terminal phase is final",
    "messageExpression": "'phase ' + oldSelf.phase + ' is final'",
    "reason": "FieldValueForbidden",
}


def _no_dots(field: str) -> Schema:
    return {
        "rule": "self.split('/').all(part, part != '.' && part != '..')",
        "message": f"{field} must not contain the segments . and ..",
        "messageExpression": f"'{field} must not contain the segments . and ..: ' + self",
    }


def _one_way(field: str) -> Schema:
    return {
        "rule": (
            f"!(has(oldSelf.{field}) && oldSelf.{field}) || (has(self.{field}) && self.{field})"
        ),
        "message": f"{field} cannot be taken back: create another PodCheckpoint",
        "reason": "FieldValueForbidden",
        "fieldPath": f".{field}",
    }


def _immutable(field: str) -> Schema:
    name = f"__{field}__" if field in _CEL_RESERVED else field
    return {
        "rule": (
            f"has(self.{name}) == has(oldSelf.{name})"
            f" && (!has(self.{name}) || self.{name} == oldSelf.{name})"
        ),
        "message": f"{field} cannot be changed: create another PodCheckpoint",
        "reason": "FieldValueForbidden",
        "fieldPath": f".{field}",
    }


for _model in (PodCheckpointSpec, PodCheckpointStatus):
    structural(_model)
