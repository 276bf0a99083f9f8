"""The lab: the real parts that tests, the demo and the benchmark need, started privately.

A Docker Engine (`lab.docker`), an S3 server that is strict (`lab.seaweed`), an S3 endpoint that
discards and misbehaves on demand (`lab.sink`), root file systems (`lab.images`) and an intruder's
visit (`lab.tamper`). Everything listens on loopback or on a socket in a temporary folder, and is
gone afterwards; what the lab did not make, it leaves alone. The lab is not part of the wheel.
"""
