"""Cutting a captured pod off, letting it go, deleting it: what is asked, and what is told."""
