"""The machine that the collector runs on: its processes, priorities and timeouts."""
