"""The bundle: its layout, its manifest, how it is written, verified and read back."""
