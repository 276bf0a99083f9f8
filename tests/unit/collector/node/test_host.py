"""The manifest says honestly which machine and software made it."""

import os
from pathlib import Path

from collector.node import host as machine


async def test_this_machine() -> None:
    node = await machine.describe_node("docker 1.2")
    assert (node.hostname, node.runtime) == (os.uname().nodename, "docker 1.2")
    assert node.boot_id == machine.BOOT_ID.read_text().strip()


async def test_a_machine_that_hides_its_boot_id(tmp_path: Path) -> None:
    assert (await machine.describe_node("docker 1.2", tmp_path / "none")).boot_id == ""


def test_this_software() -> None:
    assert machine.describe_tool().name == "kube-forensics"
