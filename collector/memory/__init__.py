"""The memory of processes, as ELF cores: held still for a moment, read without being stored."""
