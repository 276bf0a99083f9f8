"""Evaluate the admission policies as an API server does; the authorizer is a set of rights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import cel

from tests.unit.deploy.manifests import Manifest


@dataclass(frozen=True, slots=True)
class Right:
    """Something that somebody may do; an empty name stands for all objects."""

    verb: str
    resource: str
    """With its group and subresource: `pods/exec`, `forensics.orkaproj.io/podcheckpoints`."""
    namespace: str
    """Empty for all namespaces."""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Review:
    """A request that admission is asked about."""

    user: str
    object: Manifest
    old: Manifest | None = None
    rights: frozenset[Right] = field(default_factory=frozenset)

    def variables(self) -> dict[str, Any]:
        """Return what every expression can refer to."""
        request = {
            "operation": "CREATE" if self.old is None else "UPDATE",
            "namespace": self.object["metadata"]["namespace"],
            "userInfo": {"username": self.user},
        }
        return {
            "object": self.object,
            "oldObject": self.old,
            "request": request,
            "authorizer": {"none": ""},
        }


CHECK = 350_000
"""What an API server takes for one question to the authorizer, and what it gives to one expression,
to the conditions of a policy, and to all else of it. Source: k8s.io/apiserver, pkg/apis/cel and
pkg/cel/library."""
EXPRESSION_LIMIT, CONDITIONS_LIMIT, POLICY_LIMIT = 1_000_000, 2_500_000, 10_000_000


class Policy:
    """A ValidatingAdmissionPolicy."""

    def __init__(self, manifest: Manifest) -> None:
        self._spec = manifest["spec"]

    def objections(self, review: Review) -> list[str]:
        """Return the message of each validation that does not hold; none: admitted."""
        context = self._context(review)
        return [
            self._message(validation, context)
            for validation in self._spec["validations"]
            if cel.evaluate(validation["expression"], context) is not True
        ]

    def matches(self, review: Review) -> bool:
        """Return whether the conditions let the policy judge at all."""
        context = cel.Context(review.variables(), _functions(review))
        return all(
            cel.evaluate(condition["expression"], context) is True
            for condition in self._spec.get("matchConditions", [])
        )

    def questions(self) -> dict[str, int]:
        """Return how often each expression asks the authorizer, at most."""
        named = {one["name"]: one["expression"] for one in self._spec["variables"]}
        judged = {one["expression"]: one["expression"] for one in self._spec["validations"]}
        return {name: text.count(".check(") for name, text in (named | judged).items()}

    def _context(self, review: Review) -> cel.Context:
        context = cel.Context(review.variables(), _functions(review))
        variables: dict[str, Any] = {}
        for variable in self._spec["variables"]:
            variables[variable["name"]] = cel.evaluate(variable["expression"], context)
            context.add_variable("variables", variables)
        return context

    @staticmethod
    def _message(validation: Mapping[str, str], context: cel.Context) -> str:
        """Return the message: the plain one stands in for one that cannot be made."""
        if "messageExpression" not in validation:
            return validation["message"]
        return str(cel.evaluate(validation["messageExpression"], context))


def _functions(review: Review) -> dict[str, Callable[..., Any]]:
    """Return what Kubernetes adds to CEL, as far as the policies use it."""

    def put(key: str) -> Callable[[dict[str, str], str], dict[str, str]]:
        return lambda check, value: check | {key: value}

    steps = {key: put(key) for key in ("group", "resource", "subresource", "namespace", "name")}
    return {
        **steps,
        "check": put("verb"),
        "allowed": lambda check: _allowed(check, review.rights),
        "dyn": lambda value: value,
        "join": lambda words, separator: separator.join(words),
    }


def _allowed(check: Mapping[str, str], rights: frozenset[Right]) -> bool:
    parts = [check.get("group"), check["resource"], check.get("subresource")]
    resource = "/".join(part for part in parts if part)
    names, namespaces = {"", check.get("name", "")}, {"", check.get("namespace", "")}
    return any(
        Right(check["verb"], resource, namespace, name) in rights
        for name in names
        for namespace in namespaces
    )
