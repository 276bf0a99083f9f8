"""What is read back of an attempt: its manifest, held against the order and the store; the seal."""
