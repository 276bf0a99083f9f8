"""kubectl and forensics, run as a person runs them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tests.e2e.inputs import STANDARD, Inputs

T = TypeVar("T")

BIN = Path(sys.executable).parent
PAUSE = 1.0
"""Seconds between two looks at something that changes."""


class Failed(AssertionError):
    """A command ended with an error; the message has what it said."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Commands:
    """Commands against the cluster and the bucket."""

    inputs: Inputs

    def kubectl(self, *arguments: str | Path, stdin: str = "") -> str:
        """Run kubectl and return its output. Raises `Failed`."""
        ended = self.run(kubectl(), *arguments, stdin=stdin)
        if ended.code:
            words = " ".join(str(argument) for argument in arguments)
            raise Failed(f"kubectl {words}: {ended.err.strip()}")
        return ended.out

    def get(self, *arguments: str) -> Any:
        """Return what `kubectl get ... -o json` prints, or None where nothing is."""
        text = self.kubectl("get", *arguments, "--ignore-not-found", "--output=json")
        return json.loads(text) if text.strip() else None

    def list(self, *arguments: str) -> list[Any]:
        """Return the objects that `kubectl get` finds."""
        found = self.get(*arguments)
        return list(found["items"]) if found else []

    def namespace(self, name: str) -> Any:
        """Return a namespace, or None. One that is going is waited for: it takes nothing."""
        found = self.get("namespace", name)
        # The first look alone fails at once where there is no cluster.
        if not _going(found):
            return found
        self.until(lambda: not _going(self.get("namespace", name)), f"The end of {name}")
        return self.get("namespace", name)

    def apply(self, manifest: Mapping[str, Any], *arguments: str) -> str:
        """Apply one object."""
        return self.kubectl("apply", *arguments, "-f", "-", stdin=json.dumps(manifest))

    def refusal(self, *arguments: str, stdin: str = "") -> str:
        """Run kubectl, which has to fail, and return what it says. Raises `Failed` if it works."""
        ended = self.run(kubectl(), *arguments, stdin=stdin)
        if ended.code == 0:
            raise Failed(f"kubectl {' '.join(arguments)} was not refused: {ended.out}")
        return ended.err

    def forensics(self, *arguments: str | Path) -> Ended:
        """Run `forensics`, whatever comes of it."""
        return self.run(str(BIN / "forensics"), *arguments)

    def run(self, *command: str | Path, stdin: str = "") -> Ended:
        """Run a command to its end, within the time that a step may take."""
        said = {name: value for name, value in os.environ.items() if name not in STANDARD}
        env = {**said, **self.inputs.s3_env(), "KUBECONFIG": self.inputs.kubeconfig}
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, env=env, timeout=self.limit
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    @property
    def limit(self) -> float:
        """Seconds for a command: those of a step, and some for the command to say it was late."""
        return self.inputs.timeout + 30.0

    def until(self, look: Callable[[], T | None], what: str) -> T:
        """Look again and again until there is something to see, and return that.

        A look that fails is repeated too; the last failure is told if nothing comes.
        """
        end, why = time.monotonic() + self.inputs.timeout, ""
        while time.monotonic() < end:
            try:
                found = look()
            except Failed as error:
                found, why = None, f": {error}"
            if found:
                return found
            time.sleep(PAUSE)
        raise Failed(f"{what}: not within {self.inputs.timeout} s (E2E_TIMEOUT){why}")


def _going(namespace: Any) -> bool:
    return namespace is not None and "deletionTimestamp" in namespace["metadata"]


def kubectl() -> str:
    """Return the kubectl to run: `KUBECTL`, that of `PATH`, or the one beside this Python."""
    named = os.environ.get("KUBECTL") or "kubectl"
    found = shutil.which(named) or shutil.which("kubectl", path=str(BIN))
    assert found, f"{named} is neither in PATH nor in {BIN}"
    return found
