"""References to containers say which runtime is meant."""

import subprocess
import sys

import pytest

import collector
from collector.runtimes.opening import open_runtime
from collector.runtimes.runtime import split_reference
from forensics_core.errors import UsageError


def test_a_reference_has_a_scheme_and_a_name() -> None:
    assert split_reference("docker://web") == ("docker", "web")


@pytest.mark.parametrize("wrong", ["web", "docker://", "://web", "docker:/web", ""])
def test_anything_else_is_refused_with_an_example(wrong: str) -> None:
    with pytest.raises(UsageError, match=r"docker://NAME"):
        split_reference(wrong)


def test_an_unknown_runtime_is_refused() -> None:
    with pytest.raises(UsageError, match="'podman' is not a container runtime"):
        open_runtime("podman")


@pytest.mark.parametrize(("scheme", "package"), [("docker", "aiodocker"), ("cri-o", "grpclib")])
def test_what_is_not_installed_is_named(scheme: str, package: str) -> None:
    program = (
        f"import sys; sys.modules['{package}'] = None\n"
        "from forensics_core.cli.main import main\n"
        f"sys.argv = ['forensics', 'thaw', '{scheme}://web']; main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1 and package in done.stderr
    assert "pip install 'kube-forensics[collector]'" in done.stderr


def test_the_package_has_its_public_names_and_no_others() -> None:
    assert {name: getattr(collector, name).__name__ for name in collector.__all__} == {
        "CaptureResult": "CaptureResult",
        "CaptureOptions": "CaptureOptions",
        "capture_container": "capture_container",
    }
    with pytest.raises(AttributeError, match="nonsense"):
        _ = collector.nonsense
