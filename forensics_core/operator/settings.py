"""The operator's settings: one YAML file, and a few environment variables for what a manifest sets.

destinations:
  - prefix: s3://cases
    endpoint: https://s3.eu-central-1.amazonaws.com
    region: eu-central-1
    credentials: {secret: collector-s3}
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from forensics_core._internal.units import parse_size
from forensics_core.api.order import Model
from forensics_core.api.podcheckpoint import Destination, DnsLabel, PodCheckpoint, PodName
from forensics_core.service.settings import check_settings, read_settings
from forensics_core.storage.objects import MAX_ENTRIES
from forensics_core.storage.s3.client import LARGEST_PART, SMALLEST_PART, S3Access
from forensics_core.storage.s3.request import AWS_BUCKET
from forensics_core.storage.s3.sts import StsAccess

JOB_MARGIN = 120
"""Seconds that the Job may take beyond the capture's own deadline, to write its manifest: a Job
past its deadline takes its pod, and what that had to say, with it."""


class Timings(Model):
    """How long things are waited for that hardly ever need another time."""

    look_again: timedelta = timedelta(seconds=5)
    """Until a pod that is not ready to be captured is looked at again."""
    waiting_look: timedelta = timedelta(seconds=20)
    """Until a pod that waits for its place is looked at again: once it is dying, it comes first."""
    aging: timedelta = timedelta(minutes=2)
    """After which a pod that waits counts as urgent as a crash-looping one, and after twice that as
    a dying one: nobody waits for ever behind those who come later."""
    late_start: timedelta = timedelta(seconds=30)
    """How long a worker may take to start before that is told."""
    silence: timedelta = timedelta(seconds=30)
    """How long a finished Job's pod, or one that is being deleted, may take to say how it ended."""
    least_attempt: timedelta = timedelta(seconds=30)
    """With less than that before the deadline no other attempt begins."""
    overdue: timedelta = timedelta(minutes=10)
    """How long after its deadline an attempt may still be waited for, whatever it hangs on: its Job
    has ended by then, and a store that is still away will not tell of it in time."""
    seal_overdue: timedelta = timedelta(days=1)
    """How long after its deadline evidence that was compared may wait for its seal."""
    deletion: timedelta = timedelta(seconds=90)
    """How long a resource that is being deleted waits for its seal, or for its Job's pod to end."""
    fresh: timedelta = timedelta(seconds=10)
    """For which a shared read of the cluster is used again."""
    retry_read: timedelta = timedelta(milliseconds=500)
    """Until a part of the context is asked for a second time while the API server is away."""
    store_timeout: timedelta = timedelta(seconds=10)
    """Without progress, after which a request to a store is made again."""
    store_attempts: Annotated[int, Field(ge=1, le=10)] = 2
    """Requests after which a store counts as unreachable: reconcilers are few, and each checkpoint
    comes again after a pause."""
    store_pause: timedelta = timedelta(seconds=5)
    """For which a store that did not answer is left alone."""
    isolation: timedelta = timedelta(seconds=10)
    """How long a capture waits for its pod to be isolated; and each request about that."""
    isolated_recheck: timedelta = timedelta(minutes=10)
    """Until it is looked again whether the pod is still there whose isolation keeps a checkpoint
    that has outlived its time."""
    findings: timedelta = timedelta(seconds=5)
    """How long the end of a capture that is sealed may wait for its findings."""
    overlay: timedelta = timedelta(minutes=1)
    """Until pods that may not be watched are asked for again; rules, five times as long."""
    rule_status: timedelta = timedelta(seconds=1)
    """The shortest time between two updates of rules' statuses."""
    store_remembered: timedelta = timedelta(minutes=5)
    """For which it is remembered that a folder is no bundle."""


_DOCUMENT = "docs/operator.md"


HttpUrl = Annotated[str, Field(pattern=r"^https?://[!-~]{1,2000}$")]
"""A URL as it goes into an environment and a request: no blanks, no control characters."""


class CollectorCredentials(Model):
    """Where the collector's credentials for a destination come from: exactly one of these."""

    secret: PodName | None = None
    """A Secret beside the Jobs whose keys are the standard variables: `AWS_ACCESS_KEY_ID`, ...; or
    `credentials`, a file of them, which may change while a Job runs."""
    service_account: PodName | None = None
    """A ServiceAccount beside the Jobs, whose token for `audience` is exchanged for `role_arn`."""
    role_arn: str = ""
    audience: str = "sts.amazonaws.com"
    node: bool = False
    """The node's own role: the Job then runs in the host's network."""
    assume_role: Annotated[str, Field(pattern="^(arn:[!-~]{1,2000})?$")] = ""
    """A role that the operator assumes for each attempt: its credentials lie beside the work order,
    are good for adding to that one bundle, and end with the capture."""
    web_identity: bool = False
    """Whether the operator's own token is exchanged for that role; else its credentials are."""
    sts_endpoint: HttpUrl | None = None
    """The token service's URL as the operator sees it. Default: AWS's own for the region."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        sources = (self.secret, self.service_account, self.node, self.assume_role)
        if sum(map(bool, sources)) != 1:
            raise ValueError("name exactly one of secret, serviceAccount, node and assumeRole")
        if not self.assume_role and (self.web_identity or self.sts_endpoint):
            raise ValueError("webIdentity and stsEndpoint are for assumeRole")
        if self.service_account and not self.role_arn:
            raise ValueError("serviceAccount needs roleArn")
        return self


def _rate(text: str) -> str:
    if text:
        parse_size(text)
    return text


def _part(text: str) -> str:
    if text and not SMALLEST_PART <= parse_size(text) <= LARGEST_PART:
        raise ValueError("a part has 5 MiB to 1 GiB")
    return text


class DestinationRule(Model):
    """A place that evidence may go to, and all that is beneath it."""

    prefix: Destination
    """`s3://bucket[/prefix]`."""
    endpoint: HttpUrl | None = None
    """The service's URL as pods see it. Default: AWS."""
    operator_endpoint: HttpUrl | None = None
    """The same as the operator sees it, where that differs."""
    region: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")] = "us-east-1"
    expected_bucket_owner: Annotated[str, Field(pattern="^[0-9]{12}$")] | None = None
    """The AWS account that must own the bucket."""
    checksum: Literal["auto", "crc64nvme", "sha256", "md5", "none"] = "auto"
    """How the store checks what arrives; `auto` takes the best that it does not refuse."""
    acl: bool | None = None
    """Whether objects get the access list `bucket-owner-full-control`. Default: on AWS only."""
    addressing_style: Literal["auto", "path", "virtual"] = "auto"
    """Whether the bucket is in the path or in the host's name. Default: the path, except on AWS."""
    part_size: Annotated[str, AfterValidator(_part)] = ""
    """Bytes of every part, such as `64MiB`, for stores that want all alike. Default: growing."""
    max_objects: Annotated[int, Field(ge=1)] = MAX_ENTRIES
    """Objects beneath a bundle's location that a listing may find: more are no bundle."""
    ca_config_map: PodName | None = None
    """A ConfigMap beside the Jobs whose key `ca.crt` is the store's own authority, in PEM."""
    ca_file: Path | None = None
    """The same as a file of the operator's. Default: `AWS_CA_BUNDLE`, or the usual authorities."""
    credentials: CollectorCredentials
    """The collector's. The operator's own come from its environment, and have to let it read."""

    @model_validator(mode="after")
    def _named_as_aws_does(self) -> Self:
        if not self.endpoint and not AWS_BUCKET.fullmatch(self.bucket):
            raise ValueError(
                f"AWS has no bucket that is called '{self.bucket}': name the store's endpoint"
            )
        return self

    @property
    def bucket(self) -> str:
        """The bucket's name."""
        return self.prefix.removeprefix("s3://").partition("/")[0]

    def covers(self, destination: str) -> bool:
        """Return whether `destination` is the prefix, or lies beneath it."""
        prefix = self.prefix.rstrip("/")
        return destination.rstrip("/") == prefix or destination.startswith(prefix + "/")

    def operator_access(self, timings: Timings) -> S3Access:
        """Return how the operator reaches the service."""
        return S3Access(
            endpoint_url=self.operator_endpoint or self.endpoint,
            region=self.region,
            expected_bucket_owner=self.expected_bucket_owner,
            checksum=self.checksum,
            acl=self.acl,
            addressing_style=None if self.addressing_style == "auto" else self.addressing_style,
            part_size=parse_size(self.part_size) if self.part_size else None,
            ca_bundle=str(self.ca_file) if self.ca_file else None,
            max_objects=self.max_objects,
            progress_timeout=timings.store_timeout.total_seconds(),
            attempts=timings.store_attempts,
        )

    def sts_access(self, timings: Timings) -> StsAccess:
        """Return how the operator gets credentials for collectors."""
        return StsAccess(
            role_arn=self.credentials.assume_role,
            web_identity=self.credentials.web_identity,
            endpoint_url=self.credentials.sts_endpoint,
            region=self.region,
            ca_bundle=str(self.ca_file) if self.ca_file else None,
            timeout=timings.store_timeout.total_seconds(),
        )


class CollectorSettings(Model):
    """What the Jobs look like."""

    image: str = ""
    """Default: `FORENSICS_COLLECTOR_IMAGE`, which the manifests set to the operator's own."""
    command: tuple[str, ...] = ("forensics", "collect")
    image_pull_policy: str = "IfNotPresent"
    cpu_request: str = "10m"
    """Of a busy processor each pod gets a share by its request, whatever its processes' niceness:
    with so little a collector gives way to whoever requests more."""
    memory_request: str = "256Mi"
    memory_limit: str = "512Mi"
    priority_class: str = ""
    runtime_endpoint: Annotated[str, Field(pattern="^(unix://)?/.+$")] | None = None
    """The runtime's socket on every node, for nodes that run two: `unix:///run/crio/crio.sock`."""
    start_seconds: Annotated[int, Field(ge=30, le=3600)] = 300
    """How long a Job's pod may take to start: to be placed, and to pull its image."""
    concurrent_containers: Annotated[int, Field(ge=1, le=8)] = 2
    """Containers of one pod that are captured at once; each takes about 50 MiB of memory."""
    gentle: bool = True
    """Come last at the node's disk, where its scheduler knows priorities."""
    rate: Annotated[str, AfterValidator(_rate)] = ""
    """Bytes of a pod that are read a second at most, such as `100MiB`. Default: all there is."""
    node_rate: Annotated[str, AfterValidator(_rate)] = ""
    """The same for all captures of a node together: each has its share. Default: all there is."""


class KubeletSettings(Model):
    """Asking kubelets for checkpoints by CRIU. The rights: deploy/overlays/kubelet-checkpoint."""

    service_account: DnsLabel = "forensics-kubelet-checkpoint"
    """As whom: it may do nothing but that, as nodes get to see its tokens."""
    namespace: DnsLabel = "forensics-operator"
    """The ServiceAccount's."""
    seconds: Annotated[int, Field(ge=1, le=600)] = 60
    """How long the kubelet may take for one pod, which waits in the meantime."""
    ca_file: Path | None = Path("/var/run/secrets/kubernetes.io/serviceaccount/ca.crt")
    """Who signs the kubelets' certificates. Default: the cluster's authority."""
    verify: bool = True
    """Whether the certificate is checked. kubeadm's kubelets sign their own unless they have
    `serverTLSBootstrap`: without the check, who stands in between gets a token for checkpoints."""


class AlertSettings(Model):
    """Where alerts are taken from Falco: HTTPS, on a port of its own."""

    folder: Path
    """Holds `token`, one a line, and perhaps `tls.crt` and `tls.key`, both in PEM; without these a
    certificate is made for each start, which nobody can check."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8443
    """0 takes any free one."""
    address: str = ""
    """The replica's own address, which the leader puts behind the Service; `FORENSICS_POD_IP`."""
    service: DnsLabel = "forensics-alerts"
    """The Service, in the namespace of the Lease. Without `address` it is left alone."""
    per_second: Annotated[int, Field(ge=1, le=100_000)] = 2000
    """Alerts that are looked at within a second; what is above is refused, and counted."""


class Settings(Model):
    """Everything that can be set."""

    namespaces: Annotated[tuple[DnsLabel, ...], Field(min_length=1)] = ("forensics-system",)
    """Namespaces in which PodCheckpoints are acted on."""
    default_destination: Destination | None = None
    """For PodCheckpoints that name none."""
    destinations: tuple[DestinationRule, ...] = ()
    """Where evidence may go; the longest prefix that covers a destination decides."""
    collector: CollectorSettings = CollectorSettings()
    signing_key: Path | None = None
    """A PEM file with the ECDSA P-256 private key that seals bundles. None: they stay unsealed."""
    findings: bool = True
    """Tell in the status what rules find in the evidence's small documents. It takes reading them,
    which the operator otherwise does not."""
    kubelet_checkpoint: KubeletSettings | None = None
    """Have the kubelet write a checkpoint, too, where `memory` is asked for. Default: not."""
    max_attempts: Annotated[int, Field(ge=1, le=10)] = 3
    clock_skew_seconds: Annotated[int, Field(ge=0, le=86400)] = 3600
    """How wrong a node's clock may be. A manifest whose times lie further outside its attempt is
    not sealed: it is of another capture, or a lie."""
    max_retention_days: Annotated[int, Field(ge=1, le=36500)] = 3650
    """Days that a request may lock evidence for: in Compliance mode nobody can undo more."""
    captures_per_node: Annotated[int, Field(ge=1)] = 3
    """Captures that run on one node at once; the others wait."""
    workers: Annotated[int, Field(ge=1, le=64)] = 8
    """PodCheckpoints that are reconciled at once."""
    pod_wait_seconds: Annotated[int, Field(ge=1)] = 600
    """How long a pod that has not been scheduled yet is waited for."""
    progress_seconds: Annotated[float, Field(gt=0)] = 2.0
    """The shortest time between two updates of `status.progress`."""
    network_policies: Literal["detect", "enforced"] = "detect"
    """Whether to look for a network plugin that enforces network policies, or to rely on that one
    does: no field of the API tells."""
    keiko: bool = False
    """Serve PodCheckpoints of `forensics.keikoproj.io`, too; takes `deploy/overlays/keiko`."""
    lease_name: DnsLabel = "forensics-operator"
    lease_namespace: DnsLabel = "forensics-operator"
    alerts: AlertSettings | None = None
    """Take alerts for rules of the event Alert. `FORENSICS_ALERTS` is the same as `folder`. None:
    no port is opened."""
    timings: Timings = Timings()
    """Waits that hardly ever need a change."""
    health_port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """For `/healthz`, `/readyz` and `/metrics`; 0 takes any free one."""

    def job_settings(self) -> CollectorSettings:
        """Return what the Jobs look like, each with its share of what a node may read."""
        collector = self.collector
        if not collector.node_rate:
            return collector
        share = max(1, parse_size(collector.node_rate) // self.captures_per_node)
        own = parse_size(collector.rate) if collector.rate else share
        return collector.model_copy(update={"rate": str(min(own, share))})

    def destination_of(self, checkpoint: PodCheckpoint) -> str:
        """Return where the evidence goes, or nothing."""
        return checkpoint.spec.destination or self.default_destination or ""

    def rule_for(self, destination: str) -> DestinationRule | None:
        """Return the rule that decides about `destination`, or None: then it is not allowed."""
        covering = [rule for rule in self.destinations if rule.covers(destination)]
        return max(covering, key=lambda rule: len(rule.prefix), default=None)


def load_settings(path: Path | None, environ: dict[str, str]) -> Settings:
    """Read the settings. Raises `UsageError` that names the first setting which does not fit."""
    data = read_settings(path, document=_DOCUMENT)
    collector = data.get("collector") or {}
    image = environ.get("FORENSICS_COLLECTOR_IMAGE")
    if image and isinstance(collector, dict) and not collector.get("image"):
        data = data | {"collector": collector | {"image": image}}
    folder, alerts = environ.get("FORENSICS_ALERTS"), data.get("alerts")
    if folder and alerts is None:
        address = environ.get("FORENSICS_POD_IP", "")
        data = data | {"alerts": {"folder": folder, "address": address}}
    return check_settings(Settings, data, path, document=_DOCUMENT)
