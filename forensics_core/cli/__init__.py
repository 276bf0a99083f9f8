"""The `forensics` command."""

from forensics_core.cli import interrupt

interrupt.begin()  # before anything that takes long is loaded
