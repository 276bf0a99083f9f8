"""The `forensics` command."""

from forensics_core.cli import interrupt

# Before anything that takes long is loaded.
interrupt.exit_on_sigint()
interrupt.collect_garbage_rarely()
