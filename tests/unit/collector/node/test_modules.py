"""Modules by three ways, and what a module that hides looks like."""

from __future__ import annotations

from pathlib import Path

import pytest

from collector.node import modules
from collector.node.modules import details, read_modules
from collector.node.network_tables import SYMBOLS
from collector.node.procfs import HOST_PROC

PROC = """\
nf_tables 290816 11 nft_compat,nft_masq, Live 0xffffffffc0a10000
dirty 16384 0 - Live 0xffffffffc0b10000 (OE)
shown 16384 0 - Live 0x0000000000000000
no module at all
"""
KALLSYMS = """\
ffffffff81000000 T _text
ffffffffc0a10000 t nf_tables_newrule.isra.0\t[nf_tables]
ffffffffc0b10000 t work\t[dirty]
ffffffffc0b20000 t unhooked\t[hidden]
ffffffffc0c00000 t bpf_prog_6deef7357e7b4530\t[bpf]
ffffffffc0c10000 t ftrace_trampoline\t[__builtin__ftrace]
"""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A /proc and a /sys/module, of which a module is on every list but one."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/modules").write_text(PROC)
    (tmp_path / "proc/kallsyms").write_text(KALLSYMS)
    for name in ("nf_tables", "dirty", "hidden"):
        (tmp_path / "sys" / name).mkdir(parents=True)
        (tmp_path / "sys" / name / "initstate").write_text("live\n")
    (tmp_path / "sys/printk").mkdir()
    (tmp_path / "sys/dirty/srcversion").write_text("ABC\n")
    monkeypatch.setenv(HOST_PROC, str(tmp_path / "proc"))
    return tmp_path


def test_each_module_that_one_way_shows_and_another_does_not(machine: Path) -> None:
    found = read_modules(sysfs=machine / "sys")
    assert found.disagreements == [
        {"module": "hidden", "shownBy": ["sysfs", "kallsyms"], "missingIn": ["proc"]},
        {"module": "shown", "shownBy": ["proc"], "missingIn": ["sysfs", "kallsyms"]},
    ]
    assert found.unavailable == {} and found.complete


def test_rows_of_modules(machine: Path) -> None:
    listed = read_modules(sysfs=machine / "sys").listed
    details(listed, machine / "sys")
    first, second, _ = listed
    assert first["usedBy"] == ["nft_compat", "nft_masq"] and first["references"] == 11
    assert (second["taint"], second["srcversion"], second["usedBy"]) == ("OE", "ABC", [])


def test_functions_are_found_whatever_the_compiler_called_them(machine: Path) -> None:
    found = read_modules({"nf_tables_newrule", "work", "_tex"}, machine / "sys")
    assert found.symbols == {"nf_tables_newrule", "work"}


def test_a_taint_that_no_module_explains(machine: Path) -> None:
    found = read_modules(sysfs=machine / "sys")
    assert found.unexplained_taint(1 << 12 | 1 << 13 | 1 << 9) == []
    assert found.unexplained_taint(1 << 0 | 1 << 12) == ["P"]


def test_ways_that_cannot_be_asked(machine: Path) -> None:
    (machine / "proc/modules").unlink()
    (machine / "proc/kallsyms").unlink()
    found = read_modules(sysfs=machine / "sys")
    assert set(found.found) == {"sysfs"} and set(found.unavailable) == {"proc", "kallsyms"}
    assert found.disagreements == [] and found.unexplained_taint(1) == []


def test_a_table_of_symbols_without_end(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = read_modules(sysfs=machine / "sys", most_symbols=10)
    assert not found.complete


def test_this_kernel_is_one_with_netlink() -> None:
    found = read_modules(SYMBOLS)
    assert "kallsyms" in found.unavailable or "unix_diag_dump" in found.symbols
    assert modules.SYSFS.name == "module"
