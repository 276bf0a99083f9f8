"""PodCheckpoints of `forensics.keikoproj.io`: each is one of ours, and shows its status."""
