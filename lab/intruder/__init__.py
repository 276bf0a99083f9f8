"""An intruder who leaves traces of every kind in a container, each with something to know it by.

`trace` says what a trace is and how it is recognised, the catalogue is in `on_disk`, `in_processes`
and `in_kernel`, `netlink` prepares messages for the kernel, `tool` compiles what plants them,
`container` runs the container and plants them in it. `bench.recall` judges who brings them home.
"""
