"""Whatever happens, in whatever order, however late the operator hears of it, dying in between."""

from __future__ import annotations

from datetime import datetime

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from forensics_core.api.names import FINALIZER
from forensics_core.api.podcheckpoint import Phase, PodCheckpointStatus
from forensics_core.operator.outcomes import terminated
from forensics_core.operator.reconcile import SILENCE, Observed, reconcile
from tests.unit.operator.model import JOB_NAMES, MAX_ATTEMPTS, StaleWrite, World
from tests.unit.operator.samples import settings

KINDS = st.sets(st.sampled_from(["checkpoint", "jobs", "pods"]))
MORE_WRITES_THAN_ANY_STEP_HAS = 9
LONG_ENOUGH = 200


class Interleavings(RuleBasedStateMachine):
    """The operator in a model of the cluster, with hypothesis as fate."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.end: PodCheckpointStatus | None = None
        self.attempt = 0
        self.captured = False

    @rule(survives=st.integers(0, MORE_WRITES_THAN_ANY_STEP_HAS))
    def operate(self, survives: int) -> None:
        """Take one step; the operator dies after so many writes, if the step has more."""
        observed = self.world.observe()
        if observed is None:
            return
        step = reconcile(observed, settings(maxAttempts=MAX_ATTEMPTS))
        writes = self.world.perform(step, observed)
        try:
            for _ in range(survives):
                if next(writes, "over") == "over":
                    self._gave_nobody_up(observed)
                    return
        except StaleWrite:
            return
        # Dead: the next one lists everything before it acts.
        writes.close()
        self.world.see("checkpoint", "jobs", "pods")

    def _gave_nobody_up(self, observed: Observed) -> None:
        """Who is known to be at work is waited for, unless its node is cut off."""
        checkpoint, worker = self.world.checkpoint, observed.worker
        if checkpoint is None or checkpoint.status.phase is not Phase.FAILED or worker is None:
            return
        deleted = worker["metadata"].get("deletionTimestamp")
        lost = deleted and datetime.fromisoformat(deleted) + SILENCE <= observed.now
        assert terminated(worker) or lost

    @rule(kinds=KINDS)
    def watches_catch_up(self, kinds: set[str]) -> None:
        self.world.see(*kinds)

    @precondition(lambda self: any(one.alive for one in self.world.everyone()))
    @rule(whole=st.booleans(), code=st.sampled_from([0, 1, 137]))
    def a_worker_ends(self, whole: bool, code: int) -> None:
        worker = next(one for one in self.world.everyone() if one.alive)
        if whole:
            self.world.manifests.add(worker.attempt)
        worker.end(code, self.world.now)

    @precondition(lambda self: self.world.workers)
    @rule(pod_stays=st.booleans())
    def a_job_counts_its_pod(self, pod_stays: bool) -> None:
        for worker in self.world.workers.values():
            if not worker.alive and worker.job_there and not worker.job:
                worker.job = "Failed" if worker.ended else "Complete"
                worker.pod_there = pod_stays

    @precondition(lambda self: self.world.workers)
    @rule()
    def pods_that_were_deleted_go(self) -> None:
        for worker in self.world.workers.values():
            if worker.deleted_at and not worker.alive:
                worker.pod_there = False

    @rule(ready=st.booleans())
    def the_pod_to_capture_changes(self, ready: bool) -> None:
        self.world.pod_ready = ready

    @rule()
    def the_pod_to_capture_is_replaced(self) -> None:
        self.world.pod_uid = "another"

    @rule()
    def the_pod_to_capture_goes(self) -> None:
        self.world.pod_uid = None

    @rule()
    def somebody_cancels(self) -> None:
        self.world.cancel()

    @rule()
    def somebody_deletes(self) -> None:
        self.world.delete()

    @rule(seconds=st.sampled_from([1, 31, 120]))
    def time_passes(self, seconds: int) -> None:
        self.world.wait(seconds)

    @invariant()
    def one_worker_at_a_time(self) -> None:
        alive = [one for one in self.world.everyone() if one.alive and not one.deleted_at]
        assert len(alive) <= 1

    @invariant()
    def attempts_are_bounded_and_known_before_they_act(self) -> None:
        attempts = {one.attempt for one in self.world.everyone()} | self.world.orders
        assert attempts <= JOB_NAMES.keys()
        if self.world.checkpoint is not None:
            status = self.world.checkpoint.status
            assert status.attempt <= MAX_ATTEMPTS
            assert max(attempts, default=0) <= status.attempt
            assert not status.attempt or status.job_name == JOB_NAMES[status.attempt]

    @invariant()
    def nothing_goes_back(self) -> None:
        if self.world.checkpoint is None:
            return
        status = self.world.checkpoint.status
        assert status.attempt >= self.attempt
        assert not self.captured or (self.world.checkpoint.captured, status.attempt) == (
            True,
            self.attempt,
        )
        self.attempt, self.captured = status.attempt, self.world.checkpoint.captured

    @invariant()
    def children_are_never_left_behind(self) -> None:
        if self.world.checkpoint is None:
            assert not any(one.alive and not one.deleted_at for one in self.world.everyone())
        elif self.world.orders or self.world.workers:
            assert FINALIZER in self.world.checkpoint.metadata.finalizers

    @invariant()
    def a_terminal_phase_is_final(self) -> None:
        if self.world.checkpoint is None:
            return
        if self.end is not None:
            assert self.world.checkpoint.status == self.end
        elif self.world.checkpoint.finished:
            self.end = self.world.checkpoint.status

    @invariant()
    def captured_means_that_there_is_a_manifest(self) -> None:
        checkpoint = self.world.checkpoint
        if checkpoint is None:
            return
        if checkpoint.captured:
            assert checkpoint.status.attempt in self.world.manifests
        if checkpoint.status.phase is Phase.COMPLETE:
            assert checkpoint.captured
            assert checkpoint.status.attempt in self.world.seals

    def teardown(self) -> None:
        """From wherever it stands, once things settle, it comes to an end."""
        self.world.pod_ready = True
        for _ in range(LONG_ENOUGH):
            if self._over():
                break
            if any(one.alive for one in self.world.everyone()):
                self.a_worker_ends(whole=False, code=1)
            self.a_job_counts_its_pod(pod_stays=True)
            self.world.wait(31)
            self.world.see("checkpoint", "jobs", "pods")
            self.operate(MORE_WRITES_THAN_ANY_STEP_HAS)
            self.one_worker_at_a_time()
            self.a_terminal_phase_is_final()
        assert self._over()

    def _over(self) -> bool:
        checkpoint = self.world.checkpoint
        if checkpoint is None:
            return True
        return checkpoint.finished and not checkpoint.metadata.deletion_timestamp


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = hypothesis_settings(max_examples=150, stateful_step_count=40)
