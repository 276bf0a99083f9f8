"""The layouts that other tools open: an OCI image, one plain tar, the names of the old tool."""
