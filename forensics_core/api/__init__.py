"""The PodCheckpoint resource and the work order: typed models, and the CRD made from them."""
