"""The cluster of KUBECONFIG, with kube-forensics in it and a pod to capture.

These tests change a cluster, so that they run only where `-m e2e` asks for them: `make e2e`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack

import anyio
import pytest

from tests.e2e.commands import Commands, Failed
from tests.e2e.inputs import Inputs, read_inputs
from tests.e2e.installation import Installation, Means
from tests.e2e.pods import Target, make_namespace
from tests.e2e.requests import Requests
from tests.e2e.storage import forget, make_bucket

LEFT = pytest.StashKey[list[str]]()
"""The objects that stay in the bucket, and why."""


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say what could not be cleaned up."""
    left = config.stash.get(LEFT, [])
    if left:
        terminalreporter.section("left in the bucket")
        for line in left:
            terminalreporter.line(line)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave these tests out unless they are asked for by their mark; pytest counts them."""
    if "e2e" in (config.option.markexpr or ""):
        return
    ours = [item for item in items if item.get_closest_marker("e2e")]
    if ours:
        items[:] = [item for item in items if item not in ours]
        config.hook.pytest_deselected(items=ours)


@pytest.fixture(scope="session")
def inputs() -> Inputs:
    """What the environment says."""
    try:
        return read_inputs(dict(os.environ))
    except KeyError as error:
        pytest.fail(f"{error.args[0]} is not set: see docs/e2e.md", pytrace=False)


@pytest.fixture(scope="session")
def commands(inputs: Inputs, pytestconfig: pytest.Config) -> Iterator[Commands]:
    """kubectl and forensics, and a bucket. Whatever is registered to be removed is, at the end."""
    made = anyio.run(make_bucket, inputs)
    yield Commands(inputs)
    if not inputs.keep:
        pytestconfig.stash[LEFT] = anyio.run(lambda: forget(inputs, bucket_too=made))


@pytest.fixture(scope="session")
def installation(
    commands: Commands, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """kube-forensics at work: installed now, or before."""
    found = Installation(commands, tmp_path_factory.mktemp("installation"))
    means = found.means()
    with ExitStack() as stack:
        if means is Means.ADOPT:
            found.adopt()
        else:
            found.prepare()
            undo = found.borrow().give_back if means is Means.LOAN else found.remove
            if not commands.inputs.keep:
                stack.callback(undo)
            found.install()
        yield found


@pytest.fixture(scope="session")
def target(commands: Commands, installation: Installation) -> Iterator[Target]:
    """The pods to capture, running. They go before what captures them does."""
    name = commands.inputs.target_namespace
    found = Target(commands, make_namespace(commands))
    with ExitStack() as stack:
        if not commands.inputs.keep:
            stack.callback(found.remove)
        try:
            found.start()
        except Failed as error:
            described = commands.kubectl("describe", "pods", f"--namespace={name}")
            raise Failed(f"{error}\n{described[-4000:]}") from error
        yield found


@pytest.fixture(scope="session")
def requests(installation: Installation, target: Target) -> Iterator[Requests]:
    """PodCheckpoints of this run."""
    found = Requests(target, installation)
    yield found
    if not target.commands.inputs.keep:
        found.remove()
