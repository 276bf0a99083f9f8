"""Container runtimes behind one protocol: which there are on a node, and how to reach them."""
