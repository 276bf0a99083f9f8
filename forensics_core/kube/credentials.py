"""Which cluster, and as whom: from the kubeconfig, or from the pod's own service account.

In this order: what the caller names, `KUBECONFIG`, `~/.kube/config`, the service account.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread
from kubernetes_asyncio.client import Configuration
from kubernetes_asyncio.config.kube_config import KubeConfigLoader

from forensics_core.errors import ClusterNotConfigured
from forensics_core.kube.kubeconfig import LISTS, files_of, merge

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_HINT = "Set KUBECONFIG, or run in a pod that has a service account"


@dataclass(frozen=True, slots=True)
class ClusterCredentials:
    """Everything that a client is made from."""

    configuration: Configuration
    namespace: str
    """Where the kubeconfig's context points, or where the pod runs."""
    files: tuple[Path, ...]
    """What it was read from: once these change, it is to be read again."""

    def fingerprint(self) -> tuple[tuple[int, int, int] | None, ...]:
        """Return what tells whether a file was replaced or written since. Blocks."""
        return tuple(_stamp(file) for file in self.files)


@dataclass(frozen=True, slots=True)
class CredentialSource:
    """Where to read credentials, now and after each rotation."""

    kubeconfig: str | None = None
    """One path, or several with `:` between them; None: the service account."""
    context: str | None = None
    service_account: Path = SERVICE_ACCOUNT

    @classmethod
    def find(
        cls,
        kubeconfig: str | Path | None,
        context: str | None,
        environment: Mapping[str, str] = os.environ,
    ) -> CredentialSource:
        """Choose the source. Raises `ClusterNotConfigured` if there is none. Blocks."""
        if kubeconfig:
            return cls(kubeconfig=str(kubeconfig), context=context)
        usual = Path(environment.get("HOME", "/")) / ".kube" / "config"
        named = environment.get("KUBECONFIG") or str(usual)
        if any(file.is_file() for file in files_of(named)):
            return cls(kubeconfig=named, context=context)
        if "KUBERNETES_SERVICE_HOST" in environment:
            return cls()
        if environment.get("KUBECONFIG"):
            raise ClusterNotConfigured(
                f"None of the files that KUBECONFIG names is there: {named}", hint=_HINT
            )
        raise ClusterNotConfigured("Nothing says which cluster to talk to", hint=_HINT)

    async def load(self) -> ClusterCredentials:
        """Read the files, and run the credential plugin that they may name, in a thread.

        Raises `ClusterNotConfigured`.
        """
        if self.kubeconfig is None:
            return await anyio.to_thread.run_sync(from_service_account, self.service_account)
        return await _from_kubeconfig(self.kubeconfig, self.context)


def from_service_account(
    folder: Path, environment: Mapping[str, str] = os.environ
) -> ClusterCredentials:
    """Read a pod's own credentials. Raises `ClusterNotConfigured`. Blocks."""
    files = (folder / "token", folder / "ca.crt")
    host = environment.get("KUBERNETES_SERVICE_HOST", "")
    port = environment.get("KUBERNETES_SERVICE_PORT", "443")
    try:
        token = files[0].read_text().strip()
        namespace = (folder / "namespace").read_text().strip()
    except OSError as error:
        raise ClusterNotConfigured(
            f"The service account cannot be read: {error}", hint=_HINT
        ) from error
    configuration = _configuration(f"https://{f'[{host}]' if ':' in host else host}:{port}")
    configuration.api_key["BearerToken"] = f"Bearer {token}"
    configuration.ssl_ca_cert = str(files[1])
    return ClusterCredentials(configuration, namespace, files)


def _configuration(host: str | None = None) -> Configuration:
    configuration = Configuration(host=host)
    # Since 3.13 Python asks for extensions that many clusters' authorities lack: old kubeadm's,
    # managed ones'. kubectl does not. Chain, dates and the host's name are checked all the same.
    configuration.disable_strict_ssl_verification = True
    return configuration


async def _from_kubeconfig(paths: str, context: str | None) -> ClusterCredentials:
    files = files_of(paths)
    merged = await anyio.to_thread.run_sync(merge, files)
    if not any(merged[name] for name in LISTS):
        raise ClusterNotConfigured(
            f"The kubeconfig {paths} is missing, or empty", hint="Check KUBECONFIG"
        )
    if not (context or merged["current-context"]):
        raise ClusterNotConfigured(
            f"The kubeconfig {paths} names no current context",
            hint="Choose one with --context, or `kubectl config use-context`",
        )
    configuration = _configuration()
    try:
        loader = KubeConfigLoader(merged, context, config_base_path="")
        await anyio.to_thread.run_sync(asyncio.run, loader.load_and_set(configuration))
    except Exception as error:
        # Plugins, parsers and the file system fail here, each with errors of its own.
        raise ClusterNotConfigured(
            f"The kubeconfig {paths} cannot be used: {error}",
            hint="Check it with `kubectl config view`",
        ) from error
    token = configuration.api_key.get("BearerToken")
    if token is not None:
        configuration.api_key["BearerToken"] = token.strip()
    chosen = (loader.current_context or {}).get("context", {})
    users = {one["name"]: one["user"] for one in merged["users"]}
    own = users.get(chosen.get("user"), {})
    named = [configuration.ssl_ca_cert, configuration.cert_file, configuration.key_file]
    used = [Path(name) for name in (*named, own.get("tokenFile")) if name]
    return ClusterCredentials(configuration, chosen.get("namespace") or "default", (*files, *used))


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
