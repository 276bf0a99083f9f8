"""What whoever runs these tests can say: environment variables, described in docs/e2e.md."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

STANDARD = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
"""The variables that every S3 client reads."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Credentials of an S3 identity."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str = field(default="", repr=False)
    """Of credentials that were made for a while."""

    def variables(self) -> dict[str, str]:
        """Return them as the standard variables."""
        values = (self.access_key_id, self.secret_access_key, self.session_token)
        return {name: value for name, value in zip(STANDARD, values, strict=True) if value}


@dataclass(frozen=True, slots=True)
class Inputs:
    """All of it, with defaults for what is not said."""

    kubeconfig: str
    image: str
    """Of operator and collector; loaded on the nodes already. Empty: of what is installed."""
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
    deploy: bool | None
    """Whether to install, and to remove again; else what is installed is used. None: as it is."""
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
    def endpoint_host(self) -> str:
        """The host of S3 as pods see it: a name or an address; empty for AWS."""
        return urlsplit(self.endpoint_pods).hostname or ""

    @property
    def endpoint_port(self) -> int:
        """The TCP port of S3 as pods see it."""
        parts = urlsplit(self.endpoint_pods)
        return parts.port or (80 if parts.scheme == "http" else 443)

    def s3_env(self) -> dict[str, str]:
        """Return the variables that lead a command on this machine to the evidence."""
        endpoint = {"AWS_ENDPOINT_URL_S3": self.endpoint_local} if self.endpoint_local else {}
        region = {"AWS_REGION": self.region, "AWS_DEFAULT_REGION": self.region}
        return self.keys.variables() | region | endpoint


_REGIONS = ("E2E_REGION", "AWS_REGION", "AWS_DEFAULT_REGION")


def read_inputs(environ: Mapping[str, str] = os.environ) -> Inputs:
    """Read the variables. Raises `KeyError` for one that has no default."""
    say = environ.get
    keys = _keys(environ, "E2E_") or _keys(environ, "") or _no_keys()
    usual = say("AWS_ENDPOINT_URL_S3") or say("AWS_ENDPOINT_URL", "")
    pods = say("E2E_S3_ENDPOINT_PODS") or say("E2E_S3_ENDPOINT_LOCAL") or usual
    known_key = say("E2E_PUBLIC_KEY")
    return Inputs(
        kubeconfig=_required(environ, "KUBECONFIG"),
        image=say("E2E_IMAGE", ""),
        target_image=say("E2E_TARGET_IMAGE") or "busybox:1.36",
        target_namespace=say("E2E_TARGET_NAMESPACE") or "forensics-e2e",
        endpoint_pods=pods,
        endpoint_local=say("E2E_S3_ENDPOINT_LOCAL") or pods,
        bucket=(say("E2E_BUCKET") or "kube-forensics-e2e").removeprefix("s3://").strip("/"),
        region=next((said for name in _REGIONS if (said := say(name))), "us-east-1"),
        keys=keys,
        collector_keys=_keys(environ, "E2E_COLLECTOR_") or keys,
        deploy=_choice(say("E2E_DEPLOY")),
        public_key=Path(known_key) if known_key else None,
        keep=(say("E2E_KEEP") or "0") != "0",
        timeout=int(say("E2E_TIMEOUT") or "300"),
    )


def _required(environ: Mapping[str, str], name: str) -> str:
    if not environ.get(name):
        raise KeyError(name)
    return environ[name]


def _keys(environ: Mapping[str, str], prefix: str) -> Keys | None:
    """Read the keys of one identity: all from variables of one kind, never mixed."""
    key, secret, token = (environ.get(prefix + name, "") for name in STANDARD)
    if key and not secret:
        raise KeyError(f"{prefix or 'E2E_'}AWS_SECRET_ACCESS_KEY")
    return Keys(key, secret, token) if key else None


def _no_keys() -> NoReturn:
    raise KeyError("E2E_AWS_ACCESS_KEY_ID")


def _choice(said: str | None) -> bool | None:
    return None if not said else said != "0"
