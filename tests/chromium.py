"""Debian's Chromium, driven over the DevTools protocol through a pipe: what a reader does with a page."""

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_PATIENCE = 60
"""Seconds."""


class Chromium:
    """One tab. Everything that the page says on its console, and each error in it, is in `complaints`.

    requests: addresses that it asked for, cut short.
    """

    def __init__(self, to_browser: int, from_browser: int, downloads: Path) -> None:
        self._to, self._from = to_browser, from_browser
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.downloads = downloads
        self._call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    def open(self, path: Path) -> None:
        """A file, loaded."""
        self._call("Page.navigate", url=path.absolute().as_uri())
        self.wait("document.readyState === 'complete'")

    def reload(self) -> None:
        """The same page again."""
        self.evaluate("globalThis.before = true")
        self._call("Page.reload")
        self.wait("globalThis.before === undefined && document.readyState === 'complete'")

    def evaluate(self, script: str) -> Any:
        """A script's value."""
        found = self._call("Runtime.evaluate", expression=script, returnByValue=True, userGesture=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, script: str) -> None:
        """Until it is true."""
        end = time.monotonic() + _PATIENCE
        while not self.evaluate(script):
            assert time.monotonic() < end, f"never: {script}"
            time.sleep(0.05)

    def click(self, selector: str) -> None:
        """The middle of what the selector finds first, with the mouse."""
        element = f"document.querySelector({json.dumps(selector)})"
        self.evaluate(f"{element}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
        x, y = self.evaluate(
            f"(() => {{ const b = {element}.getBoundingClientRect();"
            " return [b.x + b.width / 2, b.y + b.height / 2] })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def choose(self, selector: str, value: str) -> None:
        """An entry of a list to choose from."""
        self.evaluate(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            f" e.value = {json.dumps(value)};"
            " for (const k of ['input', 'change']) e.dispatchEvent(new Event(k, {bubbles: true})) })()"
        )

    def type(self, selector: str, text: str) -> None:
        """Text into a field that is empty."""
        self.click(selector)
        self._call("Input.insertText", text=text)

    def press(self, key: str, code: int) -> None:
        """A key without a letter, by its name and its number."""
        text = {"text": "\r"} if key == "Enter" else {}
        named = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self._call("Input.dispatchKeyEvent", type="keyDown", **named, **text)
        self._call("Input.dispatchKeyEvent", type="keyUp", **named)

    def downloaded(self, name: str) -> bytes:
        """A file that the page has handed out."""
        end = time.monotonic() + _PATIENCE
        while not (self.downloads / name).exists():
            assert time.monotonic() < end, f"no {name}"
            self.evaluate("1")
            time.sleep(0.05)
        return (self.downloads / name).read_bytes()

    def without_script(self) -> None:
        """From the next page on no script runs."""
        self._call("Emulation.setScriptExecutionDisabled", value=True)

    def look(self, width: int, height: int, dark: bool = False) -> None:
        """From now on the window is of that size, in light or in dark."""
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[feature])

    def screenshot(self, path: Path, whole: bool = False) -> None:
        """What is seen, or the whole page, as a PNG."""
        shot = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            data = os.read(self._from, 1 << 16)
            assert data, "Chromium has ended"
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\0")
        found: dict[str, Any] = json.loads(line)
        return found

    def _note(self, event: dict[str, Any]) -> None:
        told = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(told["exceptionDetails"])[:500])
        elif event.get("method") == "Log.entryAdded":
            self.complaints.append(told["entry"]["text"])
        elif event.get("method") == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"][:100])

    def quit(self) -> None:
        """It ends."""
        self._session = None
        self._call("Browser.close")


@contextmanager
def chromium(folder: Path) -> Iterator[Chromium]:
    """A browser with an empty profile. Skips the test where there is none."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("needs Chromium, as Debian has it: apt-get install chromium")
    downloads = folder / "downloads"
    downloads.mkdir()
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()

    # Chromium reads commands at descriptor 3 and answers at 4.
    arguments = [
        program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        "--no-first-run", "--disable-background-networking", "--disable-component-update",
        "--disable-breakpad", "--remote-debugging-pipe", f"--user-data-dir={folder / 'profile'}",
    ]  # fmt: skip
    shell = ["bash", "-c", f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}', "bash", *arguments]
    process = subprocess.Popen(
        shell,
        pass_fds=(theirs_in, theirs_out),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"HOME": str(folder)},
    )
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        browser = Chromium(ours_out, ours_in, downloads)
        yield browser
        browser.quit()
        process.wait(_PATIENCE)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(ours_out)
        os.close(ours_in)
