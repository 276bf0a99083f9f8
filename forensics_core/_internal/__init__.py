"""What the rooms share and nobody outside needs: it may change with any release."""
