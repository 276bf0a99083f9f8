"""The CustomResourceDefinition, made from the models.

The schema is a structural one: no references, no alternatives, everything bounded, so that the API
server can price the rules. The rules are those that one field's bounds cannot say::

    print(crd_yaml())

Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
"""

from __future__ import annotations

import ast
import inspect
from itertools import pairwise
from textwrap import dedent
from typing import Any, TypeAlias

import yaml
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from forensics_core.api import names
from forensics_core.api.order import Model
from forensics_core.api.podcheckpoint import (
    Phase,
    PodCheckpoint,
    PodCheckpointSpec,
    PodCheckpointStatus,
)

Schema: TypeAlias = dict[str, Any]

_KEPT = (
    "description",
    "type",
    "format",
    "enum",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "default",
)
_SAYS_NOTHING: tuple[object, ...] = (None, "", [])
"""Values that need no place in the schema: above all empty defaults."""
_CEL_RESERVED = frozenset({"namespace"})
"""Of our fields' names, those that rules must spell `__name__`."""
_MUTABLE = frozenset({"cancel"})
_MAP_KEYS = {"conditions": "type", "containers": "name"}
_TERMINAL = ", ".join(f"'{phase}'" for phase in Phase if phase.terminal)


def crd() -> Schema:
    """Return the CustomResourceDefinition as data."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names.PLURAL}.{names.GROUP}"},
        "spec": {
            "group": names.GROUP,
            "scope": "Namespaced",
            "names": {
                "plural": names.PLURAL,
                "singular": names.SINGULAR,
                "kind": names.KIND,
                "listKind": f"{names.KIND}List",
                "shortNames": [names.SHORT_NAME],
                "categories": [names.CATEGORY],
            },
            "versions": [_version()],
        },
    }


def crd_yaml() -> str:
    """Return the CustomResourceDefinition as YAML, fit for `kubectl apply -f -`."""
    text: str = yaml.safe_dump(crd(), sort_keys=False, width=100, allow_unicode=True)
    return text


def _version() -> Schema:
    return {
        "name": names.VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": _columns(),
        "schema": {"openAPIV3Schema": _root()},
    }


def _columns() -> list[Schema]:
    return [
        _column("Pod", ".spec.pod", "The pod to capture"),
        _column("Target-NS", ".spec.namespace", "Its namespace, where it is another one"),
        _column("Phase", ".status.phase", "How far it has come"),
        _column("Progress", ".status.progress.summary", "What the current attempt has done"),
        _column("Size", ".status.size", "What the evidence weighs"),
        _column("Age", ".metadata.creationTimestamp", "How old the request is", kind="date"),
        _column("Node", ".status.node", "The pod's node", wide=True),
        _column("Location", ".status.location", "Where the evidence is", wide=True),
    ]


def _column(
    name: str, path: str, description: str, *, kind: str = "string", wide: bool = False
) -> Schema:
    column = {"name": name, "type": kind, "jsonPath": path, "description": description}
    return column | ({"priority": 1} if wide else {})


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


def _spec() -> Schema:
    schema = _structural(PodCheckpointSpec)
    properties = schema["properties"]
    for field in ("containers", "artifacts"):
        properties[field]["x-kubernetes-list-type"] = "set"
    properties["destination"]["x-kubernetes-validations"] = [_no_dots("destination")]
    properties["subpath"]["x-kubernetes-validations"] = [_no_dots("subpath")]
    properties["retention"]["x-kubernetes-validations"] = [_RETENTION]
    schema["x-kubernetes-validations"] = [
        *(_immutable(field) for field in properties if field not in _MUTABLE),
        _CANCEL,
    ]
    return schema


def _status() -> Schema:
    schema = _without_defaults(_structural(PodCheckpointStatus))
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
_CANCEL = {
    "rule": "!(has(oldSelf.cancel) && oldSelf.cancel) || (has(self.cancel) && self.cancel)",
    "message": "cancel cannot be taken back: create another PodCheckpoint",
    "reason": "FieldValueForbidden",
    "fieldPath": ".cancel",
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


def _structural(model: type[Model]) -> Schema:
    """Return the model's JSON schema with references and optional alternatives resolved."""
    schema = model.model_json_schema(
        by_alias=True, mode="validation", schema_generator=_DescribingSchema
    )
    return _resolve(schema, schema.get("$defs", {}))


class _DescribingSchema(GenerateJsonSchema):
    """Takes what the source says of each field, which pydantic would do whenever one is loaded."""

    def model_schema(self, schema: core_schema.ModelSchema) -> Schema:
        """Add the fields' docstrings to what there is."""
        made = super().model_schema(schema)
        model: type[BaseModel] = schema["cls"]
        for base in reversed(model.__mro__):
            if issubclass(base, Model) and base is not Model:
                for name, text in _field_docstrings(base).items():
                    made["properties"][model.model_fields[name].alias]["description"] = text
        return made


def _field_docstrings(model: type[BaseModel]) -> dict[str, str]:
    """Return the strings that follow fields in the class, by the fields' names."""
    (node,) = ast.parse(dedent(inspect.getsource(model))).body
    told = pairwise(node.body if isinstance(node, ast.ClassDef) else [])
    return {
        field.target.id: inspect.cleandoc(text.value.value)
        for field, text in told
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


def _resolve(node: Schema, definitions: Schema) -> Schema:
    node = _flatten(node, definitions)
    kept = {key: node[key] for key in _KEPT if node.get(key) not in _SAYS_NOTHING}
    if "description" in kept:
        kept["description"] = " ".join(kept["description"].split())
    if "properties" in node:
        kept |= {"required": node["required"]} if "required" in node else {}
        kept["properties"] = {
            name: _resolve(child, definitions) for name, child in node["properties"].items()
        }
    if "items" in node:
        kept["items"] = _resolve(node["items"], definitions)
    return kept


def _flatten(node: Schema, definitions: Schema) -> Schema:
    """Merge what a node refers to into the node; its own words come first."""
    alternatives = [choice for choice in node.get("anyOf", ()) if choice.get("type") != "null"]
    for choice in alternatives:
        node = _flatten(choice, definitions) | node
    if "$ref" in node:
        node = _flatten(definitions[node["$ref"].rsplit("/", 1)[-1]], definitions) | node
    return node


def _without_defaults(node: Schema) -> Schema:
    """Leave the defaults out: a status says only what was observed."""
    kept = {key: value for key, value in node.items() if key != "default"}
    if "properties" in kept:
        kept["properties"] = {
            name: _without_defaults(child) for name, child in kept["properties"].items()
        }
    if "items" in kept:
        kept["items"] = _without_defaults(kept["items"])
    return kept
