"""What is known, how old it may be, and who has to be told."""

from __future__ import annotations

import pytest

from forensics_core.api.podcheckpoint import Phase, PodCheckpoint
from forensics_core.api.urgency import Urgency
from forensics_core.operator.shared.cache import Cache
from tests.unit.operator.samples import NOW, Document, checkpoint, collector_pod, job

KEY = "forensics-system/checkpoint-1"
OTHER = "forensics-system/checkpoint-2"


def named(name: str, phase: str, version: str = "7", **metadata: object) -> PodCheckpoint:
    own = {"name": name, "uid": f"uid-of-{name}", "resourceVersion": version, **metadata}
    return checkpoint(phase, metadata=own)


def test_what_is_older_than_what_is_known_is_left_out() -> None:
    cache = Cache()
    cache.put(named("checkpoint-1", "Sealing", "10"))
    assert cache.put(named("checkpoint-1", "Capturing", "9")) == {KEY}
    found = cache.checkpoint(KEY)
    assert found
    assert found.status.phase is Phase.SEALING


def test_after_a_deletion_the_later_word_counts() -> None:
    cache = Cache()
    cache.put(named("checkpoint-1", "Sealing", "10"))
    cache.put(named("checkpoint-1", "Pending", "9", uid="another"))
    assert cache.count(Phase.PENDING) == 1
    assert cache.drop(named("checkpoint-1", "Sealing", "11")) == {KEY}
    assert len(cache) == 1, "that was the one before"


def test_versions_that_do_not_count_are_all_new() -> None:
    cache = Cache()
    cache.put(named("checkpoint-1", "Sealing", "b"))
    cache.put(named("checkpoint-1", "Capturing", "a"))
    assert cache.count(Phase.CAPTURING) == 1


@pytest.mark.parametrize("phase", ["Sealing", "Complete", "Failed", "Pending"])
def test_who_leaves_its_place_wakes_those_who_wait_for_it(phase: str) -> None:
    cache = Cache()
    cache.put(named("checkpoint-1", "Capturing", "1"))
    assert cache.put(named("checkpoint-2", "Pending")) == {OTHER}
    waiting = cache.checkpoint(OTHER)
    assert waiting
    assert cache.busy(waiting, "node1") == 1
    assert OTHER in cache.put(named("checkpoint-1", phase, "2"))
    assert cache.busy(waiting, "node1") == 0


def test_who_is_deleted_leaves_its_place_too() -> None:
    cache = Cache()
    one = named("checkpoint-1", "Capturing")
    cache.put(one)
    cache.put(named("checkpoint-2", "Pending"))
    assert cache.drop(one) == {KEY, OTHER}


def test_progress_wakes_nobody_and_ones_own_capture_is_not_in_the_way() -> None:
    cache = Cache()
    one = named("checkpoint-1", "Capturing", "1")
    cache.put(one)
    cache.put(named("checkpoint-2", "Pending"))
    assert cache.put(named("checkpoint-1", "Capturing", "2")) == {KEY}
    assert cache.busy(one, "node1") == 0


def test_of_what_has_finished_next_to_nothing_is_kept() -> None:
    cache = Cache()
    cache.put_job(job())
    cache.put(checkpoint("Capturing"))
    cache.put_collector_pod(collector_pod())
    done = checkpoint("Complete", metadata={"resourceVersion": "8"})
    cache.put(done)
    assert cache.checkpoint(KEY) is None
    assert (cache.job(done), cache.collector_pod(done)) == (None, None)
    assert (len(cache), cache.count(Phase.COMPLETE)) == (1, 1)
    cache.put(checkpoint("Capturing"))
    assert cache.count(Phase.COMPLETE) == 1, "late news change nothing"
    cache.drop(done)
    assert (len(cache), cache.count(Phase.COMPLETE)) == (0, 0)


@pytest.mark.parametrize(
    "change",
    [
        {"spec": {"ttlSecondsAfterFinished": 60}},
        {"metadata": {"deletionTimestamp": "2026-08-01T10:11:12Z"}},
    ],
)
def test_what_has_finished_is_kept_while_something_is_left_to_do(change: Document) -> None:
    cache = Cache()
    cache.put(checkpoint("Complete", **change))
    assert cache.checkpoint(KEY) is not None


def test_children_are_found_by_their_label_not_by_their_name() -> None:
    cache = Cache()
    it = checkpoint("Capturing")
    cache.put(it)
    foreign = job()
    foreign["metadata"]["labels"] = {}
    assert cache.put_job(foreign) is None
    assert cache.job(it) is None
    assert cache.put_job(job()) == KEY
    assert cache.job(it) is not None
    assert cache.drop_job(job()) == KEY
    assert cache.job(it) is None


def test_a_pod_that_was_made_again_is_not_dropped_with_the_old_one() -> None:
    cache = Cache()
    it = checkpoint("Capturing")
    cache.put(it)
    cache.put_collector_pod(collector_pod())
    old = collector_pod()
    old["metadata"]["uid"] = "before"
    assert cache.drop_collector_pod(old) == KEY
    assert cache.collector_pod(it) is not None
    cache.drop_collector_pod(collector_pod())
    assert cache.collector_pod(it) is None


@pytest.mark.parametrize("phase", ["Capturing", "Complete"])
def test_an_answer_that_comes_back_by_the_watch_is_known(phase: str) -> None:
    cache = Cache()
    it = named("checkpoint-1", phase, "8")
    item = it.to_dict()
    assert not cache.knows(item)
    cache.put(it)
    assert cache.knows(item)
    assert not cache.knows(named("checkpoint-1", phase, "9").to_dict())
    assert not cache.knows(named("checkpoint-1", phase, "8", uid="another").to_dict())


def test_who_leaves_the_line_without_a_place_makes_way_for_whoever_is_behind() -> None:
    cache = Cache()
    cache.put(named("checkpoint-1", "Pending", "1"))
    cache.put(named("checkpoint-2", "Pending"))
    # Into the place: nobody behind it has a turn for that.
    assert cache.put(named("checkpoint-1", "Capturing", "2")) == {KEY}
    cache.put(named("checkpoint-1", "Pending", "3"))
    assert cache.put(named("checkpoint-1", "Failed", "4")) == {KEY, OTHER}
    assert cache.put(named("checkpoint-3", "Pending")) == {"forensics-system/checkpoint-3"}
    gone = named("checkpoint-3", "Pending")
    assert cache.drop(gone) == {"forensics-system/checkpoint-3", OTHER}


def test_the_line_has_all_others_that_wait_but_those_with_a_place_reserved_or_in_trouble() -> None:
    cache = Cache()
    for number in (1, 2, 3, 4):
        cache.put(named(f"checkpoint-{number}", "Pending"))
    one = cache.checkpoint(KEY)
    assert one

    def line(*blocked: str) -> set[str]:
        return {other.uid for other in cache.line(one, "node1", blocked)}

    others = {f"uid-of-checkpoint-{number}" for number in (2, 3, 4)}
    assert line() == others
    cache.reserve("forensics-system/checkpoint-3", "node1")
    assert line("forensics-system/checkpoint-4") == {"uid-of-checkpoint-2"}
    assert cache.line(one, "", ()) == () and cache.line(one, "node2", ()) == ()
    assert cache.behind(one) == {OTHER, *(f"forensics-system/checkpoint-{n}" for n in (3, 4))}


def test_how_urgent_a_pod_is_is_news_once_and_forgotten_with_the_wait() -> None:
    cache = Cache()
    cache.put(named("checkpoint-1", "Pending", "1"))
    cache.put(named("checkpoint-2", "Pending"))
    one = cache.checkpoint(KEY)
    assert one
    assert cache.waiting(one).urgency is None and cache.urgency(KEY) is Urgency.REST
    assert cache.look(one, Urgency.CRASHING, NOW) == {OTHER}
    assert cache.look(one, Urgency.CRASHING, NOW) == set()
    assert (cache.waiting(one).urgency, cache.waiting(one).looked_at) == (Urgency.CRASHING, NOW)
    assert cache.urgency(KEY) is Urgency.CRASHING
    cache.put(named("checkpoint-1", "Capturing", "2"))
    # What is under way may free its pod with every word.
    assert cache.urgency(KEY) is Urgency.DYING
    assert cache.waiting(one).urgency is None
    assert cache.urgency("forensics-system/nobody") is Urgency.REST
