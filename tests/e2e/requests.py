"""PodCheckpoints as users write them, and what comes of them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.commands import Commands
from tests.e2e.installation import CRD, SYSTEM, Installation
from tests.e2e.pods import POD, Target

SAMPLE = Path(__file__).parents[2] / "examples" / "podcheckpoint.yaml"
IN_SYSTEM = f"--namespace={SYSTEM}"


@dataclass(frozen=True, slots=True)
class Requests:
    """The requests of this run."""

    target: Target
    installation: Installation
    made: list[str] = field(default_factory=list)

    @property
    def commands(self) -> Commands:
        """kubectl and forensics."""
        return self.target.commands

    def name(self, what: str) -> str:
        """Return a name of this run's own, and remember it."""
        name = f"{self.commands.inputs.run}-{what}"
        self.made.append(name)
        return name

    def sample(self, name: str, **spec: Any) -> dict[str, Any]:
        """Return the sample of `examples/`, for our pod and bucket."""
        manifest: dict[str, Any] = yaml.safe_load(SAMPLE.read_text())
        manifest["metadata"]["name"] = name
        manifest["spec"] |= {
            "destination": self.commands.inputs.destination,
            "pod": POD,
            "namespace": self.target.namespace,
            **spec,
        }
        return manifest

    def apply(self, what: str, **spec: Any) -> str:
        """Apply the sample, and return its name."""
        name = self.name(what)
        self.commands.apply(self.sample(name, **spec), IN_SYSTEM)
        return name

    def refusal(self, manifest: dict[str, Any], *arguments: str) -> str:
        """Apply what has to be refused, and return why it was. Nothing stays if it was not."""
        text = json.dumps(manifest)
        words = ("apply", IN_SYSTEM, "--dry-run=server", *arguments, "-f", "-")
        return self.commands.refusal(*words, stdin=text)

    def get(self, name: str) -> dict[str, Any]:
        """Return one as it is now."""
        found: dict[str, Any] = self.commands.get(CRD, name, IN_SYSTEM)
        return found

    def ended(self, name: str) -> dict[str, Any]:
        """Wait for the end of one, good or bad, and return its status."""
        limit = f"--timeout={self.commands.inputs.timeout}s"
        place = f"--checkpoint-namespace={SYSTEM}"
        watched = self.commands.forensics("watch", name, place, limit, "-o", "json")
        status: dict[str, Any] = self.get(name).get("status", {})
        assert status.get("phase") in {"Complete", "Failed"}, f"{watched.err}\n{self._why(name)}"
        return status

    def _why(self, name: str) -> str:
        """Return what the cluster tells about one and its pods."""
        described = self.commands.kubectl("describe", CRD, name, IN_SYSTEM)
        pods = self.commands.kubectl("describe", "pods", IN_SYSTEM)
        return f"{described}\n{pods}"[-8000:]

    def remove(self) -> None:
        """Delete them all; where the installation goes too, it waits for that."""
        limit = f"--timeout={self.commands.inputs.timeout}s"
        if self.made:
            words = ("delete", CRD, *self.made, IN_SYSTEM, "--ignore-not-found", limit)
            self.commands.kubectl(*words)


def condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return a condition of a status, or an empty one."""
    found = [one for one in status.get("conditions", []) if one["type"] == kind]
    return found[0] if found else {}
