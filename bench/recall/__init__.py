"""Recall: how many of an intruder's traces a tool brings home, measured on the container of
`lab.intruder`.

`contestants` are the tools, `outputs` reads whatever they leave behind, `judge` says of each trace
what became of it, `page` writes that into `docs/recall.md`; `python -m bench.recall` does it all.
"""
