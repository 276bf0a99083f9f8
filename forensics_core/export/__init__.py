"""Bytes on their way out: stages that hash and compress, destinations that keep them."""
