"""What every long-running program needs: settings, JSON logs, health, stopping at a signal."""
