"""What whoever runs these tests can say: environment variables, described in docs/e2e.md."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Keys:
    """Credentials of an S3 identity."""

    access_key_id: str
    secret_access_key: str = field(repr=False)

    def variables(self) -> dict[str, str]:
        """Return them as the standard variables."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
        }


@dataclass(frozen=True, slots=True)
class Inputs:
    """All of it, with defaults for what is not said."""

    kubeconfig: str
    image: str
    """Of operator and collector; loaded on the nodes already."""
    target_image: str
    """Of the pods to capture: it has a shell."""
    target_namespace: str
    endpoint_pods: str
    """S3 as pods see it; empty for AWS."""
    endpoint_local: str
    """S3 as this machine sees it."""
    bucket: str
    region: str
    keys: Keys
    """The operator's, and this machine's: may add, read and list."""
    collector_keys: Keys
    """The collector's: may add."""
    deploy: bool
    """Whether to install, and to remove again; else what is installed is used."""
    public_key: Path | None
    """Where the installed operator's key is known; by default it is read from the cluster."""
    keep: bool
    timeout: int
    """Seconds that any one step may take."""
    run: str = field(default_factory=lambda: f"e2e-{secrets.token_hex(3)}")
    """A name for everything that is made."""

    @property
    def destination(self) -> str:
        """Where evidence goes: a folder of this run's own."""
        return f"s3://{self.bucket}/{self.run}"

    @property
    def endpoint_port(self) -> int:
        """The TCP port of S3 as pods see it."""
        parts = urlsplit(self.endpoint_pods)
        return parts.port or (80 if parts.scheme == "http" else 443)

    def s3_env(self) -> dict[str, str]:
        """Return the variables that lead a command on this machine to the evidence."""
        endpoint = {"AWS_ENDPOINT_URL": self.endpoint_local} if self.endpoint_local else {}
        region = {"AWS_REGION": self.region, "AWS_DEFAULT_REGION": self.region}
        return self.keys.variables() | region | endpoint


_USUAL = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
"""What is taken where the tests' own variables are not set."""


def read_inputs(environ: Mapping[str, str] = os.environ) -> Inputs:
    """Read the variables. Raises `KeyError` for one that has no default."""
    say = environ.get
    usual = {f"E2E_{name}": environ[name] for name in _USUAL if name in environ}
    given = usual | {name: value for name, value in environ.items() if value}
    keys = Keys(given["E2E_AWS_ACCESS_KEY_ID"], given["E2E_AWS_SECRET_ACCESS_KEY"])
    collector = Keys(
        say("E2E_COLLECTOR_AWS_ACCESS_KEY_ID") or keys.access_key_id,
        say("E2E_COLLECTOR_AWS_SECRET_ACCESS_KEY") or keys.secret_access_key,
    )
    pods = say("E2E_S3_ENDPOINT_PODS") or say("E2E_S3_ENDPOINT_LOCAL", "")
    known_key = say("E2E_PUBLIC_KEY")
    return Inputs(
        kubeconfig=given["KUBECONFIG"],
        image=say("E2E_IMAGE") or "kube-forensics:0.1.0",
        target_image=say("E2E_TARGET_IMAGE") or "busybox:1.36",
        target_namespace=say("E2E_TARGET_NAMESPACE") or "forensics-e2e",
        endpoint_pods=pods,
        endpoint_local=say("E2E_S3_ENDPOINT_LOCAL") or pods,
        bucket=(say("E2E_BUCKET") or "kube-forensics-e2e").removeprefix("s3://").strip("/"),
        region=say("E2E_REGION") or "us-east-1",
        keys=keys,
        collector_keys=collector,
        deploy=(say("E2E_DEPLOY") or "1") != "0",
        public_key=Path(known_key) if known_key else None,
        keep=(say("E2E_KEEP") or "0") != "0",
        timeout=int(say("E2E_TIMEOUT") or "300"),
    )
