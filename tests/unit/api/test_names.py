"""Names of children: deterministic, valid, distinct, never longer than 63 characters."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from forensics_core.api.names import NAME_LIMIT, child_name, label_value

UID = "5df8120f-4366-40b4-be47-20a1c48277c4"
DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")


def test_a_short_name_stays_readable() -> None:
    assert child_name("web-0", UID, 2) == "web-0-5df8120f-2"


def test_dots_become_dashes() -> None:
    assert child_name("web.example.org", UID, 1) == "web-example-org-5df8120f-1"


def test_a_name_of_63_characters_is_cut_and_hashed() -> None:
    one, other = child_name("a" * 63, UID, 1), child_name("a" * 62 + "b", UID, 1)
    assert len(one) == len(other) == NAME_LIMIT
    assert one != other
    assert one.endswith("-5df8120f-1")


def test_attempts_have_different_names() -> None:
    assert child_name("a" * 253, UID, 1) != child_name("a" * 253, UID, 2)


@given(st.from_regex(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?", fullmatch=True), st.integers(1, 99))
def test_every_child_has_a_valid_name(name: str, attempt: int) -> None:
    child = child_name(name, UID, attempt)
    assert DNS_LABEL.fullmatch(child)
    assert len(child) <= NAME_LIMIT


@given(st.text(max_size=100))
def test_every_text_has_a_label_value(text: str) -> None:
    value = label_value(text)
    assert LABEL_VALUE.fullmatch(value)
    assert len(value) <= NAME_LIMIT


def test_a_fit_label_value_is_left_alone() -> None:
    assert label_value("INC-2026.1_a") == "INC-2026.1_a"
