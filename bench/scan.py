"""Scanning a capture with YARA rules, against `yara` on the tree that somebody extracted first."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from bench.measure import ScriptCost, measure
from bench.page import PartResult, measured, table
from bench.runs import environment
from bench.subjects import Contents, room, running_container
from lab.docker import DockerEngine
from lab.images import GiB, MiB

CONTENTS = Contents(files=20_000, small=400 * MiB, text=300 * MiB, noise=324 * MiB, large=4)
"""One GiB; its large files are longer than a window of the scan."""
RULES = """import "elf"
rule Shell : script { strings: $a = "#!/bin/sh" condition: $a at 0 }
rule Miner { strings: $a = "stratum+tcp://" $b = "xmrig" nocase condition: any of them }
rule Key { strings: $a = "-----BEGIN RSA PRIVATE KEY-----" condition: $a }
rule Webshell { strings: $a = /eval\\(base64_decode\\([a-zA-Z0-9_$'"]{1,40}\\)/ condition: $a }
rule Shellcode { strings: $a = { 48 31 c0 50 48 bb [8] 53 48 89 e7 } condition: $a }
rule Program { condition: elf.type == elf.ET_EXEC }
rule Reverse { strings: $a = "/dev/tcp/" $b = "bash -i" wide ascii condition: any of them }
"""
COLLECT = 'forensics collect "docker://$CONTAINER" --to "$CASES" --subpath "" --name case'
EXTRACT = """forensics fetch "$CASES/case" "$CASES/plain" --decompress --select '*/rootfs.tar.zst'
mkdir "$CASES/tree"
tar -C "$CASES/tree" -xf "$CASES"/plain/containers/*/rootfs.tar"""
YARA = 'yara -N -r "$RULES" "$CASES/tree"'
SCAN = 'exec forensics scan "$CASES/case" "$RULES"'


@dataclass(frozen=True, slots=True)
class Scans:
    """Rounds of both, one after the other."""

    words: str
    """What the container held."""
    extract: ScriptCost
    """What it took to have a tree for `yara`."""
    yara: tuple[ScriptCost, ...]
    ours: tuple[ScriptCost, ...]


def measure_scan(engine: DockerEngine, contents: Contents, folder: Path, runs: int) -> Scans | None:
    """Capture a container and scan it both ways; None without `yara`, or room for the tree."""
    if shutil.which("yara") is None or room(engine) < 4 * contents.size + GiB:
        return None
    with TemporaryDirectory(dir=folder) as cases:
        rules = Path(cases) / "rules.yar"
        rules.write_text(RULES)
        env = {**environment(engine, {}), "CASES": cases, "RULES": str(rules)}
        with running_container(engine, contents, folder) as container:
            _run(COLLECT, folder, {**env, "CONTAINER": container})
        extract = _run(EXTRACT, folder, env)
        rounds = [(_run(YARA, folder, env), _run(SCAN, folder, env)) for _ in range(runs)]
        yara, ours = zip(*rounds, strict=True)
        return Scans(contents.words, extract, yara, ours)


def _run(script: str, folder: Path, env: Mapping[str, str]) -> ScriptCost:
    with TemporaryDirectory(dir=folder) as scratch:
        return measure(script, folder=Path(scratch), env={**env, "TMPDIR": scratch})


def finding(scans: Scans | None) -> PartResult:
    """Return the table of what a scan costs."""
    if scans is None:
        return PartResult("scan", "Not measured: `yara` is not installed, or there is no room.")
    rounds = zip(scans.yara, scans.ours, strict=True)
    goals = {
        "scan-wall": median(ours.wall / yara.wall for yara, ours in rounds),
        "scan-memory": max(cost.peak_together for cost in scans.ours) / MiB,
    }
    about = f"{measured(len(scans.ours))}, of a container with {scans.words}."
    rows = [
        _row("`yara -r` on the extracted tree", scans.yara),
        _row("`forensics scan` on the bundle", scans.ours),
        _row("extracting the tree, for `yara` only", [scans.extract]),
    ]
    return PartResult("scan", f"{about}\n\n{table(_COLUMNS, rows)}", goals)


_COLUMNS = ("", "wall s", "CPU s", "peak MiB, all processes", "scratch MiB")


def _row(name: str, costs: Sequence[ScriptCost]) -> list[str]:
    return [name, *_cells(costs)]


def _cells(costs: Sequence[ScriptCost]) -> Iterator[str]:
    yield f"{median(cost.wall for cost in costs):.2f}"
    yield f"{median(cost.cpu for cost in costs):.2f}"
    yield f"{max(cost.peak_together for cost in costs) / MiB:.0f}"
    yield f"{max(cost.written for cost in costs) / MiB:.0f}"
