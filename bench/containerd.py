"""A container in containerd: captured by us, and as who has only `ctr` on the node does it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.page import Bound, PartResult, measured
from bench.procedures import Procedure
from bench.runs import Bench, ProcedureRun, RunListener
from bench.sink import RemoteSink
from bench.subjects import Contents, running_container
from bench.summary import ratio, short_table
from lab.containerd import running_containerd
from lab.images import MiB

CONTENTS = Contents(files=20_000, small=250 * MiB, text=375 * MiB, noise=375 * MiB, large=3)
_MOUNTED = """
    mkdir mounted
    ctr --namespace k8s.io snapshots mounts "$PWD/mounted" "$CONTAINER" > mount.sh
    trap 'umount "$PWD/mounted"' EXIT
    sed 's/-t overlay /-t overlay -o ro /' mount.sh | sh
"""
"""Mounts the layers once more, to read only, as the runtime itself would."""
OURS = Procedure(
    "forensics",
    "`forensics collect containerd://`",
    'exec forensics collect "containerd://$CONTAINER" --to "$TO" --layer-seconds 0',
)
OURS_PLAIN = Procedure(
    "forensics-plain", "the same with `--compression none`", f"{OURS.script} --compression none"
)
SCRIPT = Procedure(
    "script",
    "`ctr snapshots mounts`, `tar` to a file, `aws s3 cp`",
    f"""{_MOUNTED}
    ctr --namespace k8s.io containers info "$CONTAINER" > info.json
    tar --create --directory=mounted --file=rootfs.tar .
    for file in info.json rootfs.tar; do
        aws s3 cp --only-show-errors "$file" "$TO/$file"
    done
    """,
)
PIPELINE = Procedure(
    "pipeline",
    "`ctr snapshots mounts`, `tar c \\| zstd -1 -T2 \\| aws s3 cp -`",
    f"""{_MOUNTED}
    tar --create --directory=mounted . | zstd -q -1 -T2 |
        aws s3 cp --only-show-errors - "$TO/rootfs.tar.zst"
    """,
)
READ = Procedure(
    "read",
    "`ctr snapshots mounts`, `tar c` alone, to nowhere",
    f"""{_MOUNTED}
    tar --create --directory=mounted . | cat > /dev/null
    """,
    stores=False,
)
PROCEDURES = (OURS, OURS_PLAIN, SCRIPT, READ, PIPELINE)


@dataclass(frozen=True, slots=True)
class ContainerdRuns:
    """Rounds of captures of a container in containerd."""

    words: str
    """What it held."""
    rounds: Sequence[Sequence[ProcedureRun]]


def measure_containerd(
    sink: RemoteSink, contents: Contents, folder: Path, runs: int, report: RunListener
) -> ContainerdRuns:
    """Capture a container of a private containerd in rounds. Root only."""
    with (
        running_containerd() as engine,
        running_container(engine, contents, folder) as container,
    ):
        bench = Bench(engine, sink, folder)
        if runs > 1:
            bench.run(PIPELINE, container)  # Nobody is the first to read anything.
        return ContainerdRuns(contents.words, bench.rounds(PROCEDURES, container, runs, report))


def finding(found: ContainerdRuns) -> PartResult:
    """Return the table."""
    about = f"{measured(len(found.rounds))}, over HTTP on loopback: a container with {found.words}."
    text = f"{about}\n\n{short_table(found.rounds, PIPELINE)}"
    reading = ratio(found.rounds, READ, PIPELINE) or 0
    best = {"containerd": Bound(reading, "mounting, and reading alone")}
    goals = {"containerd": ratio(found.rounds, OURS, PIPELINE)}
    return PartResult("containerd", text, goals, best)
