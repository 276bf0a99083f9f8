"""What is known to be missing: no artifact holds it, a gap of the manifest names it."""
