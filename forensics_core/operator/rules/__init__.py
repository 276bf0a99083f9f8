"""Capture rules: what happens to pods, which rule that is a reason for, and what is held back."""
