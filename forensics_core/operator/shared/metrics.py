"""What the operator counts, for Prometheus; names as controller-runtime has them, and our own."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTROLLER = "podcheckpoint"
OTHER = "Other"
_REASONS = (
    "AccessDenied BucketNotFound Cancelled Complete ContainerGone ContainerNotFound "
    "CreateContainerConfigError CredentialsExpired DeadlineExceeded DestinationIsBundle "
    "DestinationNotAllowed "
    "DestinationRefused DestinationTooLong ErrImageNeverPull Evicted ImagePullBackOff "
    "Interrupted Invalid InvalidImageName JobFailed ManifestLost ManifestUnreadable "
    "NameTaken NoDestination NoManifest NoWorker NodeGone NodeNotReady NotFound NotSealed "
    "NotStarted NothingCaptured OOMKilled ObjectLockMissing OrderLost Partial PodFailed "
    "PodGone PodPending PodReplaced RetentionTooLong RuntimeNotFound RuntimeNotSupported "
    "RuntimeUnavailable UsageError WorkerLost "
)
REASONS = frozenset(_REASONS.split())
"""The reasons that are counted by themselves. A node can give any other word, and each new value of
a label is a series that a monitoring system keeps."""


class Metrics:
    """One operator's counters, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._count_reconciles(self.registry)
        self._count_captures(self.registry)
        self._count_rules(self.registry)

    def _count_reconciles(self, registry: CollectorRegistry) -> None:
        self.reconciles = Counter(
            "controller_runtime_reconcile_total",
            "Decisions carried out, by result.",
            ["controller", "result"],
            registry=registry,
        )
        self.reconcile_seconds = Histogram(
            "controller_runtime_reconcile_time_seconds",
            "How long a decision took to carry out.",
            ["controller"],
            registry=registry,
        )
        self.depth = Gauge(
            "workqueue_depth", "Checkpoints that wait for a worker.", ["name"], registry=registry
        )
        self.leading = Gauge(
            "leader_election_master_status",
            "Whether this replica holds the Lease.",
            ["name"],
            registry=registry,
        )

    def _count_captures(self, registry: CollectorRegistry) -> None:
        self.checkpoints = Gauge(
            "forensics_checkpoints",
            "Checkpoints there are, by phase.",
            ["phase"],
            registry=registry,
        )
        self.finished = Counter(
            "forensics_checkpoints_finished_total",
            "Checkpoints that came to their end, by phase and reason.",
            ["phase", "reason"],
            registry=registry,
        )
        self.stored = Counter(
            "forensics_stored_bytes_total",
            "Bytes of evidence in complete bundles.",
            registry=registry,
        )
        self.duration = Histogram(
            "forensics_capture_duration_seconds",
            "From the start of a checkpoint to its evidence being stored.",
            buckets=(1, 5, 15, 60, 300, 900, 3600, 14400),
            registry=registry,
        )
        self.containment = Counter(
            "forensics_containment_total",
            "What became of isolations and deletions of pods, by condition and reason.",
            ["condition", "reason"],
            registry=registry,
        )
        self.step_seconds = Histogram(
            "forensics_step_seconds",
            "What each step took from the request until the pod may be killed.",
            ["step"],
            buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 900, 3600),
            registry=registry,
        )

    def _count_rules(self, registry: CollectorRegistry) -> None:
        self.triggers = Counter(
            "forensics_rule_triggers_total",
            "What rules matched, by event and by what came of it.",
            ["rule", "event", "outcome"],
            registry=registry,
        )
        self.alerts = Counter(
            "forensics_alerts_total",
            "Alerts that were sent here, by what came of it.",
            ["outcome"],
            registry=registry,
        )

    def count_end(self, phase: str, reason: str) -> None:
        """Count a checkpoint that came to its end."""
        label = reason if reason in REASONS else OTHER
        self.finished.labels(phase=phase, reason=label).inc()

    def exposition(self) -> bytes:
        """Return all of it in Prometheus's text format."""
        return generate_latest(self.registry)
