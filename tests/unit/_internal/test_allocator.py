"""One arena instead of one a thread."""

from __future__ import annotations

import ctypes

import pytest

from forensics_core._internal.allocator import use_one_arena


def test_glibc_takes_the_hint() -> None:
    assert use_one_arena() is True


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert use_one_arena() is False
