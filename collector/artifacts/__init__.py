"""The kinds of evidence, one module each; every one has `collect(capture)`.

A capture adds what it can to the bundle and records what it cannot. What it raises concerns that
artifact only, except a `DestinationError`.
"""
