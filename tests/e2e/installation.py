"""Installing what `deploy/` says, set for the bucket at hand, and removing it again."""

from __future__ import annotations

import base64
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from forensics_core.evidence.seal import generate_key
from tests.e2e.commands import Commands, Failed
from tests.e2e.inputs import Inputs, Keys

DEPLOY = Path(__file__).parents[2] / "deploy"
SYSTEM, OPERATOR = "forensics-system", "forensics-operator"
CRD = "podcheckpoints.forensics.orkaproj.io"
KEY_SECRET = "forensics-signing-key"  # noqa: S105  # its name
MARK = "forensics.orkaproj.io/e2e"
"""The label on the namespaces that these tests made, and may remove."""


@dataclass(frozen=True, slots=True)
class Installation:
    """kube-forensics in the cluster."""

    commands: Commands
    folder: Path
    """For the manifests as they were applied, and the key."""

    @property
    def inputs(self) -> Inputs:
        """What was said."""
        return self.commands.inputs

    @property
    def public_key(self) -> Path:
        """The key that the operator's seals hold for."""
        return self.folder / "forensics.pub"

    def install(self) -> None:
        """Apply everything, and wait until the operator is at work."""
        rendered = render(self.inputs, self.folder / "deploy", self._api_ports())
        kubectl = self.commands.kubectl
        kubectl("apply", "-f", rendered / "namespaces.yaml")
        for name in (SYSTEM, OPERATOR):
            kubectl("label", "namespace", name, f"{MARK}={self.inputs.run}", "--overwrite")
        private, public = generate_key()
        self.public_key.write_bytes(public)
        self.commands.apply(_secret(KEY_SECRET, OPERATOR, {"key.pem": private.decode()}))
        self.commands.apply(_keys("operator-s3", OPERATOR, self.inputs.keys))
        self.commands.apply(_keys("collector-s3", SYSTEM, self.inputs.collector_keys))
        where = f"--namespace={OPERATOR}"
        again = self.commands.get("deployment", OPERATOR, where) is not None
        kubectl("apply", "-k", rendered)
        if again:
            # What an earlier run kept still has that run's key.
            kubectl("rollout", "restart", f"deployment/{OPERATOR}", where)
        self.wait()

    def wait(self) -> None:
        """Wait until the resource is served and the operator's replicas are ready."""
        limit = f"--timeout={self.inputs.timeout}s"
        self.commands.kubectl("wait", f"crd/{CRD}", "--for=condition=Established", limit)
        try:
            self.commands.kubectl(
                "rollout", "status", f"deployment/{OPERATOR}", f"--namespace={OPERATOR}", limit
            )
        except Failed as error:
            raise Failed(f"{error}\n{self._why()}") from error

    def adopt(self) -> None:
        """Use what is installed already: only its key has to be known."""
        if self.inputs.public_key:
            shutil.copy(self.inputs.public_key, self.public_key)
            return
        secret = self.commands.get("secret", KEY_SECRET, f"--namespace={OPERATOR}")
        if secret is None:
            raise Failed("The operator has no signing key: name its public half in E2E_PUBLIC_KEY")
        private = load_pem_private_key(base64.b64decode(secret["data"]["key.pem"]), None)
        public = private.public_key()
        self.public_key.write_bytes(
            public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        )

    def remove(self) -> None:
        """Remove everything: the requests first, as the operator takes their finalizers off."""
        limit = f"--timeout={self.inputs.timeout}s"
        if self.commands.get("crd", CRD):
            try:
                self.commands.kubectl("delete", CRD, "--all", f"--namespace={SYSTEM}", limit)
            except Failed:
                self._release()
        if (self.folder / "deploy").exists():
            manifests = self.folder / "deploy"
            self.commands.kubectl("delete", "-k", manifests, "--ignore-not-found", limit)

    def _release(self) -> None:
        """Take the finalizers off ourselves: there is no operator that could."""
        where, patch = f"--namespace={SYSTEM}", '{"metadata": {"finalizers": null}}'
        for item in self.commands.list(CRD, where):
            name = item["metadata"]["name"]
            self.commands.kubectl("patch", CRD, name, where, "--type=merge", f"--patch={patch}")

    def refuse_to_overwrite(self) -> None:
        """Raise `Failed` where somebody else installed kube-forensics: it would be removed."""
        for name in (SYSTEM, OPERATOR):
            found = self.commands.get("namespace", name)
            if found and MARK not in found["metadata"].get("labels", {}):
                raise Failed(
                    f"The namespace {name} is there already, and not from these tests: set "
                    "E2E_DEPLOY=0 to use what is installed, or take another cluster"
                )

    def _api_ports(self) -> list[int]:
        """Return the ports of the API server itself, which the network policy has to let pass."""
        of_kubernetes = "--selector=kubernetes.io/service-name=kubernetes"
        slices = self.commands.list("endpointslices", "--namespace=default", of_kubernetes)
        return [port["port"] for each in slices for port in each.get("ports") or ()]

    def _why(self) -> str:
        """Return what the cluster tells about the operator's pods."""
        ended = self.commands.kubectl("describe", "pods", f"--namespace={OPERATOR}")
        return ended[-4000:]


def render(inputs: Inputs, folder: Path, api_ports: list[int]) -> Path:
    """Copy `deploy/`, edited as docs/install.md says; returns the copy."""
    shutil.copytree(DEPLOY, folder, ignore=shutil.ignore_patterns("wheels"))
    component = folder / "image" / "kustomization.yaml"
    _edit(component, lambda one: one.update(images=[_image(inputs.image)]))
    config = folder / "operator" / "config.yaml"
    config.write_text(yaml.safe_dump(_settings(inputs)))
    for name, ports in {
        "collector": [inputs.endpoint_port],
        "operator": [inputs.endpoint_port, *api_ports],
    }.items():
        _let_out(folder / "network" / f"{name}.yaml", ports)
    return folder


def _edit(path: Path, change: Any) -> None:
    documents = list(yaml.safe_load_all(path.read_text()))
    for document in documents:
        change(document)
    path.write_text(yaml.safe_dump_all(documents, sort_keys=False))


def _image(image: str) -> dict[str, str]:
    name, _, digest = image.partition("@")
    if digest:
        return {"name": "kube-forensics", "newName": name, "digest": digest}
    stem, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        # The colon is a port's.
        return {"name": "kube-forensics", "newName": name, "newTag": "latest"}
    return {"name": "kube-forensics", "newName": stem, "newTag": tag}


def _settings(inputs: Inputs) -> dict[str, Any]:
    rule: dict[str, Any] = {
        "prefix": f"s3://{inputs.bucket}",
        "region": inputs.region,
        "credentials": {"secret": "collector-s3"},
    }
    if inputs.endpoint_pods:
        rule["endpoint"] = inputs.endpoint_pods
    return {
        "namespaces": [SYSTEM],
        "destinations": [rule],
        "signingKey": "/run/forensics/signing/key.pem",
    }


def _let_out(path: Path, ports: list[int]) -> None:
    """Add TCP ports to the rules of a network policy that name S3's."""

    def add(policy: dict[str, Any]) -> None:
        for rule in policy["spec"].get("egress", ()):
            known = [port["port"] for port in rule["ports"]]
            if 443 in known:
                new = [port for port in dict.fromkeys(ports) if port not in known]
                rule["ports"] += [{"protocol": "TCP", "port": port} for port in new]

    _edit(path, add)


def _keys(name: str, namespace: str, keys: Keys) -> dict[str, Any]:
    return _secret(name, namespace, keys.variables())


def _secret(name: str, namespace: str, data: dict[str, str]) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data}
