"""Runs a pod's container as a local process, its volumes in a temporary folder."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.abc

from forensics_core._internal import children
from forensics_loopback.kinds.objects import Obj, lookup
from forensics_loopback.kubelet.runner import ContainerExit, RunningPod
from forensics_loopback.kubelet.volumes import materialise

_BLOCK = 64 * 1024
_MESSAGE_LIMIT = 4096
_REFERENCE = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)")


@dataclass(frozen=True, slots=True)
class ProcessRunner:
    """Starts what the container's `command` and `args` say, on this machine, as this user.

    Images, security contexts, resources and namespaces are not honoured. Volumes of the types
    `secret`, `configMap`, `projected`, `downwardAPI` and `emptyDir` become folders, `hostPath` the
    path itself; wherever a mount path or the termination message's path stands in the command, the
    arguments or a variable's value, the local path is put in its place. The variable
    `TERMINATION_MESSAGE_PATH` names the latter.
    """

    entrypoint: Sequence[str] = ()
    """Runs in place of the image's entrypoint, for containers without `command`."""
    env: Mapping[str, str] = field(default_factory=dict)
    """More variables, which the container's own override. PATH and HOME are this process's."""
    grace: float | None = None
    """Seconds between SIGTERM and SIGKILL; None takes the pod's own."""

    async def __call__(self, pod: RunningPod) -> ContainerExit:
        """Run to the end; kills the whole process group when cancelled."""
        folder = Path(await anyio.to_thread.run_sync(partial(tempfile.mkdtemp, prefix="pod-")))
        try:
            return await self._run(pod, folder)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(partial(shutil.rmtree, folder, ignore_errors=True))

    async def _run(self, pod: RunningPod, folder: Path) -> ContainerExit:
        places = await anyio.to_thread.run_sync(materialise, pod, folder)
        message = folder / "termination-log"
        places[pod.container.get("terminationMessagePath", "/dev/termination-log")] = str(message)
        environment = self._environment(pod, places, message)
        command = self._command(pod.container, environment, places)
        try:
            code = await self._execute(pod, command, environment, folder)
        except OSError as error:
            return ContainerExit(128, f"failed to start {command[:1]}: {error}", "StartError")
        return ContainerExit(code, await anyio.to_thread.run_sync(_read_message, message))

    def _environment(
        self, pod: RunningPod, places: Mapping[str, str], message: Path
    ) -> dict[str, str]:
        base = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
        environment = {**base, **self.env, "TERMINATION_MESSAGE_PATH": str(message)}
        for source in pod.container.get("envFrom") or ():
            environment |= _all_of(pod, source)
        for variable in pod.container.get("env") or ():
            value = _value_of(pod, variable)
            if value is not None:
                environment[variable["name"]] = _localise(_expand(value, environment), places)
        return environment

    def _command(
        self, container: Obj, environment: Mapping[str, str], places: Mapping[str, str]
    ) -> list[str]:
        words = [*(container.get("command") or self.entrypoint), *(container.get("args") or ())]
        return [_localise(_expand(word, environment), places) for word in words]

    async def _execute(
        self, pod: RunningPod, command: list[str], environment: Mapping[str, str], folder: Path
    ) -> int:
        if not command:
            raise FileNotFoundError("the container has no command, and the runner no entrypoint")
        async with await children.start(
            command,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=folder,
        ) as process:
            try:
                await _copy_output(process, pod)
                code = await process.wait()
            except BaseException:
                with anyio.CancelScope(shield=True):
                    await self._stop(process, pod)
                raise
        # A process that a signal killed is reported as a shell does.
        return code if code >= 0 else 128 - code

    async def _stop(self, process: anyio.abc.Process, pod: RunningPod) -> None:
        grace = self.grace
        if grace is None:
            grace = float(lookup(pod.pod, "spec.terminationGracePeriodSeconds", 30))
        _signal(process, signal.SIGTERM)
        with anyio.move_on_after(grace):
            await process.wait()
        _signal(process, signal.SIGKILL)
        await process.wait()


def _signal(process: anyio.abc.Process, number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return


async def _copy_output(process: anyio.abc.Process, pod: RunningPod) -> None:
    if process.stdout is None:
        return
    try:
        while True:
            pod.log.write(await process.stdout.receive(_BLOCK))
    except anyio.EndOfStream:
        return


def _read_message(path: Path) -> str:
    try:
        return path.read_bytes()[-_MESSAGE_LIMIT:].decode(errors="replace")
    except FileNotFoundError:
        return ""


def _expand(text: str, environment: Mapping[str, str]) -> str:
    return _REFERENCE.sub(lambda match: environment.get(match[1], match[0]), text)


def _localise(text: str, places: Mapping[str, str]) -> str:
    for mount in sorted(places, key=len, reverse=True):
        place = places[mount].replace("\\", r"\\")
        text = re.sub(re.escape(mount) + r"(?![\w.-])", place, text)
    return text


def _all_of(pod: RunningPod, source: Obj) -> dict[str, str]:
    prefix = source.get("prefix", "")
    for key, plural in (("secretRef", "secrets"), ("configMapRef", "configmaps")):
        if key in source:
            data = pod.read(plural, source[key]["name"]) or {}
            return {prefix + name: value.decode() for name, value in data.items()}
    return {}


def _value_of(pod: RunningPod, variable: Obj) -> str | None:
    source = variable.get("valueFrom") or {}
    for key, plural in (("secretKeyRef", "secrets"), ("configMapKeyRef", "configmaps")):
        if key in source:
            value = (pod.read(plural, source[key]["name"]) or {}).get(source[key]["key"])
            return None if value is None else value.decode()
    if "fieldRef" in source:
        found: Any = lookup(pod.pod, source["fieldRef"]["fieldPath"], "")
        return str(found)
    return str(variable.get("value", ""))
