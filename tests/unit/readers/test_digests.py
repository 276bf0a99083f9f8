"""A table of digests holds exactly what was put into it, in little memory."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from forensics_core.readers.digests import DigestTable


@given(st.dictionaries(st.binary(max_size=40), st.binary(min_size=3, max_size=3)))
def test_a_table_gives_back_each_value_and_nothing_else(pairs: dict[bytes, bytes]) -> None:
    table = DigestTable(3)
    assert all(table.add(key, value) for key, value in pairs.items())
    assert table.total == len(pairs)
    assert {key: table.get(key) for key in pairs} == pairs
    assert table.get(b"never" * 20) is None


def test_a_key_keeps_its_first_value_until_it_is_set() -> None:
    table = DigestTable(1)
    assert table.add(b"key", b"a") and not table.add(b"key", b"b")
    assert table.get(b"key") == b"a"
    table.put(b"key", b"c")
    table.put(b"other", b"d")
    assert (table.get(b"key"), table.get(b"other"), table.total) == (b"c", b"d", 2)


def test_many_keys_in_one_bucket_are_told_apart() -> None:
    table = DigestTable(2)
    for number in range(70_000):
        table.add(b"%d" % number, b"%02d" % (number % 100))
    assert all(table.get(b"%d" % number) == b"%02d" % (number % 100) for number in range(70_000))
    assert not any(b"-%d" % number in table for number in range(70_000))


def test_a_value_that_looks_like_a_key_is_none() -> None:
    table = DigestTable(9)
    number, short = table._hashed(b"never added")
    others = (b"%d" % each for each in range(10_000_000))
    neighbour = next(other for other in others if table._hashed(other)[0] == number)
    table.add(neighbour, b"-" + short + b"-")
    assert b"never added" not in table
    table.add(b"never added", b"123456789")
    assert table.get(b"never added") == b"123456789"


def test_a_hash_takes_some_ten_bytes() -> None:
    tracemalloc.start()
    table = DigestTable()
    empty = tracemalloc.get_traced_memory()[0]
    for number in range(300_000):
        table.add(number.to_bytes(32))
    taken = tracemalloc.get_traced_memory()[0] - empty
    tracemalloc.stop()
    assert taken < 20 * 300_000
