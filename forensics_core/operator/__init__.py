"""The operator: watches PodCheckpoints, runs a Job for each attempt, seals what it captured."""
