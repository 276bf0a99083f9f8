"""Isolation, release and deletion, write by write, over a cluster and a store in memory."""

from __future__ import annotations

from typing import Any

import pytest

from forensics_core.api.conditions import Condition, find_condition
from forensics_core.api.names import ISOLATED_LABEL
from forensics_core.api.podcheckpoint import Phase, PodCheckpointStatus
from forensics_core.errors import ApiUnavailable, Forbidden
from tests.unit.operator.pods import LABELS, PodWorld
from tests.unit.operator.samples import settings
from tests.unit.operator.test_act import NEVER, PAUSED, PLAIN, ends_well, is_interrupted, run
from tests.unit.operator.world import MAX_ATTEMPTS, UIDS, World

SHORT = UIDS["plain"][:8]
CUT_OFF = {"colour": "green", ISOLATED_LABEL: SHORT}


def new_world(**spec: Any) -> World:
    return World(settings(maxAttempts=MAX_ATTEMPTS, capturesPerNode=1), spec=spec)


def condition(status: PodCheckpointStatus, kind: str) -> Condition:
    found = find_condition(status.conditions, kind)
    assert found is not None, status.conditions
    return found


def told(status: PodCheckpointStatus, kind: str) -> tuple[str, str]:
    found = condition(status, kind)
    return found.status, found.reason


def settle(world: World, key: str = PLAIN, steps: int = 12) -> None:
    for _ in range(steps):
        world.see("checkpoints", "jobs", "pods")
        world.operate(key, NEVER)


def pod(world: World, key: str = PLAIN) -> Any:
    return world.containment.of(key)


def test_a_pod_is_cut_off_before_its_collector_is_made() -> None:
    world = new_world(isolate=True)
    while not world.of(PLAIN):
        world.operate(PLAIN, NEVER)
    assert pod(world).labels == CUT_OFF
    assert pod(world).policy == world.pods[PLAIN]
    status = world.checkpoints[PLAIN].status
    assert told(status, "Isolated") == ("True", "Enforced")
    assert condition(status, "Isolated").message == (
        f"The NetworkPolicy forensics-isolate-{SHORT} lets nothing in and nothing out; the "
        "operator's settings say that network policies are enforced; the pod has left the Services "
        "web; the ReplicaSet web replaces it."
    )


def test_an_isolation_takes_three_writes_more() -> None:
    """Policy, pod, status."""
    world = new_world(isolate=True)
    run(world, PLAIN, ends_well)
    assert world.written == 9 + 3


@pytest.mark.parametrize("crash", range(1, 12))
def test_a_crash_after_any_write_isolates_once_and_loses_no_label(crash: int) -> None:
    world = new_world(isolate=True)
    status = run(world, PLAIN, ends_well, crash=crash)
    assert (status.phase, len(world.of(PLAIN))) == (Phase.COMPLETE, 1)
    assert pod(world).labels == CUT_OFF
    world.release(PLAIN)
    settle(world)
    assert (pod(world).labels, pod(world).annotations, pod(world).policy) == (LABELS, {}, None)
    assert told(world.checkpoints[PLAIN].status, "Isolated") == ("False", "Released")


@pytest.mark.parametrize("crash", range(1, 5))
def test_a_crash_during_a_release_is_made_good(crash: int) -> None:
    world = new_world(isolate=True)
    run(world, PLAIN, ends_well)
    world.release(PLAIN)
    world.see("checkpoints")
    world.operate(PLAIN, crash)
    settle(world)
    assert (pod(world).labels, pod(world).policy) == (LABELS, None)
    assert told(world.checkpoints[PLAIN].status, "Isolated") == ("False", "Released")


def test_a_label_that_somebody_sets_meanwhile_stays() -> None:
    world = new_world(isolate=True)
    run(world, PLAIN, ends_well)
    world.containment.touch(PLAIN, app="other")
    world.release(PLAIN)
    settle(world)
    assert pod(world).labels == LABELS | {"app": "other"}
    message = condition(world.checkpoints[PLAIN].status, "Isolated").message
    assert message == "The pod is released; labels that were set meanwhile stay as they are: app."


def test_a_release_at_rest_does_nothing_again() -> None:
    world = new_world(isolate=True)
    run(world, PLAIN, ends_well)
    world.release(PLAIN)
    settle(world)
    written = world.written
    world.release(PLAIN)
    settle(world)
    assert world.written == written
    assert world.cache.checkpoint(PLAIN) is None, "there is nothing left to do with it"


def test_who_releases_before_the_capture_is_never_isolated() -> None:
    world = new_world(isolate=True, release=True)
    status = run(world, PLAIN, ends_well)
    assert told(status, "Isolated") == ("False", "Released")
    assert pod(world).labels == LABELS


def test_a_release_comes_at_once_while_the_capture_goes_on() -> None:
    world = new_world(isolate=True)
    while not world.of(PLAIN):
        world.operate(PLAIN, NEVER)
    world.release(PLAIN)
    settle(world, steps=3)
    assert pod(world).labels == LABELS
    assert world.checkpoints[PLAIN].status.phase is Phase.CAPTURING
    assert run(world, PLAIN, ends_well).phase is Phase.COMPLETE


def test_who_waits_for_a_place_is_cut_off_meanwhile() -> None:
    world = new_world(isolate=True)
    while not world.of(PLAIN):
        world.operate(PLAIN, NEVER)
    settle(world, PAUSED)
    status = world.checkpoints[PAUSED].status
    assert (status.phase, told(status, "Isolated")) == (Phase.PENDING, ("True", "Enforced"))
    assert ISOLATED_LABEL in pod(world, PAUSED).labels
    assert run(world, PLAIN, ends_well).phase is Phase.COMPLETE
    assert run(world, PAUSED, ends_well).phase is Phase.COMPLETE


def test_a_store_that_is_away_does_not_keep_the_pod_on_the_network() -> None:
    world = new_world(isolate=True)
    world.away = True
    settle(world)
    status = world.checkpoints[PLAIN].status
    assert (status.phase, told(status, "Isolated")) == (Phase.PENDING, ("True", "Enforced"))
    world.away = False
    assert run(world, PLAIN, ends_well).phase is Phase.COMPLETE


def test_without_the_rights_the_capture_goes_on_and_the_overlay_is_named() -> None:
    world = new_world(isolate=True)
    world.refuses = Forbidden
    status = run(world, PLAIN, ends_well)
    assert (status.phase, told(status, "Isolated")) == (Phase.COMPLETE, ("False", "NotPossible"))
    assert "deploy/overlays/containment" in condition(status, "Isolated").message


def test_an_api_that_hangs_delays_the_capture_for_so_long_and_no_longer() -> None:
    world = new_world(isolate=True)
    world.refuses = ApiUnavailable
    while world.checkpoints[PLAIN].status.phase is not Phase.CAPTURING:
        world.operate(PLAIN, NEVER)
    settle(world, steps=3)
    assert world.of(PLAIN) == []
    world.wait(11)
    settle(world, steps=3)
    (one,) = world.of(PLAIN)
    assert one.alive
    status = world.checkpoints[PLAIN].status
    assert told(status, "Isolated") == ("False", "NotPossible")


@pytest.mark.parametrize("late", [False, True])
def test_an_isolation_whose_answer_is_lost_is_finished_or_undone(late: bool) -> None:
    world = new_world(isolate=True)
    while world.checkpoints[PLAIN].status.phase is not Phase.CAPTURING:
        world.operate(PLAIN, NEVER)
    world.containment.loses = True
    world.wait(11 if late else 0)
    settle(world)
    status = world.checkpoints[PLAIN].status
    assert told(status, "Isolated")[1] == ("NotPossible" if late else "Enforced")
    assert pod(world).labels == (LABELS if late else CUT_OFF)
    assert (pod(world).policy is None) is late


def test_a_pod_that_others_change_meanwhile_is_read_again() -> None:
    world = new_world(isolate=True)

    class Busy(PodWorld):
        """Somebody changes the pod just before it is."""

        async def create_policy(self, checkpoint: Any, policy: Any) -> None:
            await super().create_policy(checkpoint, policy)
            if self.of(PLAIN).version < 3:
                self.touch(PLAIN, shade="dark")

    world.containment = Busy(world)
    settle(world)
    assert pod(world).labels == CUT_OFF | {"shade": "dark"}


def test_what_cannot_be_lifted_is_told_and_tried_again_after_the_end() -> None:
    world = new_world(isolate=True)
    while not world.of(PLAIN):
        world.operate(PLAIN, NEVER)
    world.refuses = Forbidden
    world.release(PLAIN)
    settle(world)
    told_now = condition(world.checkpoints[PLAIN].status, "Isolated")
    assert (told_now.status, told_now.reason) == ("True", "Enforced")
    assert told_now.message.startswith("It could not be lifted: no. The overlay deploy/overlays")
    assert run(world, PLAIN, ends_well).phase is Phase.COMPLETE
    settle(world)
    assert pod(world).policy is not None
    world.refuses = None
    settle(world)
    assert (pod(world).labels, pod(world).policy) == (LABELS, None)


@pytest.mark.parametrize("wanted", ["Delete", "DeleteEvenIfPartial"])
def test_a_pod_that_is_captured_whole_is_deleted(wanted: str) -> None:
    world = new_world(afterCapture=wanted)
    uid = world.pods[PLAIN]
    assert run(world, PLAIN, ends_well).phase is Phase.COMPLETE
    assert world.containment.deleted == []
    settle(world)
    assert world.containment.deleted == [uid]
    assert told(world.checkpoints[PLAIN].status, "PodDeleted") == ("True", "Deleted")


def test_a_pod_of_which_evidence_is_missing_is_kept() -> None:
    world = new_world(afterCapture="Delete")
    status = run(world, PLAIN, is_interrupted)
    settle(world)
    assert told(status, "PodDeleted") == ("False", "Partial")
    assert (world.containment.deleted, world.checkpoints[PLAIN].status) == ([], status)


def test_a_pod_of_which_evidence_is_missing_is_deleted_where_that_was_asked_for() -> None:
    world = new_world(afterCapture="DeleteEvenIfPartial")
    uid = world.pods[PLAIN]
    run(world, PLAIN, is_interrupted)
    settle(world)
    assert world.containment.deleted == [uid]


def test_a_pod_that_is_not_captured_is_kept() -> None:
    world = new_world(afterCapture="DeleteEvenIfPartial", isolate=True)
    for _ in range(60):
        settle(world, steps=1)
        world.wait(31)
    status = world.checkpoints[PLAIN].status
    assert told(status, "PodDeleted") == ("False", "NotCaptured")
    assert told(status, "Isolated") == ("True", "Enforced")
    assert world.containment.deleted == []


def test_a_capture_that_never_began_has_isolated_nothing() -> None:
    world = new_world(isolate=True)
    world.pods[PLAIN] = None
    settle(world)
    assert told(world.checkpoints[PLAIN].status, "Isolated") == ("False", "NotPossible")


@pytest.mark.parametrize("there", [None, "another"])
def test_another_pod_of_the_name_is_never_deleted(there: str | None) -> None:
    world = new_world(afterCapture="Delete")
    run(world, PLAIN, ends_well)
    world.pods[PLAIN] = there
    settle(world)
    assert (world.containment.deleted, world.pods[PLAIN]) == ([], there)
    assert told(world.checkpoints[PLAIN].status, "PodDeleted") == ("True", "Gone")


def test_without_the_right_the_pod_is_kept() -> None:
    world = new_world(afterCapture="Delete")
    run(world, PLAIN, ends_well)
    world.refuses = Forbidden
    settle(world)
    assert told(world.checkpoints[PLAIN].status, "PodDeleted") == ("False", "Forbidden")


def test_an_api_that_is_away_is_asked_again() -> None:
    world = new_world(afterCapture="Delete")
    run(world, PLAIN, ends_well)
    world.refuses = ApiUnavailable
    settle(world, steps=2)
    assert find_condition(world.checkpoints[PLAIN].status.conditions, "PodDeleted") is None
    world.refuses = None
    settle(world)
    assert told(world.checkpoints[PLAIN].status, "PodDeleted") == ("True", "Deleted")


def test_a_crash_after_the_deletion_of_the_pod_is_made_good() -> None:
    world = new_world(afterCapture="Delete")
    run(world, PLAIN, ends_well)
    world.operate(PLAIN, 1)
    settle(world)
    assert len(world.containment.deleted) == 1
    assert told(world.checkpoints[PLAIN].status, "PodDeleted") == ("True", "Gone")


def test_who_deletes_the_record_does_not_free_the_pod() -> None:
    world = new_world(isolate=True)
    run(world, PLAIN, ends_well)
    world.delete(PLAIN)
    settle(world)
    assert PLAIN not in world.checkpoints
    assert (pod(world).labels, pod(world).policy) == (CUT_OFF, world.pods[PLAIN])


def test_a_release_that_was_asked_for_comes_before_the_end_of_the_record() -> None:
    world = new_world(isolate=True)
    run(world, PLAIN, ends_well)
    world.release(PLAIN)
    world.delete(PLAIN)
    settle(world)
    assert PLAIN not in world.checkpoints
    assert (pod(world).labels, pod(world).policy) == (LABELS, None)


def test_rights_that_are_gone_do_not_keep_the_record() -> None:
    world = new_world(isolate=True)
    run(world, PLAIN, ends_well)
    world.refuses = Forbidden
    world.release(PLAIN)
    world.delete(PLAIN)
    settle(world)
    assert PLAIN not in world.checkpoints


def test_an_isolation_that_was_never_told_of_goes_with_the_record() -> None:
    world = new_world(isolate=True)
    world.operate(PLAIN, NEVER)
    world.operate(PLAIN, NEVER)
    world.operate(PLAIN, 2)
    assert pod(world).labels == CUT_OFF
    world.delete(PLAIN)
    settle(world)
    assert PLAIN not in world.checkpoints
    assert (pod(world).labels, pod(world).policy) == (LABELS, None)


def test_a_record_outlives_its_time_while_its_pod_is_isolated() -> None:
    world = new_world(isolate=True, ttlSecondsAfterFinished=60)
    run(world, PLAIN, ends_well)
    world.wait(61)
    settle(world)
    assert PLAIN in world.checkpoints
    world.release(PLAIN)
    settle(world)
    assert PLAIN not in world.checkpoints


def test_a_record_whose_isolated_pod_is_gone_goes_when_its_time_is_over() -> None:
    world = new_world(isolate=True, ttlSecondsAfterFinished=60)
    run(world, PLAIN, ends_well)
    world.pods[PLAIN] = None
    world.wait(61)
    settle(world)
    assert PLAIN not in world.checkpoints
