"""The same again with pods that are cut off, let go and deleted, whatever comes in between."""

from __future__ import annotations

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from forensics_core.api.conditions import ConditionType, find_condition
from forensics_core.api.names import ISOLATED_LABEL
from forensics_core.api.podcheckpoint import Phase, PodCheckpointStatus
from forensics_core.errors import ApiUnavailable, Forbidden
from forensics_core.operator.containment.policy import removed_labels
from tests.unit.operator.pods import LABELS
from tests.unit.operator.test_interleavings import KEYS, SETTINGS, Interleavings
from tests.unit.operator.world import World

ABOUT_THE_POD = {ConditionType.ISOLATED, ConditionType.POD_DELETED}


class ContainedInterleavings(Interleavings):
    """Every pod is to be cut off first, and to be deleted in the end."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(SETTINGS, spec={"isolate": True, "afterCapture": "Delete"})

    @rule(key=st.sampled_from(KEYS))
    def somebody_releases(self, key: str) -> None:
        self.world.release(key)

    @rule(key=st.sampled_from(KEYS))
    def somebody_changes_a_pod(self, key: str) -> None:
        self.world.containment.touch(key, shade="dark")

    @rule(refuses=st.sampled_from([None, None, Forbidden, ApiUnavailable]))
    def rights_come_and_go(self, refuses: type[Forbidden | ApiUnavailable] | None) -> None:
        self.world.refuses = refuses

    @invariant()
    def no_label_is_ever_lost(self) -> None:
        for key in KEYS:
            there = self.world.containment.metadata(key)
            known = removed_labels({"metadata": there}) | there["labels"]
            assert known.items() >= LABELS.items()

    @invariant()
    def nothing_is_captured_before_the_word_about_the_isolation(self) -> None:
        for key, one in self.there():
            told = find_condition(one.status.conditions, ConditionType.ISOLATED)
            assert told is not None or not self.world.of(key)

    @invariant()
    def only_pods_that_are_captured_whole_are_deleted(self) -> None:
        captured = {
            status.pod_uid
            for status in self.last.values()
            if status.phase is Phase.COMPLETE
            and find_condition(status.conditions, ConditionType.PARTIAL) is None
        }
        assert set(self.world.containment.deleted) <= captured

    @invariant()
    def a_terminal_phase_is_final(self) -> None:
        for key, one in self.there():
            if key in self.ends:
                assert _without_the_pod(one.status) == _without_the_pod(self.ends[key])
            elif one.finished:
                self.ends[key] = one.status

    def teardown(self) -> None:
        """Once things settle, who was released has everything back."""
        self.world.refuses = None
        super().teardown()
        for _ in range(3):
            self.world.see("checkpoints", "jobs", "pods")
            for key in KEYS:
                self.operate(key, 12)
        for key, one in self.there():
            pod = self.world.containment.of(key)
            if one.spec.release and self.world.pods[key] == one.status.pod_uid:
                assert ISOLATED_LABEL not in pod.labels
                assert (pod.policy, pod.labels.items() >= LABELS.items()) == (None, True)


def _without_the_pod(status: PodCheckpointStatus) -> PodCheckpointStatus:
    kept = tuple(one for one in status.conditions if one.type not in ABOUT_THE_POD)
    return status.model_copy(update={"conditions": kept, "observed_generation": None})


TestContainedInterleavings = ContainedInterleavings.TestCase
TestContainedInterleavings.settings = hypothesis_settings(max_examples=60, stateful_step_count=40)
