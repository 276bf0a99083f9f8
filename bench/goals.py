"""What is aimed at, in numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Goal:
    """A number that a measurement is compared with."""

    what: str
    limit: float
    at_least: bool = False
    """Whether more is better."""

    def met(self, measured: float) -> bool:
        """Return whether a measured value is good."""
        return measured >= self.limit if self.at_least else measured <= self.limit


MEMORY_LIMIT = 200
"""MiB that the collector and its `tar` may use together, whatever the size."""

GOALS = {
    "script": Goal("wall time, of the usual script's", 0.5),
    "nowhere": Goal("wall time, of `docker export > /dev/null`", 1),
    "tar": Goal("wall time, of `tar c`, `zstd -1 -T2`, `aws s3 cp -`", 1),
    "pipe-zstd": Goal("wall time, of `docker export`, `zstd -1`, `aws s3 cp -`", 0.5),
    "plain-nowhere": Goal("wall time without compression, of `docker export > /dev/null`", 0.5),
    "script-hoped": Goal("wall time, of the usual script's, where that `tar` was at about", 0.25),
    "nowhere-hoped": Goal("wall time, of `docker export > /dev/null`, the same", 0.63),
    "scratch": Goal("scratch bytes", 0),
    "upload": Goal("CPU seconds a GiB of the upload, over HTTP", 0.7),
    "memory-1": Goal("peak MiB, of a file of 1 GiB", MEMORY_LIMIT),
    "memory-4": Goal("peak MiB, of a file of 4 GiB", MEMORY_LIMIT),
    "memory-16": Goal("peak MiB, of a file of 16 GiB", MEMORY_LIMIT),
    "cat-fetched": Goal("MiB fetched for 500 KB out of an archive of 4 GiB", 6),
    "cat-wall": Goal("seconds until these are there", 1),
    "scan-wall": Goal("wall time of a scan, of `yara` on the extracted tree", 2),
    "scan-memory": Goal("peak MiB of a scan, all processes", 300),
}
"""By names for what measures them; the ratios are those of 60,000 files and 1.9 GB over HTTP."""
