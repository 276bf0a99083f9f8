"""The collector as the operator's Job: progress, and the last words."""
