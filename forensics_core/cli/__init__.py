"""The `forensics` command."""

from forensics_core.cli import interrupt

interrupt.exit_on_sigint()  # before anything that takes long is loaded
