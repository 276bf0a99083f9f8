"""Where runtimes listen is read from what they say themselves."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from collector.node.host import Host
from collector.runtimes.endpoints import (
    ENDPOINT,
    Endpoint,
    look,
    named,
    unusable_namesakes,
    usual,
)
from collector.runtimes.kubelet import K3S_SOCKET
from collector.runtimes.programs import PROGRAMS
from forensics_core.errors import UsageError

NAME = "import ctypes, sys; ctypes.CDLL(None).prctl(15, sys.argv[1].encode(), 0, 0, 0)"
SLEEP = f"{NAME}; import os; print(os.getpid(), flush=True); sys.stdin.read()"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root sees others' roots")
Start = Callable[..., int]


class Machine:
    """A PID namespace of its own, whose /proc is the node's for the test.

    Nothing else that runs here is in it, nor are its processes believed by anybody else's search.
    """

    def __init__(self, init: int, proc: Path) -> None:
        self.inside = ["nsenter", f"--pid=/proc/{init}/ns/pid_for_children", "--"]
        self.proc = Path(f"/proc/{init}/root{proc}")

    @contextmanager
    def run(self, command: Sequence[str], **options: Any) -> Iterator[int]:
        """Run a program there that prints its PID and ends with its input; yield that PID."""
        with subprocess.Popen(
            [*self.inside, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options
        ) as process:
            assert process.stdout and process.stdin
            try:
                yield int(process.stdout.readline())
            finally:
                process.stdin.close()


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    proc = tmp_path_factory.mktemp("machine")
    command = ["unshare", "--pid", "--fork", "--kill-child", f"--mount-proc={proc}", "--"]
    with subprocess.Popen(
        [*command, sys.executable, "-c", SLEEP, "init"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as init:
        assert init.stdin and init.stdout and init.stdout.readline()
        yield Machine(init.pid, proc)
        init.stdin.close()


@pytest.fixture(autouse=True)
def machine(apart: Machine, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """The machine whose runtimes are looked for."""
    monkeypatch.setenv("FORENSICS_HOST_PROC", str(apart.proc))
    monkeypatch.delenv(ENDPOINT, raising=False)
    return apart


Program = Callable[..., AbstractContextManager[int]]


@pytest.fixture
def program(machine: Machine) -> Program:
    """Run something that looks like a runtime's program."""
    return lambda name, *words: machine.run([sys.executable, "-c", SLEEP, name, *words])


@pytest.fixture
def start(program: Program) -> Iterator[Start]:
    with ExitStack() as stack:
        yield lambda *words: stack.enter_context(program(*words))


@pytest.fixture
def listening(tmp_path: Path) -> Path:
    path = tmp_path / "its.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    return path


def sockets(name: str, pid: int) -> list[str]:
    return [each.socket for each in look(name) if each.host == Host.of(pid)]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("containerd", ["--address", "{}"]),
        ("containerd", ["--address={}"]),
        ("containerd", ["-a", "{}", "--root", "/x"]),
        ("crio", ["--listen", "unix://{}"]),
        ("dockerd", ["-H", "tcp://127.0.0.1:1", "-H", "unix://{}"]),
    ],
)
def test_options(name: str, arguments: list[str], start: Start, listening: Path) -> None:
    pid = start(name, *(argument.format(listening) for argument in arguments))
    assert sockets(name, pid) == [str(listening)]


@pytest.mark.parametrize(
    ("name", "option", "content"),
    [
        ("containerd", "--config", '[grpc]\naddress = "{}"'),
        ("crio", "-c", '[crio.api]\nlisten = "{}"'),
        ("dockerd", "--config-file", '{{"hosts": ["fd://", "unix://{}"]}}'),
    ],
)
def test_configuration_files(
    name: str, option: str, content: str, start: Start, listening: Path, tmp_path: Path
) -> None:
    config = tmp_path / "config"
    config.write_text(content.format(listening))
    assert sockets(name, start(name, option, str(config))) == [str(listening)]


@pytest.mark.parametrize("imports", ["more/*.toml", "{}/more/*.toml"])
@pytest.mark.parametrize(
    "content",
    ['[grpc]\naddress = "{}"', '[plugins."io.containerd.server.v1.grpc"]\naddress = "{}"'],
)
def test_what_a_configuration_file_imports_overrides_it(
    imports: str, content: str, start: Start, listening: Path, tmp_path: Path
) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more/10-socket.toml").write_text(content.format(listening))
    (tmp_path / "more/20-other.toml").write_text("oom_score = 1")
    (tmp_path / "more/30-broken.toml").write_text("[")
    main = f'imports = ["{imports.format(tmp_path)}"]\n[grpc]\naddress = "/run/old.sock"'
    (tmp_path / "config.toml").write_text(main)
    pid = start("containerd", "--config", str(tmp_path / "config.toml"))
    assert sockets("containerd", pid) == [str(listening)]


@pytest.mark.parametrize("main", [None, '[crio.api]\nlisten = "/run/old.sock"'])
def test_the_drop_in_files_of_cri_o(
    main: str | None, listening: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, root = tmp_path / "proc/7", tmp_path / "root"
    (root / "etc/crio/crio.conf.d").mkdir(parents=True)
    (root / "etc/crio/crio.conf.d/10-api").write_text(f'[crio.api]\nlisten = "/{listening.name}"')
    (root / listening.name).touch()
    if main:
        (root / "etc/crio/crio.conf").write_text(main)
    folder.mkdir(parents=True)
    for name, content in (("comm", "crio"), ("cgroup", ""), ("cmdline", "crio")):
        (folder / name).write_text(content)
    (folder / "status").write_text("Uid:\t0\t0\t0\t0\n")
    (folder / "exe").symlink_to("/usr/bin/crio")
    (folder / "root").symlink_to(root)
    monkeypatch.setenv("FORENSICS_HOST_PROC", str(tmp_path / "proc"))
    assert [each.socket for each in look("crio")] == [f"/{listening.name}"]


@pytest.mark.parametrize("content", ["", "{", "[grpc]\naddress = 7", "\xff"])
def test_what_says_nothing_is_where_it_usually_is(
    content: str, start: Start, tmp_path: Path
) -> None:
    config = tmp_path / "config"
    config.write_bytes(content.encode("latin-1"))
    pid = start("crio", "--config", str(config))
    expected = [path for path in PROGRAMS["crio"].usual if Path(path).exists()]
    assert sockets("crio", pid) == expected


def test_a_socket_that_is_not_there_is_no_candidate(start: Start) -> None:
    assert sockets("crio", start("crio", "--listen", "/no/such/socket")) == []


def test_a_program_in_a_container_is_not_believed(listening: Path, machine: Machine) -> None:
    unshare = shutil.which("unshare")
    assert unshare
    command = [unshare, "--pid", "--fork", sys.executable, "-c", SLEEP, "crio"]
    with machine.run([*command, "--listen", str(listening)]):
        found = [each.socket for each in look("crio")]
        assert unusable_namesakes("crio")
    assert str(listening) not in found


@pytest.mark.parametrize(
    "path",
    [
        "/kubepods.slice/x",
        "/../../pod8d8d1d4e-2f0a-4a55-b0a5-3a2f6f2b7c11/x",
        "/../kubelet-pod8d8d1d4e_2f0a_4a55_b0a5_3a2f6f2b7c11.slice",
        f"/../cri-containerd-{'4f' * 32}.scope",
        f"/docker/{'4f' * 32}",
        "",
    ],
)
@pytest.mark.parametrize("user", ["0", "1000"])
def test_only_root_outside_of_all_containers_is_believed(
    path: str, user: str, listening: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "proc/7"
    folder.mkdir(parents=True)
    (folder / "comm").write_text("crio\n")
    (folder / "cgroup").write_text(f"0::{path or '/system.slice/crio.service'}\n")
    (folder / "status").write_text(f"Uid:\t0\t{user}\t0\t0\nNSpid:\t7\n")
    (folder / "cmdline").write_bytes(b"crio\0--listen\0" + bytes(listening))
    (folder / "exe").symlink_to("/usr/bin/crio")
    (folder / "root").symlink_to("/")
    monkeypatch.setenv("FORENSICS_HOST_PROC", str(tmp_path / "proc"))
    believed = not path and user == "0"
    assert [each.socket for each in look("crio")] == ([str(listening)] if believed else [])
    assert bool(unusable_namesakes("crio")) is not believed


def test_a_program_that_was_replaced_is_asked_last(
    machine: Machine, start: Start, listening: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "python"
    shutil.copy(sys.executable, copy)
    command = [str(copy), "-c", SLEEP, "crio", "--listen", str(listening)]
    with machine.run(command, env={**os.environ, "PYTHONHOME": sys.base_prefix}) as old:
        copy.unlink()
        new = start("crio", "--listen", str(listening))
        order = [each.host for each in look("crio") if each.socket == str(listening)]
    assert order == [Host.of(new), Host.of(old)]


def test_a_socket_of_any_length_can_be_reached(tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 150)
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.open(folder, os.O_PATH)
        listener.bind(f"/proc/self/fd/{here}/s")
        os.close(here)
        listener.listen()
        with Endpoint(f"{folder}/s").reach() as path, socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
        assert len(path) < 30


def test_a_named_one(
    monkeypatch: pytest.MonkeyPatch, start: Start, listening: Path, tmp_path: Path
) -> None:
    monkeypatch.delenv(ENDPOINT, raising=False)
    assert named() is None
    monkeypatch.setenv(ENDPOINT, f"unix://{listening}")
    assert named() == Endpoint(str(listening))
    pid = start("crio")
    endpoint = named()
    assert endpoint and endpoint.host == Host.of(pid)
    monkeypatch.setenv(ENDPOINT, f"unix://{tmp_path}/none")
    assert named() == Endpoint(f"{tmp_path}/none")
    monkeypatch.setenv(ENDPOINT, "tcp://127.0.0.1:1")
    with pytest.raises(UsageError, match="is not a Unix socket"):
        named()


def test_only_what_runs_counts_in_a_job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    monkeypatch.setenv("FORENSICS_HOST_PROC", str(tmp_path))
    assert look("containerd", "crio", "dockerd") == []


def test_where_they_usually_are(listener: Listener) -> None:
    assert usual("crio", "dockerd") == "/var/run/crio/crio.sock, /var/run/docker.sock"


LISTEN = rf"""
import socket
one = socket.socket(socket.AF_UNIX)
one.bind(sys.argv[2].replace("@", "\0", 1) if sys.argv[2].startswith("@") else sys.argv[2])
one.listen()
{SLEEP.partition("; ")[2]}"""


Listener = Callable[..., AbstractContextManager[int]]


@pytest.fixture
def listener(machine: Machine) -> Listener:
    """Run something that is called like a runtime and listens, without a word about where."""

    def listen(
        name: str,
        path: Path,
        *arguments: str,
        folder: Path | None = None,
        before: Sequence[str] = (),
    ) -> AbstractContextManager[int]:
        command = [*before, sys.executable, "-c", f"{NAME}{LISTEN}", name, str(path), *arguments]
        return machine.run(command, cwd=folder)

    return listen


def test_the_kernel_knows_where_a_process_listens(listener: Listener, tmp_path: Path) -> None:
    with listener("containerd", tmp_path / "odd.sock") as pid:
        assert str(tmp_path / "odd.sock") in sockets("containerd", pid)
    with listener("containerd", tmp_path / "odd.sock.ttrpc") as pid:
        assert str(tmp_path / "odd.sock.ttrpc") not in sockets("containerd", pid)


def test_nobody_else_writes_into_what_the_kernel_tells(listener: Listener, tmp_path: Path) -> None:
    """Who shares the network namespace gives a socket a name that holds a row of /proc/net/unix."""
    with listener("containerd", tmp_path / "odd.sock") as pid:
        links = [str(path.readlink()) for path in (Host.of(pid).base / "fd").iterdir()]
        inode = next(link for link in links if link.startswith("socket:["))[8:-1]
        row = f"\n0: 00000002 00000000 00010000 0001 01 {inode} /tmp/evil.sock"
        with socket.socket(socket.AF_UNIX) as evil:
            evil.bind("\0" + row)
            evil.listen()
            assert row.encode() in Path("/proc/net/unix").read_bytes()
            assert sockets("containerd", pid)[0] == str(tmp_path / "odd.sock")
            assert "/tmp/evil.sock" not in sockets("containerd", pid)


def test_a_runtime_in_another_network_namespace_is_found(
    listener: Listener, tmp_path: Path
) -> None:
    path = tmp_path / "odd.sock"
    with listener("containerd", path, before=["unshare", "--net", "--"]) as pid:
        assert (Host.of(pid).base / "ns/net").readlink() != Path("/proc/self/ns/net").readlink()
        assert str(path) in sockets("containerd", pid)


def test_a_name_without_a_file_is_a_candidate_that_says_so(
    listener: Listener, tmp_path: Path
) -> None:
    name = f"@{tmp_path}/abstract"
    with listener("containerd", Path(name)) as pid:
        (found,) = [each for each in look("containerd") if each.socket == name]
        assert found.host == Host.of(pid)
        with pytest.raises(OSError, match="abstract"), found.reach():
            pass


def test_a_path_that_is_relative_to_where_the_runtime_works(
    listener: Listener, tmp_path: Path
) -> None:
    with listener("containerd", Path("its.sock"), folder=tmp_path) as pid:
        assert str(tmp_path / "its.sock") in sockets("containerd", pid)


def test_what_is_for_the_runtime_alone_is_no_candidate(listener: Listener, tmp_path: Path) -> None:
    (tmp_path / "libnetwork").mkdir()
    for name in ("libnetwork/4f2a.sock", "nri.sock", "debug.sock", "containerd.sock.ttrpc"):
        with listener("dockerd", tmp_path / name) as pid:
            assert str(tmp_path / name) not in sockets("dockerd", pid)


def test_one_file_with_two_names_is_asked_once(listener: Listener, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to("run")
    said = str(tmp_path / "link/its.sock")
    with listener("crio", tmp_path / "run/its.sock", "--listen", said) as pid:
        assert sockets("crio", pid) == [str(tmp_path / "run/its.sock")]


def test_who_only_has_the_name_is_told_and_named_a_few_times_at_most(machine: Machine) -> None:
    command = ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-c", SLEEP, "crio"]
    with ExitStack() as stack:
        for _ in range(7):
            stack.enter_context(machine.run(command))
        said = unusable_namesakes("crio")
    assert "is called crio and runs in a container." in said[0]
    assert len(said) == 6 and said[5].endswith("more.")


def test_a_socket_that_was_removed_is_named_all_the_same(
    listener: Listener, tmp_path: Path
) -> None:
    path = tmp_path / "gone.sock"
    with listener("containerd", path) as pid:
        path.unlink()
        assert str(path) in sockets("containerd", pid), "who asks then says that it is gone"


def test_a_path_in_a_command_line_is_relative_to_where_the_process_works(
    listener: Listener, listening: Path, tmp_path: Path
) -> None:
    (tmp_path / "config.toml").write_text(f'[grpc]\naddress = "{listening}"')
    with listener("containerd", tmp_path / "x", "-c", "config.toml", folder=tmp_path) as pid:
        assert str(listening) in sockets("containerd", pid)


@pytest.mark.parametrize(
    ("arguments", "files"),
    [
        (["--container-runtime-endpoint=unix://{}"], {}),
        (["--container-runtime-endpoint", "unix://{}"], {}),
        (["--config=k.yaml"], {"k.yaml": "kind: K\ncontainerRuntimeEndpoint: {}\n"}),
        (
            ["--config=k.yaml"],
            {
                "k.yaml": "# containerRuntimeEndpoint: /no\nkind: K\n"
                'containerRuntimeEndpoint: "unix://{}" # yes\n'
            },
        ),
        (["--config", "k.yaml"], {"k.yaml": '{{"containerRuntimeEndpoint": "unix://{}"}}'}),
        (
            ["--config=k.yaml", "--config-dir=more"],
            {
                "k.yaml": "containerRuntimeEndpoint: /old.sock",
                "more/00-k3s-defaults.conf": "containerRuntimeEndpoint: unix://{}",
                "more/10-other.conf": "maxPods: 7",
                "more/20-no.yaml": "containerRuntimeEndpoint: /no.sock",
            },
        ),
        (
            ["--config=k.yaml", "--container-runtime-endpoint=unix://{}"],
            {"k.yaml": "containerRuntimeEndpoint: unix:///old.sock"},
        ),
        (["--kubelet-args-file=args"], {"args": "--v=2\n--container-runtime-endpoint=unix://{}"}),
    ],
)
def test_the_endpoint_of_the_kubelet_comes_first(
    listener: Listener, arguments: list[str], files: dict[str, str], tmp_path: Path
) -> None:
    first, second = tmp_path / "1.sock", tmp_path / "2.sock"
    (tmp_path / "more").mkdir()
    for name, content in files.items():
        (tmp_path / name).write_text(content.format(second))
    said = [argument.format(second) for argument in arguments]
    with (
        listener("containerd", first),
        listener("containerd", second),
        listener("kubelet", tmp_path / "3.sock", *said, folder=tmp_path),
    ):
        found = [each.socket for each in look("containerd")]
    assert found[0] == str(second) and str(first) in found


@pytest.mark.parametrize(
    "arguments",
    [
        ["--container-runtime-endpoint={}"],
        ["--kubelet-arg=container-runtime-endpoint=unix://{}"],
        ["--kubelet-arg", "--container-runtime-endpoint=unix://{}"],
        ["--config=k3s.yaml"],
    ],
)
@pytest.mark.parametrize("name", ["k3s", "k3s-server", "k3s-agent"])
def test_the_kubelet_within_k3s(
    listener: Listener, name: str, arguments: list[str], tmp_path: Path
) -> None:
    (tmp_path / "k3s.yaml").write_text(f"container-runtime-endpoint: {tmp_path}/2.sock")
    said = [argument.format(tmp_path / "2.sock") for argument in arguments]
    with (
        listener("containerd", tmp_path / "1.sock"),
        listener("containerd", tmp_path / "2.sock"),
        listener(name, tmp_path / "3.sock", *said, folder=tmp_path),
    ):
        found = [each.socket for each in look("containerd")]
    assert found[0] == str(tmp_path / "2.sock")


def test_what_the_kubelet_was_given_counts_whatever_listens_there(
    program: Program, listening: Path
) -> None:
    """Its process may be called otherwise; Docker's engine is asked itself, not cri-dockerd."""
    with program("kubelet", f"--container-runtime-endpoint=unix://{listening}") as pid:
        assert look("containerd")[0] == Endpoint(str(listening), Host.of(pid))
        assert str(listening) not in [each.socket for each in look("dockerd")]


@pytest.mark.parametrize("arguments", [[], ["server", "--docker"]])
def test_a_kubelet_within_k3s_that_says_nothing(
    machine: Machine, listener: Listener, arguments: list[str], tmp_path: Path
) -> None:
    """Its containerd's socket is beneath /run as k3s sees that: here, in a mount namespace."""
    own = tmp_path / "run" / Path(K3S_SOCKET).relative_to("/run")
    own.parent.mkdir(parents=True)
    bind = ("unshare", "--mount", "sh", "-ec", f'mount --bind {tmp_path}/run /run; exec "$@"', "sh")
    with (
        listener("containerd", tmp_path / "1.sock"),
        listener("containerd", own),
        machine.run([*bind, sys.executable, "-c", SLEEP, "k3s-server", *arguments]),
    ):
        found = [each.socket for each in look("containerd") if str(tmp_path) in each.socket]
    assert found[0] == str(tmp_path / "1.sock" if arguments else own)


def test_a_kubelet_in_a_container_is_not_believed(listening: Path, machine: Machine) -> None:
    command = ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-c", SLEEP, "kubelet"]
    with machine.run([*command, f"--container-runtime-endpoint={listening}"]):
        assert str(listening) not in [each.socket for each in look("containerd")]


def test_nothing_else_that_runs_here_is_seen(listening: Path) -> None:
    """Such as the stand-ins of other tests: this kubelet is on the machine, outside of its own."""
    command = [sys.executable, "-c", SLEEP, "kubelet", f"--container-runtime-endpoint={listening}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdin and other.stdout and other.stdout.readline()
        assert look("containerd") == []
        other.stdin.close()


def test_what_runs_in_its_own_machine_is_believed_by_nobody_else(
    program: Program, listening: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with program("kubelet", f"--container-runtime-endpoint=unix://{listening}"):
        assert str(listening) in [each.socket for each in look("containerd")]
        monkeypatch.setenv("FORENSICS_HOST_PROC", "/proc")
        assert str(listening) not in [each.socket for each in look("containerd")]
