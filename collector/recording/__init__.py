"""What a container does while it is captured: execs, writes, connections, packets."""
