"""The kubelet, a client of the API, and the runners that it starts."""
