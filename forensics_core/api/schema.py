"""Structural schemas for CustomResourceDefinitions, made from models.

No references, no alternatives, everything bounded, so that the API server can price the rules::

    schema = structural(PodCheckpointSpec)

Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
"""

from __future__ import annotations

import ast
import inspect
import json
from copy import deepcopy
from functools import cache
from itertools import pairwise
from textwrap import dedent
from typing import Any, TypeAlias

import yaml
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from forensics_core.api import names
from forensics_core.api.order import Model

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
    "maxProperties",
    "default",
)
_SAYS_NOTHING: tuple[object, ...] = (None, "", [])
"""Values that need no place in the schema: above all empty defaults."""


def column(
    name: str, path: str, description: str, *, kind: str = "string", wide: bool = False
) -> Schema:
    """Return a printer column; `wide` ones are shown with `-o wide` only."""
    column = {"name": name, "type": kind, "jsonPath": path, "description": description}
    return column | ({"priority": 1} if wide else {})


def definition(
    *, plural: str, singular: str, kind: str, short_name: str, columns: list[Schema], root: Schema
) -> Schema:
    """Return the CustomResourceDefinition of one of our kinds, in its one version."""
    version = {
        "name": names.VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": columns,
        "schema": {"openAPIV3Schema": root},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{names.GROUP}"},
        "spec": {
            "group": names.GROUP,
            "scope": "Namespaced",
            "names": {
                "plural": plural,
                "singular": singular,
                "kind": kind,
                "listKind": f"{kind}List",
                "shortNames": [short_name],
                "categories": [names.CATEGORY],
            },
            "versions": [version],
        },
    }


def as_yaml(manifest: Schema) -> str:
    """Return a manifest as YAML, fit for `kubectl apply -f -`."""
    # Through JSON: a list that the schema has twice is written twice, not once with an alias.
    whole = json.loads(json.dumps(manifest))
    text: str = yaml.safe_dump(whole, sort_keys=False, width=100, allow_unicode=True)
    return text


def structural(model: type[Model]) -> Schema:
    """Return the model's JSON schema with references and optional alternatives resolved.

    The first time it reads the model's source: modules ask for theirs when they are loaded, so that
    no event loop has to wait for it.
    """
    return deepcopy(_structural(model))


@cache
def _structural(model: type[Model]) -> Schema:
    schema = model.model_json_schema(
        by_alias=True, mode="validation", schema_generator=_DescribingSchema
    )
    return _resolve(schema, schema.get("$defs", {}))


def _without_nulls(default: object) -> object:
    """Return a default as the API server takes it: what is None has none."""
    if isinstance(default, dict):
        return {key: value for key, value in default.items() if value is not None}
    return default


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
    if "default" in kept:
        kept["default"] = _without_nulls(kept["default"])
    if "description" in kept:
        kept["description"] = " ".join(kept["description"].split())
    if "properties" in node:
        kept |= {"required": node["required"]} if "required" in node else {}
        kept["properties"] = {
            name: _resolve(child, definitions) for name, child in node["properties"].items()
        }
    if "items" in node:
        kept["items"] = _resolve(node["items"], definitions)
    if isinstance(values := node.get("additionalProperties"), dict):
        kept["additionalProperties"] = _resolve(values, definitions)
    return kept


def _flatten(node: Schema, definitions: Schema) -> Schema:
    """Merge what a node refers to into the node; its own words come first."""
    alternatives = [choice for choice in node.get("anyOf", ()) if choice.get("type") != "null"]
    for choice in alternatives:
        node = _flatten(choice, definitions) | node
    if "$ref" in node:
        node = _flatten(definitions[node["$ref"].rsplit("/", 1)[-1]], definitions) | node
    return node


def without_defaults(node: Schema) -> Schema:
    """Leave the defaults out: a status says only what was observed."""
    kept = {key: value for key, value in node.items() if key != "default"}
    if "properties" in kept:
        kept["properties"] = {
            name: without_defaults(child) for name, child in kept["properties"].items()
        }
    if "items" in kept:
        kept["items"] = without_defaults(kept["items"])
    return kept
