"""`forensics verify` and `fetch`, beside the commands that anybody has.

Of the same bundle: what is verified lies in a folder, what is fetched in SeaweedFS on loopback.
`sha256sum` and `zstd -t` compare nothing with a manifest, but go over every stored byte too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from bench.cat import BUCKET, s3_through_tap
from bench.measure import ScriptCost, measure
from bench.page import Bound, PartResult, measured, number, table
from bench.runs import environment
from bench.subjects import Contents, room, running_container
from lab.docker import DockerEngine
from lab.images import GiB, MiB

CONTENTS = Contents(files=20_000, small=500 * MiB, text=800 * MiB, noise=700 * MiB, large=4)
"""Two GB."""
NAME = "readers"
BUNDLE = f"s3://{BUCKET}/{NAME}"
STORED = 'find "$CASE" -type f'
SCRIPTS = {
    "collect": f'forensics collect "docker://$CONTAINER" --to s3://{BUCKET} --name {NAME} '
    '--subpath ""',
    "sha256sum": f'{STORED} -print0 | xargs -0 sha256sum > "$SCRATCH/sums"',
    "zstd": f"{STORED} -name '*.zst' -print0 | xargs -0 zstd -q -t",
    "verify": 'exec forensics verify "$CASE"',
    "fetch": f"exec forensics fetch {BUNDLE} fetched",
    "aws": f"exec aws s3 cp --only-show-errors --recursive {BUNDLE}/ fetched",
    "s5cmd": f's5cmd --endpoint-url "$AWS_ENDPOINT_URL" --log error cp "{BUNDLE}/*" fetched/',
}
_TITLES = {
    "verify": "`forensics verify` of a folder",
    "sha256sum": "`sha256sum` of all that is stored",
    "zstd": "`zstd -t` of all archives",
    "fetch": "`forensics fetch` from SeaweedFS, verified",
    "aws": "`aws s3 cp --recursive`, not verified",
    "s5cmd": "`s5cmd cp`, not verified",
}
COMPARED = (*_TITLES,)

Costs = Mapping[str, ScriptCost]
"""Of one round, by the names of the scripts."""


@dataclass(frozen=True, slots=True)
class ReaderRounds:
    """Rounds of all commands, on one bundle."""

    words: str
    """What the container held."""
    stored: int
    """Bytes of the bundle."""
    rounds: Sequence[Costs]

    def ratio(self, ours: str, *others: str) -> float:
        """Return the median of our wall time over the sum of others', of the same round."""
        return median(
            costs[ours].wall / sum(costs[other].wall for other in others) for costs in self.rounds
        )


def measure_readers(
    engine: DockerEngine, contents: Contents, folder: Path, runs: int
) -> ReaderRounds | None:
    """Capture a container and read the bundle in rounds; None if there is no room."""
    if room(engine) < 4 * contents.size + GiB:
        return None
    with TemporaryDirectory(dir=folder) as place, s3_through_tap() as (s3, _):
        case = Path(place) / "fetched"
        env = {**environment(engine, s3.env()), "CASE": str(case), "SCRATCH": place}
        with running_container(engine, contents, folder) as container:
            _run("collect", Path(place), {**env, "CONTAINER": container})
        measure(SCRIPTS["fetch"], folder=Path(place), env=env)
        stored = sum(path.stat().st_size for path in case.rglob("*") if path.is_file())
        rounds = [_round(number, folder, env) for number in range(runs)]
        return ReaderRounds(contents.words, stored, rounds)


def _round(start: int, folder: Path, env: Mapping[str, str]) -> Costs:
    """Run every command once; each round begins with another one."""
    begin = start % len(COMPARED)
    return {name: _run(name, folder, env) for name in (*COMPARED[begin:], *COMPARED[:begin])}


def _run(name: str, folder: Path, env: Mapping[str, str]) -> ScriptCost:
    os.sync()
    with TemporaryDirectory(dir=folder) as scratch:
        return measure(SCRIPTS[name], folder=Path(scratch), env={**env, "TMPDIR": scratch})


def finding(readers: ReaderRounds | None) -> PartResult:
    """Return the table of what reading a whole bundle costs."""
    if readers is None:
        return PartResult("readers", "Not measured: no room on the disk.")
    about = (
        f"{measured(len(readers.rounds))}, of the bundle of a container with {readers.words}, of "
        f"which {readers.stored / MiB:,.0f} MiB are stored."
    )
    rows = table(_COLUMNS, (_row(name, readers) for name in COMPARED))
    goals = {
        "verify": readers.ratio("verify", "sha256sum", "zstd"),
        "fetch": readers.ratio("fetch", "aws"),
    }
    return PartResult("readers", f"{about}\n\n{rows}", goals, dict(_bounds(readers)))


def _bounds(readers: ReaderRounds) -> Iterator[tuple[str, Bound]]:
    cores = os.cpu_count() or 1
    hashing = median(
        (costs["sha256sum"].cpu + costs["zstd"].cpu)
        / cores
        / (costs["sha256sum"].wall + costs["zstd"].wall)
        for costs in readers.rounds
    )
    yield "verify", Bound(hashing, "the CPU time of these two, on all cores")
    yield "fetch", Bound(readers.ratio("s5cmd", "aws"), "`s5cmd cp`, which verifies nothing")


_COLUMNS = ("", "wall s", "MB/s stored", "CPU s", "peak MiB, all processes")


def _row(name: str, readers: ReaderRounds) -> list[str]:
    costs = [costs[name] for costs in readers.rounds]
    wall = median(cost.wall for cost in costs)
    return [
        _TITLES[name],
        number(wall),
        f"{readers.stored / 1e6 / wall:,.0f}",
        number(median(cost.cpu for cost in costs)),
        f"{max(cost.peak_together for cost in costs) / MiB:.0f}",
    ]
