"""What somebody else has installed: whether the tests can use it, and putting it back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from forensics_core.operator.settings import Settings
from tests.e2e.commands import Commands

Manifest = dict[str, Any]

SERVERS_OWN = ("creationTimestamp", "generation", "managedFields", "resourceVersion", "uid")
"""Metadata that is the API server's to write."""


@dataclass(frozen=True, slots=True)
class Existing:
    """An operator that is there: its image and its settings."""

    image: str = ""
    settings: Settings = field(default_factory=Settings)

    def allows(self, destination: str) -> bool:
        """Whether it would store evidence there."""
        return self.settings.rule_for(destination) is not None

    @property
    def destinations(self) -> list[str]:
        """The places that it is set up for; none: it is as it comes."""
        return [rule.prefix for rule in self.settings.destinations]


def look(commands: Commands, name: str) -> Existing:
    """Return the operator, in the namespace of the same name; empty if there is none."""
    where = f"--namespace={name}"
    deployment = commands.get("deployment", name, where)
    if deployment is None:
        return Existing()
    pod = deployment["spec"]["template"]["spec"]
    maps = [volume["configMap"]["name"] for volume in pod["volumes"] if "configMap" in volume]
    found = [commands.get("configmap", each, where) for each in maps]
    texts = [(each or {}).get("data", {}).get("config.yaml") for each in found]
    settings = [Settings.model_validate(yaml.safe_load(text) or {}) for text in texts if text]
    return Existing(pod["containers"][0]["image"], *settings[:1])


@dataclass(frozen=True, slots=True)
class Loan:
    """Objects as they were before they were changed, and the ones that were not there."""

    commands: Commands
    before: Sequence[Manifest]
    absent: Sequence[Manifest]

    def give_back(self) -> None:
        """Put everything back as it was."""
        limit = f"--timeout={self.commands.inputs.timeout}s"
        if self.absent:
            missing = ("--ignore-not-found", limit)
            self.commands.kubectl("delete", *missing, "-f", "-", stdin=_as_list(self.absent))
        if self.before:
            # They come from the server: there is nothing to find out about them.
            unchecked = "--validate=false"
            self.commands.kubectl("replace", unchecked, "-f", "-", stdin=_as_list(self.before))


def borrow(commands: Commands, kustomization: Path, more: Sequence[Manifest]) -> Loan:
    """Note how the objects of a kustomization, and some more, are now."""
    rendered = yaml.safe_load_all(commands.kubectl("kustomize", kustomization))
    wanted = {_name(item): item for item in (*rendered, *more)}
    words = ("get", "--ignore-not-found", "--output=json", "-f", "-")
    text = commands.kubectl(*words, stdin=_as_list(list(wanted.values())))
    answer = json.loads(text) if text.strip() else {"items": []}
    before = {_name(item): _plain(item) for item in answer.get("items", [answer])}
    absent = [item for name, item in wanted.items() if name not in before]
    return Loan(commands, list(before.values()), absent)


def _as_list(items: Sequence[Manifest]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(items)})


def _name(item: Manifest) -> tuple[str, str, str]:
    metadata = item["metadata"]
    return item["kind"], metadata.get("namespace", ""), metadata["name"]


def _plain(item: Manifest) -> Manifest:
    metadata = {name: value for name, value in item["metadata"].items() if name not in SERVERS_OWN}
    return {name: value for name, value in item.items() if name != "status"} | {
        "metadata": metadata
    }
