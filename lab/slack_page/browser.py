"""Chromium without a window, driven over its DevTools protocol: real keys and real clicks."""

from __future__ import annotations

import base64
import itertools
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import anyio
from anyio import to_thread

from lab.process import LabError, daemon, in_thread, wait_until_ready

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
    "--window-size=1700,1100",
)
"""Root needs `--no-sandbox`: only pages of our own are opened."""
SHORT = "/tmp"  # noqa: S108  # a folder of our own is made there
"""Where the browser's sockets are: their paths may have 108 bytes, and a TMPDIR may be long."""
WAIT_SECONDS = 20.0
"""Seconds to wait for something on a page."""
Params = dict[str, Any]
_FIND = """
(selector, text) => [...document.querySelectorAll(selector)]
  .filter(one => one.checkVisibility() && one.textContent.includes(text)).at(-1)
"""
_LOADED = """
new Promise(resolve => {
  if (document.readyState === "complete") resolve(); else addEventListener("load", resolve);
})
"""
_SHOWN = f"""
(selector, text) => new Promise(resolve => {{
  const look = () => {{
    const found = ({_FIND})(selector, text);
    if (found) resolve(found.innerText); else setTimeout(look, 50);
  }};
  look();
}})
"""
_MIDDLE = f"""
(selector, text) => new Promise(resolve => {{
  let before = "";
  const look = () => {{
    const one = ({_FIND})(selector, text);
    one?.scrollIntoView({{ block: "center" }});
    const box = one?.getBoundingClientRect();
    const middle = box && {{ x: box.x + box.width / 2, y: box.y + box.height / 2 }};
    const onTop = middle && one.contains(document.elementFromPoint(middle.x, middle.y));
    const now = onTop ? JSON.stringify(middle) : "";
    if (now && now === before) return resolve(middle);
    before = now;
    setTimeout(look, 50);
  }};
  look();
}})
"""
"""Where to click: once nothing moves any more, and nothing lies above."""


class Tab:
    """One page in the browser. Raises `LabError` where it does not show what is waited for."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self.errors: list[str] = []
        """What the page complained of: exceptions, and what it logs as an error."""

    async def open(self, url: str) -> None:
        """Open a page, hear its complaints from the first, and wait until its scripts ran."""
        for domain in ("Page", "Runtime", "Log"):
            await self._call(f"{domain}.enable")
        await self._call("Page.navigate", {"url": url})
        await self.js(_LOADED)

    async def js(self, expression: str, *arguments: object, within: float = WAIT_SECONDS) -> Any:
        """Return what an expression is, or a function of some arguments returns, as JSON.

        A promise is waited for.
        """
        if arguments:
            given = ", ".join(json.dumps(one) for one in arguments)
            expression = f"({expression})({given})"
        wanted = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        answer = await self._call("Runtime.evaluate", wanted, within)
        if "exceptionDetails" in answer:
            raise LabError(f"The page threw: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    async def shows(self, selector: str, text: str = "", within: float = WAIT_SECONDS) -> str:
        """Wait for an element that is visible and has a text, and return all its text."""
        try:
            return str(await self.js(_SHOWN, selector, text, within=within))
        except TimeoutError:
            body = await self.js("document.body.innerText")
        raise LabError(f"Nothing like {selector} shows {text!r} within {within:.0f} s: {body}")

    async def click(self, selector: str, text: str = "") -> None:
        """Wait until the last such element stands still, and click into its middle."""
        await self.shows(selector, text)
        try:
            where = await self.js(_MIDDLE, selector, text)
        except TimeoutError as error:
            raise LabError(f"Something lies above {selector} {text!r}, or it moves") from error
        for event in ("mousePressed", "mouseReleased"):
            more: Params = {"type": event, "button": "left", "clickCount": 1}
            await self._call("Input.dispatchMouseEvent", where | more)

    async def type(self, text: str) -> None:
        """Type a text where the cursor is."""
        await self._call("Input.insertText", {"text": text})

    async def enter(self) -> None:
        """Press Enter."""
        key: Params = {"key": "Enter", "windowsVirtualKeyCode": 13}
        await self._call("Input.dispatchKeyEvent", {"type": "keyDown", "text": "\r"} | key)
        await self._call("Input.dispatchKeyEvent", {"type": "keyUp"} | key)

    async def press(self, key: str, text: str = "") -> None:
        """Press a key by its name, such as `ArrowLeft`; `text` is what it types, if anything."""
        await self._call("Input.dispatchKeyEvent", {"type": "keyDown", "key": key, "text": text})
        await self._call("Input.dispatchKeyEvent", {"type": "keyUp", "key": key})

    async def prefer(self, scheme: str) -> None:
        """Show pages as to somebody who prefers this colour scheme: `light` or `dark`."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        await self._call("Emulation.setEmulatedMedia", {"features": features})

    async def print(self) -> bytes:
        """Return the page as PDF, as the printer would get it."""
        answer = await self._call("Page.printToPDF", {}, within=120)
        return base64.b64decode(answer["data"])

    async def screenshot(self, path: Path) -> None:
        """Write what is seen as PNG."""
        answer = await self._call("Page.captureScreenshot", {"format": "png"})
        await anyio.Path(path).write_bytes(base64.b64decode(answer["data"]))

    async def _call(
        self, method: str, params: Params | None = None, within: float = WAIT_SECONDS
    ) -> Params:
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": params or {}})
        with anyio.fail_after(within):
            while True:
                said = await self._socket.receive_json()
                if said.get("id") == number:
                    break
                self._note(said)
        if "error" in said:
            raise LabError(f"Chromium refused {method}: {said['error']['message']}")
        return dict(said["result"])

    def _note(self, said: Params) -> None:
        """Keep what is a complaint."""
        params = said.get("params", {})
        match said.get("method"):
            case "Runtime.exceptionThrown":
                self.errors.append(json.dumps(params["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if params["type"] == "error":
                self.errors.append(json.dumps(params["args"]))
            case "Log.entryAdded" if params["entry"]["level"] == "error":
                self.errors.append(json.dumps(params["entry"]))


@asynccontextmanager
async def browser_tab() -> AsyncIterator[Tab]:
    """Run a Chromium of our own for the block, with one empty page.

    Raises `LabError` if there is no Chromium, or it does not start.
    """
    program = shutil.which("chromium")
    if program is None:
        raise LabError("Chromium is not installed", hint="Run lab/install.sh slack")
    with TemporaryDirectory(prefix="lab-cr-", dir=SHORT, ignore_cleanup_errors=True) as folder:
        profile, log = Path(folder) / "profile", Path(folder) / "log"
        port = profile / "DevToolsActivePort"
        command = [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        env = {"HOME": folder, "TMPDIR": folder}
        async with in_thread(daemon(command, log, env=env, grace=5)) as process:
            ready = partial(_written, port)
            await to_thread.run_sync(wait_until_ready, "Chromium", ready, process, log)
            async with _tab(port) as tab:
                yield tab


def _written(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


@asynccontextmanager
async def _tab(port: Path) -> AsyncIterator[Tab]:
    number = (await anyio.Path(port).read_text()).splitlines()[0]
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{number}/json/list") as response:
            pages = [one for one in await response.json() if one["type"] == "page"]
        async with session.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0) as socket:
            yield Tab(socket)
