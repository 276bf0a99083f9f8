"""Installing what `deploy/` says, set for the bucket at hand, and removing it again."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from forensics_core.bundle.seal import generate_key
from tests.e2e.commands import Commands, Failed
from tests.e2e.existing import Loan, borrow, look
from tests.e2e.inputs import Inputs

DEPLOY = Path(__file__).parents[2] / "deploy"
SYSTEM, OPERATOR = "forensics-system", "forensics-operator"
CRD = "podcheckpoints.forensics.orkaproj.io"
RULES = "capturerules.forensics.orkaproj.io"
KEY_SECRET = "forensics-signing-key"  # noqa: S105  # its name
MARK = "forensics.orkaproj.io/e2e"
"""The label on the namespaces that these tests made, and may remove."""
IMAGE = "kube-forensics:0.1.0"
"""What `make image` makes."""


class Means(Enum):
    """How the tests come by an installation."""

    OWN = "install it, and remove it"
    LOAN = "set up what is there, and put it back"
    ADOPT = "use what is there"


@dataclass(frozen=True, slots=True)
class Installation:
    """kube-forensics in the cluster."""

    commands: Commands
    folder: Path
    """For the manifests as they were applied, and the key."""
    secrets: list[dict[str, Any]] = field(default_factory=list)
    """What is applied with them: the key, and credentials. Never written to a file."""

    @property
    def inputs(self) -> Inputs:
        """What was said."""
        return self.commands.inputs

    @property
    def public_key(self) -> Path:
        """The key that the operator's seals hold for."""
        return self.folder / "forensics.pub"

    def means(self) -> Means:
        """Decide. Raises `Failed` if what is there would have to be changed, and is in use."""
        if self.inputs.deploy is False:
            return Means.ADOPT
        if not self._foreign():
            return Means.OWN
        there = look(self.commands, OPERATOR)
        if self.inputs.deploy or not there.destinations:
            return Means.LOAN
        if there.allows(self.inputs.destination):
            return Means.ADOPT
        raise Failed(
            f"kube-forensics is installed, for {', '.join(there.destinations)}: name one of these "
            "in E2E_BUCKET, or let the tests set it up for their own and put it back: E2E_DEPLOY=1"
        )

    def prepare(self) -> None:
        """Write the manifests that `install` applies."""
        there = look(self.commands, OPERATOR)
        image = self.inputs.image or there.image or IMAGE
        private, public = generate_key()
        self.public_key.write_bytes(public)
        self.secrets[:] = [
            _secret(KEY_SECRET, OPERATOR, {"key.pem": private.decode()}),
            _secret("operator-s3", OPERATOR, self.inputs.keys.variables()),
            _secret("collector-s3", SYSTEM, self.inputs.collector_keys.variables()),
        ]
        ports = Ports(s3=self._s3_ports(), api=self._api_ports())
        # The older group goes on being served where it was: its overlay is there to be tried.
        more = {"keiko": True} if there.settings.keiko else {}
        render(replace(self.inputs, image=image), self._manifests, ports, more)

    def borrow(self) -> Loan:
        """Note what is there, to put it back."""
        return borrow(self.commands, self._manifests, self.secrets)

    def install(self) -> None:
        """Apply everything, and wait until the operator is at work."""
        kubectl, where = self.commands.kubectl, f"--namespace={OPERATOR}"
        foreign = self._foreign()
        kubectl("apply", "-f", self._manifests / "namespaces.yaml")
        for name in () if foreign else (SYSTEM, OPERATOR):
            kubectl("label", "namespace", name, f"{MARK}={self.inputs.run}", "--overwrite")
        for secret in self.secrets:
            self.commands.apply(secret)
        again = self.commands.get("deployment", OPERATOR, where) is not None
        kubectl("apply", "-k", self._manifests)
        if again:
            # The Secrets that were there are in the environment of what runs.
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
        if self.commands.get("crd", RULES):
            # They would ask for more.
            self.commands.kubectl("delete", RULES, "--all", f"--namespace={SYSTEM}", limit)
        if self.commands.get("crd", CRD):
            try:
                self.commands.kubectl("delete", CRD, "--all", f"--namespace={SYSTEM}", limit)
            except Failed:
                self._release()
        if self._manifests.exists():
            self.commands.kubectl("delete", "-k", self._manifests, "--ignore-not-found", limit)

    def _release(self) -> None:
        """Take the finalizers off ourselves: there is no operator that could."""
        where, patch = f"--namespace={SYSTEM}", '{"metadata": {"finalizers": null}}'
        for item in self.commands.list(CRD, where):
            name = item["metadata"]["name"]
            self.commands.kubectl("patch", CRD, name, where, "--type=merge", f"--patch={patch}")

    @property
    def _manifests(self) -> Path:
        return self.folder / "deploy"

    def _foreign(self) -> bool:
        """Whether a namespace of ours is there that these tests did not make."""
        found = [self.commands.namespace(name) for name in (SYSTEM, OPERATOR)]
        return any(MARK not in each["metadata"].get("labels", {}) for each in found if each)

    def _api_ports(self) -> list[int]:
        """Return the ports of the API server itself: a policy sees no Service's."""
        return self._ports_behind("default", "kubernetes")

    def _s3_ports(self) -> list[int]:
        """Return the port of S3, and those of the pods where it is a Service of the cluster."""
        services = self.commands.list("services", "--all-namespaces")
        names = [
            (each["metadata"]["namespace"], each["metadata"]["name"])
            for each in services
            if leads_to(each, self.inputs.endpoint_host, self.inputs.endpoint_port)
        ]
        behind = [port for name in names for port in self._ports_behind(*name)]
        return [self.inputs.endpoint_port, *behind]

    def _ports_behind(self, namespace: str, service: str) -> list[int]:
        label = f"--selector=kubernetes.io/service-name={service}"
        slices = self.commands.list("endpointslices", f"--namespace={namespace}", label)
        ports = [port.get("port") for each in slices for port in each.get("ports") or ()]
        return [port for port in ports if port]

    def _why(self) -> str:
        """Return what the cluster tells about the operator's pods."""
        ended = self.commands.kubectl("describe", "pods", f"--namespace={OPERATOR}")
        return ended[-4000:]


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the network policies have to let connections out to."""

    s3: list[int]
    api: list[int]


def leads_to(service: dict[str, Any], host: str, port: int) -> bool:
    """Whether a Service stands behind an endpoint: by its name, an address, or a node's port."""
    metadata, spec = service["metadata"], service["spec"]
    name = [metadata["name"], metadata["namespace"], "svc"]
    entrances = service.get("status", {}).get("loadBalancer", {}).get("ingress") or []
    addresses = [
        *(spec.get("clusterIPs") or ()),
        *(spec.get("externalIPs") or ()),
        *(each.get("ip") or each.get("hostname") for each in entrances),
    ]
    node_ports = [each.get("nodePort") for each in spec.get("ports") or ()]
    return host.split(".")[:3] in (name, name[:2]) or host in addresses or port in node_ports


def render(
    inputs: Inputs, folder: Path, ports: Ports, more: Mapping[str, Any] | None = None
) -> Path:
    """Copy `deploy/`, edited as docs/install.md says, with more settings; returns the copy."""
    shutil.copytree(DEPLOY, folder, ignore=shutil.ignore_patterns("wheels"))
    component = folder / "image" / "kustomization.yaml"
    _edit(component, lambda one: one.update(images=[_image(inputs.image or IMAGE)]))
    config = folder / "operator" / "config.yaml"
    config.write_text(yaml.safe_dump(_settings(inputs) | dict(more or {})))
    _let_out(folder / "network" / "collector.yaml", ports.s3)
    _let_out(folder / "network" / "operator.yaml", [*ports.s3, *ports.api])
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


def _secret(name: str, namespace: str, data: dict[str, str]) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data}
