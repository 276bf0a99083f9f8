"""Names: of the resource, and of everything made for one of its checkpoints.

A child's name follows from the checkpoint's name, UID and the attempt alone, so that whoever comes
second finds what the first one made::

    child_name("web-0-4711", "5df8120f-4366-40b4-be47-20a1c48277c4", 1)  # web-0-4711-5df8120f-1
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

GROUP: Final = "forensics.orkaproj.io"
VERSION: Final = "v1alpha1"
API_VERSION: Final = "forensics.orkaproj.io/v1alpha1"
KIND: Final = "PodCheckpoint"
PLURAL = "podcheckpoints"
SINGULAR = "podcheckpoint"
SHORT_NAME = "pcp"
CATEGORY = "forensics"

RULE_KIND: Final = "CaptureRule"
RULE_PLURAL = "capturerules"
RULE_SINGULAR = "capturerule"
RULE_SHORT_NAME = "crule"

RULE_LABEL = f"{GROUP}/rule"
"""On a checkpoint that a rule asked for: the rule's name, as `label_value` has it."""
EVENT_LABEL = f"{GROUP}/event"
"""On the same: what happened to the pod."""
TRIGGER_KEY_ANNOTATION = f"{GROUP}/trigger-key"
"""On the same: what comes again and tells nothing new has the same."""
ALERT_ANNOTATION = f"{GROUP}/alert"
"""On the same: the alert that it was made for, as JSON."""
CAPTURE_ANNOTATION = f"{GROUP}/capture"
"""On a pod: somebody wants it captured; the value says why."""

HOLD_FINALIZER = f"{GROUP}/hold"
"""On a pod that a rule holds: its deletion waits for its capture."""
HOLD_LABEL = f"{GROUP}/hold"
"""On the same: for how many seconds at most."""

INCIDENT_LABEL = f"{GROUP}/incident"
"""On the checkpoint: the incident's id."""
CHECKPOINT_UID_LABEL = f"{GROUP}/checkpoint-uid"
"""On each child: the UID of its checkpoint."""
ATTEMPT_LABEL = f"{GROUP}/attempt"
"""On each child: which attempt it belongs to, counted from 1."""
REQUESTED_BY_ANNOTATION = f"{GROUP}/requested-by"
"""On the checkpoint: who asked, vouched for by admission."""
EXPECTED_POD_UID_ANNOTATION = f"{GROUP}/expected-pod-uid"
"""On the checkpoint: the one pod that it is for; another one of its name is not captured."""
ISOLATED_LABEL = f"{GROUP}/isolated"
"""On a pod that is cut off, for its policy to select: the first eight of the checkpoint's UID."""
REMOVED_LABELS_ANNOTATION = f"{GROUP}/removed-labels"
"""On the pod: the labels that isolating it took away, as JSON."""
FINALIZER = f"{GROUP}/cleanup"
"""On the checkpoint, while children of it may be running."""

NAME_LIMIT = 63
"""Characters of a DNS label, and of a label's value."""

_UNFIT_FOR_DNS = re.compile(r"[^a-z0-9]+")
_UNFIT_FOR_LABEL = re.compile(r"[^A-Za-z0-9_.-]+")


def child_name(checkpoint: str, uid: str, attempt: int) -> str:
    """Return the DNS label that names an attempt's children, at most 63 characters.

    It ends in the first eight of the UID and the attempt, as the bundle's folder does. A name that
    is too long is cut, and a hash of the whole stands in for the rest.
    """
    tail = f"-{uid[:8]}-{attempt}"
    stem = _UNFIT_FOR_DNS.sub("-", checkpoint.lower()).strip("-") or "checkpoint"
    return _shorten(stem, NAME_LIMIT - len(tail), f"{checkpoint}/{uid}") + tail


def label_value(text: str) -> str:
    """Return `text` as a label's value: unfit characters become `-`; hashed when too long."""
    fit = _UNFIT_FOR_LABEL.sub("-", text).strip("-_.")
    return _shorten(fit, NAME_LIMIT, text)


def _shorten(text: str, limit: int, whole: str) -> str:
    if len(text) <= limit:
        return text
    digest = hashlib.sha256(whole.encode()).hexdigest()[:8]
    return f"{text[: limit - 9].rstrip('-_.')}-{digest}"
