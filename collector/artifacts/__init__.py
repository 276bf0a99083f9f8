"""The kinds of evidence, one module each; every one has `collect(capture)`.

`found`, `deleted`, `kept` and `unread` go with the processes: what only these still have.

A capture adds what it can to the bundle and records what it cannot. What it raises concerns that
artifact only, except a `DestinationError`.
"""
