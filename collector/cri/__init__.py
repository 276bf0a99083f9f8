"""Container runtimes that speak the Container Runtime Interface: containerd and CRI-O."""
