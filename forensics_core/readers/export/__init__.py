"""The layouts that other tools open: OCI images, a plain tar, UAC's, the old tool's names."""
