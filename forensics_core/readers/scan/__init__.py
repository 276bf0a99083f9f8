"""Looking for what is known: YARA rules over all bytes of a bundle, and lists of hashes."""
