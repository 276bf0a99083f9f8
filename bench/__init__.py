"""The benchmark: what a capture costs, beside the ways that people capture containers by hand.

`make bench` (`python -m bench`) runs each procedure in turn, several rounds of it, on a container
with 60,000 files, and writes tables and a plot to `docs/`. `make soak` (`python -m bench.soak`)
captures again and again in one process and looks for what is not given back. Neither is part of the
wheel. What is measured, and how, is said in `docs/performance.md`.
"""
