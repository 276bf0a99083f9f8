"""The actions, write by write, over a cluster and a store in memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from forensics_core.api.conditions import find_condition
from forensics_core.api.findings import FindingsStatus, SeverityCounts
from forensics_core.api.podcheckpoint import Phase, PodCheckpointStatus
from forensics_core.bundle.expected import ExpectedObject
from forensics_core.bundle.layout import is_of_attempt
from forensics_core.bundle.manifest import Container
from forensics_core.operator.observed import ObservedSeal
from forensics_core.readers.findings.small_documents import NO_DOCUMENTS, SmallDocuments
from tests.unit.operator.samples import settings
from tests.unit.operator.world import MAX_ATTEMPTS, NAMES, Bundle, Collector, World

PLAIN, PAUSED = (f"forensics-system/{name}" for name in NAMES)
NEVER = 10_000


def new_world() -> World:
    return World(settings(maxAttempts=MAX_ATTEMPTS, capturesPerNode=1))


def ends_well(world: World, one: Collector) -> None:
    world.store(one, "good")
    one.end(0, world.time)


def is_interrupted(world: World, one: Collector) -> None:
    world.store(one, "interrupted", gaps=one.attempt)
    one.end(4, world.time)


def is_killed(world: World, one: Collector) -> None:
    one.end(137, world.time)


def run(
    world: World, key: str, *ends: Callable[[World, Collector], None], crash: int = NEVER
) -> PodCheckpointStatus:
    """Reconcile until there is an end, the n-th collector ending so; crash after so many writes."""
    written = 0
    for _ in range(60):
        one = world.checkpoints[key]
        if one.finished:
            return one.status
        for number, collector in enumerate(world.of(key)):
            if collector.alive:
                collector.started = True
                ends[min(number, len(ends) - 1)](world, collector)
        world.see("checkpoints", "jobs", "pods")
        world.operate(key, crash - written if crash > written else NEVER)
        written += world.effects
        world.wait(31)
    raise AssertionError(f"no end: {world.checkpoints[key].status}")


def failure(status: PodCheckpointStatus) -> str:
    found = find_condition(status.conditions, "Failed")
    return found.reason if found else ""


def writes_of(key: str, *ends: Callable[[World, Collector], None]) -> int:
    """Count the writes that it takes where nothing crashes."""
    world = new_world()
    run(world, key, *ends)
    return world.written


@pytest.mark.parametrize("crash", range(1, 9))
def test_a_crash_after_any_write_leaves_one_capture_sealed(crash: int) -> None:
    world = new_world()
    status = run(world, PLAIN, ends_well, crash=crash)
    assert (status.phase, status.sealed, status.attempt) == (Phase.COMPLETE, True, 1)
    assert len(world.of(PLAIN)) == 1
    assert world.bundles[status.location].seal is ObservedSeal.OURS
    assert world.orders == {}


def test_a_capture_that_goes_well_takes_nine_writes() -> None:
    """Finalizer, context, three statuses, order and its end, Job, seal."""
    assert writes_of(PLAIN, ends_well) == 9


SMALL = SmallDocuments(("web",), (ExpectedObject("containers/web/diff.json", "0" * 64),))
FOUND = FindingsStatus(total=2, by_severity=SeverityCounts(high=2))


@pytest.mark.parametrize("crash", range(1, 10))
def test_findings_come_after_the_seal_and_outlive_any_crash(crash: int) -> None:
    world = new_world()
    world.documents, world.findings = SMALL, FOUND
    status = run(world, PLAIN, ends_well, crash=crash)
    assert (status.phase, status.sealed, status.findings) == (Phase.COMPLETE, True, FOUND)


def test_findings_take_no_write_of_their_own() -> None:
    world = new_world()
    world.documents, world.findings = SMALL, FOUND
    assert run(world, PLAIN, ends_well).findings == FOUND
    assert (world.written, world.looked) == (9, 1)


def test_a_capture_is_complete_though_nobody_can_tell_findings() -> None:
    world = new_world()
    world.documents = SMALL
    status = run(world, PLAIN, ends_well)
    assert (status.phase, status.findings, world.looked) == (Phase.COMPLETE, None, 1)


def test_findings_are_told_without_a_seal_too() -> None:
    world = new_world()
    world.key, world.documents, world.findings = False, SMALL, FOUND
    status = run(world, PLAIN, is_interrupted)
    assert (status.sealed, status.findings) == (False, FOUND)


@pytest.mark.parametrize(("wanted", "documents"), [(False, SMALL), (True, NO_DOCUMENTS)])
def test_nobody_looks_where_findings_are_switched_off_or_nothing_is_small(
    wanted: bool, documents: SmallDocuments
) -> None:
    world = World(settings(findings=wanted))
    world.documents, world.findings = documents, FOUND
    status = run(world, PLAIN, ends_well)
    assert (status.phase, status.findings, world.looked) == (Phase.COMPLETE, None, 0)


def test_a_deleted_checkpoint_is_sealed_without_a_look_for_findings() -> None:
    world = new_world()
    world.documents, world.findings = SMALL, FOUND
    for _ in range(20):
        world.see("checkpoints", "jobs", "pods")
        for one in world.of(PLAIN):
            if one.alive:
                ends_well(world, one)
                world.see("pods")
                # The operator dies with "captured" written; the deletion comes before the next.
                world.operate(PLAIN, 1)
                world.delete(PLAIN)
                world.see("checkpoints")
        world.operate(PLAIN, NEVER)
    assert PLAIN not in world.checkpoints
    assert [bundle.seal for bundle in world.bundles.values()] == [ObservedSeal.OURS]
    assert world.looked == 0


@pytest.mark.parametrize("crash", range(1, 22))
def test_a_crash_on_the_way_through_interruptions_loses_no_evidence(crash: int) -> None:
    world = new_world()
    status = run(world, PLAIN, is_interrupted, is_killed, crash=crash)
    assert (status.phase, status.sealed) == (Phase.COMPLETE, True)
    assert is_of_attempt(status.location, 1), "no other has left anything"
    assert [one.attempt for one in world.of(PLAIN)] == [1, 2, 3]
    assert world.orders == {}


def test_of_interrupted_attempts_the_most_complete_is_sealed() -> None:
    world = new_world()
    status = run(world, PLAIN, is_interrupted)
    assert (status.phase, status.attempt) == (Phase.COMPLETE, 1)
    assert is_of_attempt(status.location, 1)
    assert world.orders == {}


@pytest.mark.parametrize("crash", range(1, 22))
def test_a_crash_never_leaves_containers_paused(crash: int) -> None:
    world = new_world()
    status = run(world, PAUSED, is_killed, crash=crash)
    assert failure(status) == "Error"
    assert len(world.thawed) == MAX_ATTEMPTS
    assert [one.attempt for one in world.of(PAUSED)] == [1, 2, 3]


@pytest.mark.parametrize("begun", [False, True])
def test_a_location_that_somebody_wrote_at_is_left(begun: bool) -> None:
    world = new_world()
    world.operate(PLAIN, NEVER)
    if begun:
        world.operate(PLAIN, 1)
    else:
        world.node_ready = False
        world.operate(PLAIN, 1)
        world.node_ready = True
    guessed = world.checkpoints[PLAIN].status.location
    world.bundles[guessed] = Bundle(foreign=True)
    status = run(world, PLAIN, ends_well)
    assert status.phase is Phase.COMPLETE
    assert status.location != guessed and is_of_attempt(status.location, 1)


def test_a_place_is_given_to_others_while_the_store_is_away() -> None:
    world = new_world()
    world.operate(PLAIN, NEVER)
    world.operate(PLAIN, 1)
    assert world.checkpoints[PLAIN].status.phase is Phase.CAPTURING
    world.away = True
    world.operate(PLAIN, NEVER)
    status = world.checkpoints[PLAIN].status
    assert (status.phase, status.attempt, status.node) == (Phase.PENDING, 0, "")
    world.away = False
    assert run(world, PAUSED, ends_well).phase is Phase.COMPLETE
    assert run(world, PLAIN, ends_well).phase is Phase.COMPLETE


def test_who_waits_for_a_place_has_its_context_stored_meanwhile() -> None:
    world = new_world()
    for _ in range(3):
        world.operate(PLAIN, NEVER)
        world.operate(PAUSED, NEVER)
    waiting = world.checkpoints[PAUSED].status
    assert (waiting.phase, waiting.node) == (Phase.PENDING, "node1")
    assert waiting.location in world.stored
    assert run(world, PLAIN, ends_well).phase is Phase.COMPLETE
    assert run(world, PAUSED, ends_well).location == waiting.location


def test_a_worker_that_never_starts_is_stopped_before_the_next_attempt() -> None:
    world = new_world()
    for _ in range(40):
        world.see("checkpoints", "jobs", "pods")
        world.operate(PLAIN, NEVER)
        world.wait(31)
    status = world.checkpoints[PLAIN].status
    assert failure(status) == "NotStarted"
    assert [one.told_to_end is not None for one in world.of(PLAIN)] == [True] * MAX_ATTEMPTS
    assert world.orders == {}


def test_a_cancelled_capture_is_stopped_and_what_it_had_is_sealed() -> None:
    world = new_world()
    for _ in range(3):
        world.operate(PLAIN, NEVER)
    (one,) = world.of(PLAIN)
    one.started = True
    world.cancel(PLAIN)
    world.see("checkpoints", "jobs", "pods")
    world.operate(PLAIN, NEVER)
    assert one.told_to_end is not None
    status = run(world, PLAIN, is_interrupted)
    partial = find_condition(status.conditions, "Partial")
    assert partial is not None and partial.reason == "Cancelled"
    assert (status.phase, status.sealed, len(world.of(PLAIN))) == (Phase.COMPLETE, True, 1)


def test_a_checkpoint_goes_when_its_time_is_over() -> None:
    world = new_world()
    spec = world.checkpoints[PLAIN].spec.model_copy(update={"ttl_seconds_after_finished": 60})
    world.edit(PLAIN, lambda it: it.model_copy(update={"spec": spec}))
    world.see("checkpoints")
    assert run(world, PLAIN, ends_well).phase is Phase.COMPLETE
    world.wait(60)
    for _ in range(4):
        world.operate(PLAIN, NEVER)
        world.see("checkpoints", "jobs", "pods")
    assert PLAIN not in world.checkpoints


def test_evidence_that_no_status_holds_ends_in_an_honest_failure() -> None:
    world = new_world()
    world.containers = (Container(name="../x", container_id="x"),)
    status = run(world, PLAIN, ends_well)
    assert failure(status) == "ManifestUnreadable"
    captured = find_condition(status.conditions, "Captured")
    assert captured is not None and captured.status == "False"


@pytest.mark.parametrize("over", ["", "Failed"])
def test_a_checkpoint_that_is_deleted_takes_its_children_along(over: str) -> None:
    world = new_world()
    for _ in range(3):
        world.operate(PLAIN, NEVER)
    (one,) = world.of(PLAIN)
    one.started, one.job_over = True, over
    if over:
        one.end(1, world.time)
    world.delete(PLAIN)
    for _ in range(4):
        world.see("checkpoints", "jobs", "pods")
        world.operate(PLAIN, NEVER)
        one.end(4, world.time)
    assert PLAIN not in world.checkpoints
    assert (one.job_there, world.orders) == (False, {})
