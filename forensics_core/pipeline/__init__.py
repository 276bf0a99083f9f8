"""What happens to bytes between a source and an object: hashed, compressed, counted."""
