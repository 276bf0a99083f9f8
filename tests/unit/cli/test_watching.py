from __future__ import annotations

import pytest

from forensics_core.cli.watching import CapturedInPart, raise_for_outcome
from forensics_core.errors import ForensicsError
from tests.unit.cli.test_checkpoints import COMPLETE, checkpoint, condition


def test_the_end_of_a_failure_says_why() -> None:
    status = {"phase": "Failed", "conditions": [condition("Failed", "NotFound", "No such pod.")]}
    with pytest.raises(ForensicsError, match=r"'web-0-x' failed\. NotFound: No such") as raised:
        raise_for_outcome(checkpoint(status))
    assert raised.value.exit_code == 1


def test_the_end_of_a_failure_without_a_condition() -> None:
    with pytest.raises(ForensicsError, match="does not say why"):
        raise_for_outcome(checkpoint({"phase": "Failed"}))


def test_the_end_of_what_was_captured_in_part() -> None:
    gaps = condition("Partial", "Gone", "Not captured: app: memory (gone)")
    with pytest.raises(CapturedInPart, match="Not captured: app: memory") as raised:
        raise_for_outcome(checkpoint(COMPLETE | {"conditions": [gaps]}))
    assert raised.value.exit_code == 4


def test_a_good_end_raises_nothing() -> None:
    raise_for_outcome(checkpoint(COMPLETE))
