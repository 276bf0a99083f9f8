"""The procedures that are compared, as the shell scripts that people would write.

Each finds the container in `$CONTAINER` and a URL of its own in `$TO`, and begins in an empty
folder.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Procedure:
    """One way to get a container off its host."""

    name: str
    """For `--only`."""
    title: str
    """For tables, in Markdown."""
    script: str
    stores: bool = True
    """Whether it leaves something in S3."""


# Without a look at the image's layers, which no other procedure has: that moves access times of the
# runtime's own directories, which the kernel counts as written.
OURS = Procedure(
    "forensics",
    "`forensics collect`",
    'exec forensics collect "docker://$CONTAINER" --to "$TO" --layer-seconds 0',
)
OURS_PLAIN = Procedure(
    "forensics-plain",
    "`forensics collect --compression none`",
    'exec forensics collect "docker://$CONTAINER" --to "$TO" --layer-seconds 0 --compression none',
)
OURS_FIXED = Procedure(
    "forensics-zstd",
    "`forensics collect --compression zstd`, level 1 throughout",
    'exec forensics collect "docker://$CONTAINER" --to "$TO" --layer-seconds 0 --compression zstd',
)
SCRIPT = Procedure(
    "script",
    "`docker inspect`, `diff`, `export` to files, `aws s3 cp` of each",
    """
    docker inspect "$CONTAINER" > inspect.json
    docker diff "$CONTAINER" > diff.txt
    docker export --output rootfs.tar "$CONTAINER"
    for file in inspect.json diff.txt rootfs.tar; do
        aws s3 cp --only-show-errors "$file" "$TO/$file"
    done
    """,
)
PIPE = Procedure(
    "pipe",
    "`docker export \\| aws s3 cp -`",
    'docker export "$CONTAINER" | aws s3 cp --only-show-errors - "$TO/rootfs.tar"',
)
PIPE_ZSTD = Procedure(
    "pipe-zstd",
    "`docker export \\| zstd -1 \\| aws s3 cp -`",
    """
    docker export "$CONTAINER" | zstd -q -1 |
        aws s3 cp --only-show-errors - "$TO/rootfs.tar.zst"
    """,
)
PIPE_S5CMD = Procedure(
    "pipe-s5cmd",
    "`docker export \\| zstd -1 \\| s5cmd pipe`",
    """
    docker export "$CONTAINER" | zstd -q -1 |
        s5cmd --endpoint-url "$AWS_ENDPOINT_URL" --log error pipe "$TO/rootfs.tar.zst"
    """,
)
TAR = Procedure(
    "tar",
    "`tar c \\| zstd -1 -T2 \\| aws s3 cp -`, of the files on the node",
    """
    root="/proc/$(docker inspect --format '{{.State.Pid}}' "$CONTAINER")/root"
    tar --create --one-file-system --directory="$root" . | zstd -q -1 -T2 |
        aws s3 cp --only-show-errors - "$TO/rootfs.tar.zst"
    """,
)
"""The fastest way that can be made by hand: as root on the node, and neither hashed nor indexed."""
NOWHERE = Procedure(
    "nowhere",
    "`docker export > /dev/null`",
    'docker export "$CONTAINER" > /dev/null',
    stores=False,
)
READ = Procedure(
    "read",
    "`tar c` alone, to nowhere",
    """
    root="/proc/$(docker inspect --format '{{.State.Pid}}' "$CONTAINER")/root"
    tar --create --one-file-system --directory="$root" . | cat > /dev/null
    """,
    stores=False,
)
"""What reading the files takes. Without `cat` it would not: `tar` knows the place."""

PROCEDURES = (OURS, OURS_FIXED, OURS_PLAIN, SCRIPT, PIPE, PIPE_ZSTD, PIPE_S5CMD, TAR, NOWHERE)
"""All of them, in the order of the tables."""
COMPARED = tuple(each for each in PROCEDURES if each != PIPE)
"""Those that are compared everywhere: who can compress while exporting will do so."""
COMPRESSING = (OURS, OURS_FIXED, PIPE_ZSTD, TAR, NOWHERE)
"""Those for a slow network, and one that stores nothing: it says how fast this machine is."""
