"""Which rules capture a pod for what has happened to it, and what is held back. Pure.

found = triggers(before, after, rules, history, now)
for one in found: ...  # Trigger: ask for a capture; HeldBack: count it, and say why
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from forensics_core.api.capturerule import AlertFilter, TriggerEvent
from forensics_core.api.names import child_name
from forensics_core.operator.rules.facts import Alert, Happening, PodFacts
from forensics_core.operator.rules.happenings import ORDER, happenings, news
from forensics_core.operator.rules.history import CaptureHistory
from forensics_core.operator.rules.outcomes import ActiveRule, HeldBack, HeldReason, Trigger

MAX_AGE = 3600.0
"""Seconds after which what is found at the first look at a pod is history. What is seen to happen
is none, whatever the node's clock says."""
HOUR = 3600.0


def triggers(
    before: PodFacts | None,
    after: PodFacts,
    rules: Sequence[ActiveRule],
    history: CaptureHistory,
    now: float,
) -> list[Trigger | HeldBack]:
    """Return what is to be done about a pod that was as `before` and is as `after`.

    `before` is None at the first look: then only what happened since a rule is as it is counts, and
    within the last hour. Of two rules for one pod the first of `rules` captures.
    """
    return judge(after, news(before, after), rules, history, now, first_look=before is None)


def vanished(
    pod: PodFacts, rules: Sequence[ActiveRule], history: CaptureHistory
) -> list[Trigger | HeldBack]:
    """Return what is to be told of a pod that is gone without having been seen to be deleted."""
    if pod.deleting_at is not None or not pod.ran:
        return []
    message = "it was gone at once, without a grace period: only a hold could have kept it"
    return [
        HeldBack(rule, TriggerEvent.DELETED, pod.namespace, pod.name, HeldReason.POD_GONE, message)
        for rule in rules
        if TriggerEvent.DELETED in rule.events
        and rule.rule.spec.matches(pod.namespace, pod.labels)
        and not history.count_of_pod(rule.id, pod.uid, dry=rule.rule.spec.dry_run)
    ]


def judge(
    pod: PodFacts,
    happened: Sequence[Happening],
    rules: Sequence[ActiveRule],
    history: CaptureHistory,
    now: float,
    *,
    first_look: bool = False,
    alert: Alert | None = None,
) -> list[Trigger | HeldBack]:
    """Return what each rule does about what happened to a pod."""
    found: list[Trigger | HeldBack] = []
    taken: Trigger | None = None
    for rule in rules if happened else ():
        wanted = [one for one in happened if _wants(rule, one, alert, now, first_look)]
        if not wanted or not rule.rule.spec.matches(pod.namespace, pod.labels):
            continue
        trigger = _trigger(rule, pod, wanted, alert)
        dry = rule.rule.spec.dry_run
        if history.knows(trigger.name, rule.id, dry=dry):
            # The very same, as it is found again after a restart: nothing new, nothing to tell.
            continue
        held = _held(trigger, None if dry else taken, history, now)
        found.append(held or trigger)
        taken = taken or (None if held or dry else trigger)
    return found


def of_alert(
    alert: Alert,
    pod: PodFacts | None,
    rules: Sequence[ActiveRule],
    history: CaptureHistory,
    now: float,
) -> list[Trigger | HeldBack]:
    """Return what each rule does about an alert of a pod; None if there is no such pod."""
    if pod is None:
        return _without_pod(alert, rules, HeldReason.NOT_FOUND, "there is no such pod, or no more")
    container = pod.container(alert.container_id)
    happening = Happening(
        TriggerEvent.ALERT,
        alert.digest,
        None,
        f"{alert.rule} ({alert.priority})",
        container.name if container else alert.container,
        container.image if container else "",
        alert.rule,
    )
    if not pod.ran:
        return _without_pod(alert, rules, HeldReason.NEVER_RAN, "none of its containers ever ran")
    return judge(pod, [happening], rules, history, now, alert=alert)


def at_first_look(
    pod: PodFacts, rules: Sequence[ActiveRule], history: CaptureHistory, now: float
) -> list[Trigger | HeldBack]:
    """Return what rules do about a pod that was there before they were."""
    return judge(pod, happenings(pod), rules, history, now, first_look=True)


def fits(wanted: AlertFilter | None, alert: Alert) -> bool:
    """Return whether a rule means an alert."""
    if wanted is None:
        return True
    return (
        (not wanted.rules or alert.rule in wanted.rules)
        and alert.priority.rank <= wanted.priority.rank
        and (not wanted.tags or not set(wanted.tags).isdisjoint(alert.tags))
    )


def _wants(
    rule: ActiveRule, happening: Happening, alert: Alert | None, now: float, first_look: bool
) -> bool:
    if happening.event not in rule.events:
        return False
    if alert is not None:
        return fits(rule.rule.spec.alert, alert)
    # Times have whole seconds: what happened in the second in which the rule was made, counts.
    oldest = max(rule.since - 1, now - MAX_AGE)
    return not first_look or happening.at is None or happening.at >= oldest


def _trigger(
    rule: ActiveRule, pod: PodFacts, wanted: Sequence[Happening], alert: Alert | None
) -> Trigger:
    ordered = sorted(wanted, key=lambda one: ORDER.index(one.event))
    first = ordered[0]
    said = "; ".join(f"{one.event}: {one.note}" for one in ordered[:4])
    return Trigger(
        rule=rule,
        pod=pod,
        happening=first,
        name=capture_name(pod, first),
        key=dedupe_key(pod, first),
        reason=f"{said} (rule {rule.name})",
        alert=alert,
    )


def capture_name(pod: PodFacts, happening: Happening) -> str:
    """Return the name of the PodCheckpoint for a happening: whoever comes second finds it made."""
    digest = _digest(pod.uid, *happening.identity)
    return child_name(pod.name, digest, 1)


def dedupe_key(pod: PodFacts, happening: Happening) -> str:
    """Return what things have in common of which one is worth a capture."""
    same = (happening.event, happening.container, happening.image, happening.reason)
    return _digest(pod.namespace, pod.workload, *same)[:16]


def _held(
    trigger: Trigger, taken: Trigger | None, history: CaptureHistory, now: float
) -> HeldBack | None:
    rule, pod = trigger.rule, trigger.pod
    spec, dry = rule.rule.spec, rule.rule.spec.dry_run
    other = history.by_another(rule.id, pod.uid, now, dry=dry)
    if taken is not None:
        other = taken.as_captured(now)
    if other is not None:
        return _back(trigger, HeldReason.OTHER_RULE, f"the rule {other.rule} captures this pod")
    if history.count_of_pod(rule.id, pod.uid, dry=dry) >= spec.limits.per_pod:
        limit = f"{spec.limits.per_pod} of this pod: limits.perPod"
        return _back(trigger, HeldReason.PER_POD, limit)
    since = now - spec.dedupe_seconds
    if history.duplicate(rule.id, trigger.key, since, dry=dry) is not None:
        same = f"the same of {pod.workload} was captured within {spec.dedupe_seconds} s"
        return _back(trigger, HeldReason.DUPLICATE, same)
    return _over_the_hour(trigger, history, now)


def _over_the_hour(trigger: Trigger, history: CaptureHistory, now: float) -> HeldBack | None:
    rule, namespace = trigger.rule, trigger.pod.namespace
    spec, since = rule.rule.spec, now - HOUR
    dry = spec.dry_run
    if history.count_since(rule.id, since, dry=dry) >= spec.limits.per_hour:
        limit = f"{spec.limits.per_hour} within an hour: limits.perHour"
        return _back(trigger, HeldReason.PER_HOUR, limit)
    if history.count_since(rule.id, since, dry=dry, namespace=namespace) >= spec.share:
        limit = f"{spec.share} of {namespace} within an hour: limits.perNamespace"
        return _back(trigger, HeldReason.PER_NAMESPACE, limit)
    return None


def _back(trigger: Trigger, reason: HeldReason, message: str) -> HeldBack:
    pod = trigger.pod
    event = trigger.happening.event
    return HeldBack(trigger.rule, event, pod.namespace, pod.name, reason, message)


def refused(trigger: Trigger, message: str) -> HeldBack:
    """Return a trigger whose capture the API server does not take."""
    return _back(trigger, HeldReason.REFUSED, message)


def _without_pod(
    alert: Alert, rules: Sequence[ActiveRule], reason: HeldReason, message: str
) -> list[Trigger | HeldBack]:
    """Tell the rules that an alert would concern; which labels the pod had nobody knows."""
    return [
        HeldBack(rule, TriggerEvent.ALERT, alert.namespace, alert.pod, reason, message)
        for rule in rules
        if TriggerEvent.ALERT in rule.events
        and rule.rule.spec.covers(alert.namespace)
        and fits(rule.rule.spec.alert, alert)
    ]


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode(errors="replace")).hexdigest()
