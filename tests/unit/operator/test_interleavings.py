"""Whatever happens, in whatever order, however late the operator hears of it, dying in between.

It is the real decision and the real actions, over a cluster and a store in memory.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from forensics_core.api.conditions import ConditionType, find_condition
from forensics_core.api.names import FINALIZER, child_name
from forensics_core.api.podcheckpoint import Phase, PodCheckpoint, PodCheckpointStatus
from forensics_core.operator.attempt.jobs import thaw_name
from forensics_core.operator.observed import ObservedSeal
from forensics_core.operator.status import at_attempt
from tests.unit.operator.samples import settings
from tests.unit.operator.world import MAX_ATTEMPTS, NAMES, UIDS, Bundle, Collector, World

KEYS = [f"forensics-system/{name}" for name in NAMES]
BY_UID = dict(zip(UIDS.values(), KEYS, strict=True))
KINDS = st.sets(st.sampled_from(["checkpoints", "jobs", "pods"]))
MORE_WRITES_THAN_ANY_ACTION_HAS = 12
LONG_ENOUGH = 200
KINDS_OF_MANIFEST = ["good", "interrupted", "interrupted", "contradicting", "unreadable", "", ""]
SETTINGS = settings(maxAttempts=MAX_ATTEMPTS, capturesPerNode=1)


def deletes_a_job(machine: Interleavings, key: str) -> None:
    for one in machine.world.of(key)[-1:]:
        machine.world.stop(one.job["metadata"]["name"])


def deletes_an_order(machine: Interleavings, key: str) -> None:
    for child, ordered in list(machine.world.orders.items())[-1:]:
        del machine.world.orders[child]
        machine.robbed.add(BY_UID[str(ordered.order.uid)])


def writes_at_a_location(machine: Interleavings, key: str) -> None:
    there = machine.world.checkpoints.get(key)
    if there is not None and there.status.location:
        machine.world.bundles.setdefault(there.status.location, Bundle(foreign=True))


def tampers(machine: Interleavings, key: str) -> None:
    for one in [one for one in machine.world.bundles.values() if one.valid][:1]:
        one.forged, one.kind = not one.forged, one.kind if one.forged else ""


def takes_the_pod(machine: Interleavings, key: str) -> None:
    machine.world.pods[key] = None


def replaces_the_pod(machine: Interleavings, key: str) -> None:
    machine.world.pods[key] = "another"


def changes_the_pod(machine: Interleavings, key: str) -> None:
    machine.world.pods_ready = not machine.world.pods_ready


def changes_the_node(machine: Interleavings, key: str) -> None:
    machine.world.node_ready = not machine.world.node_ready


def changes_the_store(machine: Interleavings, key: str) -> None:
    machine.world.away = not machine.world.away


def changes_the_key(machine: Interleavings, key: str) -> None:
    machine.world.key = not machine.world.key


OTHERS: dict[str, Callable[[Interleavings, str], None]] = {
    "cancels": lambda machine, key: machine.world.cancel(key),
    "deletes": lambda machine, key: machine.world.delete(key),
    **{
        each.__name__: each
        for each in (
            deletes_a_job,
            deletes_an_order,
            writes_at_a_location,
            tampers,
            takes_the_pod,
            replaces_the_pod,
            changes_the_pod,
            changes_the_node,
            changes_the_key,
            changes_the_store,
        )
    },
}
"""What may happen to a checkpoint from outside: one rule, so that it is not all that happens."""


class Interleavings(RuleBasedStateMachine):
    """The operator in a cluster in memory, with hypothesis as fate."""

    world: World

    def __init__(self) -> None:
        super().__init__()
        self.world = World(SETTINGS)
        self.last: dict[str, PodCheckpointStatus] = {}
        self.ends: dict[str, PodCheckpointStatus] = {}
        self.highest: dict[str, int] = defaultdict(int)
        self.frozen: set[tuple[str, int]] = set()
        """Attempts whose collector was killed, and may have left containers paused; one that is
        told to end resumes them itself."""
        self.robbed: set[str] = set()
        """Checkpoints whose order somebody has deleted."""

    def there(self) -> Iterator[tuple[str, PodCheckpoint]]:
        """Yield the checkpoints that there are."""
        yield from list(self.world.checkpoints.items())

    # What the operator does

    @rule(key=st.sampled_from(KEYS), survives=st.integers(1, 6))
    def operate(self, key: str, survives: int) -> None:
        """Reconcile once; the operator dies after so many writes, if there are more."""
        self.world.operate(key, survives)

    @rule(key=st.sampled_from(KEYS), times=st.integers(1, 4), crash=st.booleans())
    def operate_for_a_while(self, key: str, times: int, crash: bool) -> None:
        """Get further than single steps would, the watches keeping up."""
        for _ in range(times):
            self.world.see("checkpoints", "jobs", "pods")
            self.world.operate(key, 1 if crash else MORE_WRITES_THAN_ANY_ACTION_HAS)

    @rule()
    def the_operator_restarts(self) -> None:
        self.world.restart()

    @rule(kinds=KINDS)
    def watches_catch_up(self, kinds: set[str]) -> None:
        self.world.see(*kinds)

    # What collectors do

    def living(self) -> list[Collector]:
        """Return the collectors that run or may start to."""
        return [one for one in self.world.collectors if one.alive]

    @precondition(lambda self: self.living())
    @rule(number=st.integers(0, 3), stores=st.booleans())
    def a_worker_runs(self, number: int, stores: bool) -> None:
        living = self.living()
        one = living[number % len(living)]
        if not one.starts:
            return
        one.started = True
        if stores and not self.world.store(one):
            one.end(1, self.world.time)

    @precondition(lambda self: any(one.started for one in self.living()))
    @rule(
        kind=st.sampled_from(KINDS_OF_MANIFEST),
        gaps=st.integers(1, 3),
        code=st.sampled_from([0, 1, 137]),
    )
    def a_worker_ends(self, kind: str, gaps: int, code: int) -> None:
        one = next(one for one in self.living() if one.started)
        if kind:
            self.world.store(one, kind, gaps if kind == "interrupted" else 0)
        elif code == 137 and "paused" in one.key and not one.told_to_end:
            self.frozen.add((one.key, one.attempt))
        one.end(code, self.world.time)

    @precondition(lambda self: self.world.collectors)
    @rule(pod_stays=st.booleans())
    def a_job_counts_its_pod(self, pod_stays: bool) -> None:
        for one in self.world.collectors:
            if not one.alive and one.job_there and not one.job_over:
                one.job_over = "Failed" if one.ended else "Complete"
                one.pod_there = pod_stays

    @precondition(lambda self: self.living())
    @rule()
    def a_node_is_drained(self) -> None:
        for one in self.living():
            one.told_to_end = one.told_to_end or self.world.time

    @precondition(lambda self: self.world.collectors)
    @rule()
    def pods_that_were_deleted_go(self) -> None:
        for one in self.world.collectors:
            if one.told_to_end and not one.started and one.alive:
                one.end(137, self.world.time)
            if one.told_to_end and not one.alive:
                one.pod_there = False

    # What others do

    @rule(what=st.sampled_from(sorted(OTHERS)), key=st.sampled_from(KEYS))
    def somebody_interferes(self, what: str, key: str) -> None:
        OTHERS[what](self, key)

    @rule(seconds=st.sampled_from([1, 31, 120, 700]))
    def time_passes(self, seconds: int) -> None:
        self.world.wait(seconds)

    # What holds all the while

    @invariant()
    def one_capture_at_a_time(self) -> None:
        for key in KEYS:
            alive = [one for one in self.world.of(key) if one.alive and not one.told_to_end]
            assert len(alive) <= 1
        capturing = [one for _, one in self.there() if one.status.phase is Phase.CAPTURING]
        assert len(capturing) <= SETTINGS.captures_per_node

    @invariant()
    def an_attempt_is_captured_once(self) -> None:
        for key in KEYS:
            for attempt in range(1, MAX_ATTEMPTS + 1):
                own = [one for one in self.world.of(key) if one.attempt == attempt]
                assert len({one.location for one in own}) <= 1
                assert sum(one.stored > 0 for one in own) <= 1
                assert sum(one.alive and not one.told_to_end for one in own) <= 1

    @invariant()
    def attempts_are_bounded_and_known_before_they_act(self) -> None:
        for key, one in self.there():
            status = one.status
            self.highest[key] = max(self.highest[key], status.attempt)
            assert status.attempt <= MAX_ATTEMPTS
            assert not status.attempt or status.job_name in {"", name(one, status.attempt)}
        for uid, key in BY_UID.items():
            children = [one.attempt for one in self.world.of(key)]
            children += [
                each.order.attempt
                for each in self.world.orders.values()
                if str(each.order.uid) == uid
            ]
            assert max(children, default=0) <= self.highest[key]

    @invariant()
    def nothing_goes_back(self) -> None:
        for key, one in self.there():
            before, status = self.last.get(key), one.status
            if before is not None and status.attempt < before.attempt:
                # An earlier attempt's bundle is taken, or nothing was made of the later one.
                fell_back = one.captured or one.finished
                assert fell_back or name(one, before.attempt) not in self.world.orders
            if before is not None and _captured(before) and not one.captured:
                assert one.failed
            self.last[key] = status

    @invariant()
    def children_are_never_left_behind(self) -> None:
        for key in KEYS:
            one = self.world.checkpoints.get(key)
            running = [each for each in self.world.of(key) if each.alive and not each.told_to_end]
            if one is None or one.finished:
                assert not running
            elif self.world.of(key):
                assert FINALIZER in one.metadata.finalizers

    @invariant()
    def a_terminal_phase_is_final(self) -> None:
        for key, one in self.there():
            if key in self.ends:
                assert one.status == self.ends[key]
            elif one.finished:
                self.ends[key] = one.status

    @invariant()
    def captured_means_that_a_manifest_was_compared(self) -> None:
        for _, one in self.there():
            if one.captured:
                assert one.status.location in self.world.compared
                assert one.status.phase in {Phase.SEALING, Phase.COMPLETE}
            if one.status.phase is Phase.COMPLETE:
                assert one.captured
                seal = self.world.bundles[one.status.location].seal
                assert seal is ObservedSeal.OURS or not one.status.sealed

    @invariant()
    def a_failure_says_that_the_pod_may_not_be_killed(self) -> None:
        for _, one in self.there():
            captured = find_condition(one.status.conditions, ConditionType.CAPTURED)
            assert not one.failed or captured is None or captured.status == "False"

    @invariant()
    def nothing_stands_still_for_ever(self) -> None:
        for key, attempt in self.frozen:
            one = self.world.checkpoints.get(key)
            if one is not None and one.finished and key not in self.robbed:
                assert thaw_name(at_attempt(one, attempt, "")) in self.world.thawed

    def teardown(self) -> None:
        """From wherever it stands, once things settle, it comes to an end."""
        self.world.pods_ready = self.world.node_ready = True
        self.world.away = False
        for _ in range(LONG_ENOUGH):
            if self._over():
                break
            for one in self.living():
                self._ends_at_last(one)
            self.a_job_counts_its_pod(pod_stays=True)
            self.world.wait(31)
            self.world.see("checkpoints", "jobs", "pods")
            for key in KEYS:
                self.operate(key, MORE_WRITES_THAN_ANY_ACTION_HAS)
                self.one_capture_at_a_time()
                self.a_terminal_phase_is_final()
        assert self._over()
        self.children_are_never_left_behind()
        self.nothing_stands_still_for_ever()

    def _ends_at_last(self, one: Collector) -> None:
        """Of one checkpoint all attempts are interrupted now, of the other all are killed."""
        if not one.starts:
            one.end(137, self.world.time)
        elif "plain" in one.key:
            self.world.store(one, "interrupted", gaps=one.attempt)
            one.end(4, self.world.time)
        else:
            self.frozen |= set() if one.told_to_end else {(one.key, one.attempt)}
            one.end(137, self.world.time)

    def _over(self) -> bool:
        return all(one.finished and not one.metadata.deletion_timestamp for _, one in self.there())


def name(checkpoint: PodCheckpoint, attempt: int) -> str:
    """Return what an attempt's children are called."""
    return child_name(checkpoint.metadata.name, checkpoint.metadata.uid or "", attempt)


def _captured(status: PodCheckpointStatus) -> bool:
    captured = find_condition(status.conditions, ConditionType.CAPTURED)
    return captured is not None and captured.status == "True"


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = hypothesis_settings(max_examples=150, stateful_step_count=40)
