"""What a reader's viewer shows of a night: OHIF before Orthanc, in a browser without a window.

    python examples/viewer/show.py NIGHT FILMS --ohif DIST --out FOLDER

NIGHT: the folder of a run after `screen dicom`. FILMS: what it screened. DIST: OHIF's built files. FOLDER:
for viewer-report.jpg and viewer-capture.jpg. All of it runs on this machine alone and is gone afterwards.
What it needs, and how to get it: README.md.
"""

import argparse
import csv
import http.server
import json
import mimetypes
import socket
import subprocess
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx

CONFIG = {
    "routerBasename": None,
    "extensions": [],
    "modes": [],
    "showStudyList": True,
    "showLoadingIndicator": True,
    "showWarningMessageForCrossOrigin": False,
    "investigationalUseDialog": {"option": "never"},
    "defaultDataSourceName": "orthanc",
    "dataSources": [
        {
            "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
            "sourceName": "orthanc",
            "configuration": {
                "friendlyName": "Orthanc",
                "name": "orthanc",
                "wadoUriRoot": "/wado",
                "qidoRoot": "/dicom-web",
                "wadoRoot": "/dicom-web",
                "imageRendering": "wadors",
                "thumbnailRendering": "wadors",
                "enableStudyLazyLoad": True,
                "supportsWildcard": True,
            },
        }
    ],
}
_LOOKS = 300
"""At Orthanc, every tenth of a second, until it must answer."""
_DRAWN = 8_000
"""Milliseconds for a viewer that draws without a graphics card."""


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def orthanc(folder: Path, stack: ExitStack) -> str:
    """An empty archive on this machine; its address."""
    port = free_port()
    config = {
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "Plugins": ["/usr/share/orthanc/plugins/libOrthancDicomWeb.so"],
        "HttpPort": port,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": True, "WadoRoot": "/wado"},
    }
    (folder / "orthanc.json").write_text(json.dumps(config))
    process = subprocess.Popen(
        ["Orthanc", folder / "orthanc.json"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    stack.callback(process.wait)
    stack.callback(process.terminate)
    address = f"http://127.0.0.1:{port}"
    for _ in range(_LOOKS):
        with suppress(httpx.TransportError):
            if httpx.get(f"{address}/system").is_success:
                return address
        time.sleep(0.1)
    raise TimeoutError("Orthanc does not answer")


def viewer(archive: str, dist: Path, stack: ExitStack) -> str:
    """OHIF's files, and the archive behind the same address: no other origin, nothing to allow."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            code, kind, body = 200, "text/html", b""
            if path.startswith(("/dicom-web", "/wado")):
                accept = {"Accept": self.headers.get("Accept", "*/*")}
                answer = httpx.get(archive + self.path, headers=accept, timeout=60)
                code, kind, body = answer.status_code, answer.headers["Content-Type"], answer.content
            elif path == "/app-config.js":
                kind, body = "text/javascript", f"window.config = {json.dumps(CONFIG)};".encode()
            else:
                file = (dist / path.lstrip("/")).resolve()
                if not (file.is_relative_to(dist.resolve()) and file.is_file()):
                    file = dist / "index.html"
                kind, body = (
                    mimetypes.guess_type(file.name)[0] or "application/octet-stream",
                    file.read_bytes(),
                )
            self.send_response(code)
            for name, value in (
                ("Content-Type", kind),
                ("Content-Length", str(len(body))),
                ("Cross-Origin-Opener-Policy", "same-origin"),
                ("Cross-Origin-Embedder-Policy", "require-corp"),
            ):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    mimetypes.add_type("application/wasm", ".wasm")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    stack.callback(server.shutdown)
    return f"http://127.0.0.1:{server.server_port}"


def shown(address: str, study: str, out: Path, chromium: str) -> None:
    """Pictures of a film with the report's outline on it, and of its capture."""
    from playwright.sync_api import sync_playwright

    software = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=[*software, "--ignore-gpu-blocklist"])
        page = browser.new_page(viewport={"width": 1300, "height": 780})
        page.goto(f"{address}/viewer?StudyInstanceUIDs={study}", timeout=120_000)
        page.locator("text=Skip all").first.click(timeout=60_000)
        page.wait_for_timeout(_DRAWN)
        page.get_by_text("cxr-screen result").first.dblclick(timeout=20_000)
        page.wait_for_timeout(_DRAWN)
        page.get_by_role("button", name="No", exact=True).click(timeout=20_000)  # no tracking of measurements
        for name, series in (("report", None), ("capture", "cxr-screen heat map")):
            if series is not None:
                page.get_by_text(series).first.dblclick(timeout=20_000, force=True)
            page.wait_for_timeout(_DRAWN)
            page.screenshot(path=out / f"viewer-{name}.jpg", type="jpeg", quality=70)
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("night", type=Path)
    parser.add_argument("films", type=Path)
    parser.add_argument("--ohif", type=Path, required=True, metavar="DIST")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--study", help="Study Instance UID. [default: that of the first report]")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    options = parser.parse_args()
    with (options.night / "dicom.csv").open(newline="") as stream:
        made = [line for line in csv.DictReader(stream) if line["status"] == "made"]
    study = options.study or next(line["study_instance_uid"] for line in made if line["kind"] == "sr")
    with ExitStack() as stack:
        archive = orthanc(Path(stack.enter_context(tempfile.TemporaryDirectory())), stack)
        for path in (*options.films.rglob("*.dcm"), *(options.night / line["file"] for line in made)):
            answer = httpx.post(f"{archive}/instances", content=path.read_bytes())
            if answer.is_error:  # a film that was cut short
                print(f"{path}: the archive does not take it ({answer.status_code})")
        shown(viewer(archive, options.ohif, stack), study, options.out, options.chromium)


if __name__ == "__main__":
    main()
