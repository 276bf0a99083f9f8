"""What docs/operator.md says is what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from forensics_core.operator.settings import (
    CollectorCredentials,
    CollectorSettings,
    DestinationRule,
    KubeletSettings,
    Settings,
    Timings,
)
from forensics_core.operator.shared.metrics import Metrics

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "operator.md").read_text()
RESPONDING = ("responding", "falco")
"""Pages that have the reasons of rules and alerts."""
SOURCES = [path.read_text() for path in (ROOT / "forensics_core" / "operator").rglob("*.py")]
WORDS = {word for source in SOURCES for word in re.findall(r'"([A-Z][a-z]+[A-Za-z]*)"', source)}
NOT_REASONS = {
    "Accept",
    "Background",
    "Checkpoint",
    "Complete",
    "Completed",
    "Directory",
    "Event",
    "Exists",
    "Failed",
    "False",
    "File",
    "Group",
    "In",
    "Job",
    "Never",
    "Normal",
    "Secret",
    "User",
    "True",
    "Warning",
}
"""What else is spelled like one in the source."""


@pytest.mark.parametrize(
    "model",
    [
        Settings,
        DestinationRule,
        CollectorCredentials,
        CollectorSettings,
        KubeletSettings,
        Timings,
    ],
)
def test_every_setting_is_told(model: type[Settings]) -> None:
    for name, field in model.model_fields.items():
        assert f"`{field.alias or name}`" in PAGE


def test_every_metric_is_told() -> None:
    families = text_string_to_metric_families(Metrics().exposition().decode())
    names = {family.name for family in families if not family.name.endswith("_created")}
    missing = {name for name in names if name not in PAGE}
    assert missing == set()


def test_every_reason_is_told() -> None:
    pages = [PAGE, *((ROOT / "docs" / f"{name}.md").read_text() for name in RESPONDING)]
    told = set(re.findall(r"`([A-Za-z]+)`", "".join(pages)))
    spelled = {word for word in WORDS if re.search("[a-z][A-Z]|^[A-Z][a-z]+$", word)}
    kinds = {"CronJob", "ServiceAccount", "ClusterRole", "ClusterFirstWithHostNet"}
    others = {"RuntimeDefault", "Unconfined", "PodScheduled", "IfNotPresent", "Content"}
    others |= {"ErrImagePull", "PodInitializing", "Ready"}
    others |= {"Authorization", "Bearer", "Hostname", "InternalIP", "Port", "TokenRequest"}
    others |= {"PodCheckpoint"}
    others |= {"NetworkPolicy", "Ingress", "Egress", "Pod", "NotIn", "DoesNotExist", "Capture"}
    others |= {
        "Node",
        "PodCheckpoint",
        "ReplicationController",
        "ReplicaSet",
        "StatefulSet",
        "Succeeded",
    }
    others |= {"KiB", "MiB", "GiB", "TiB"}
    assert spelled - told - NOT_REASONS - kinds - others == set()
