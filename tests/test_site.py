"""The site in a real browser, as wide as a phone and as a desktop."""

import http.server
import json
import os
import queue
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LOOK = Path(__file__).parent / "helpers" / "site_look.html"


@pytest.fixture
def site(tmp_path):
    pytest.importorskip("mkdocstrings")
    pytest.importorskip("material")
    folder = tmp_path / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    paths = sorted(page.relative_to(folder).as_posix() for page in folder.rglob("index.html"))
    (folder / "paths.json").write_text(json.dumps(paths), "utf-8")
    shutil.copy(LOOK, folder / "look.html")
    return folder


def seen_by_a_browser(browser, site, profile):
    """Return what the script of `look.html` sends."""
    told = queue.Queue()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(site))

        def do_POST(self):
            told.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, *arguments):
            pass  # The browser leaves a page before all of it is read.

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-proxy-server"]
        options += [f"--user-data-dir={profile}", "--remote-debugging-port=0"]
        look = f"http://127.0.0.1:{server.server_port}/look.html"
        process = subprocess.Popen([browser, *options, look], stderr=subprocess.DEVNULL)
        try:
            return told.get(timeout=240)
        finally:
            process.terminate()
            process.wait()
            server.shutdown()


@pytest.mark.slow
def test_every_page_fits_its_window_and_search_finds(site, tmp_path):
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("chromium is not installed")
    seen = seen_by_a_browser(browser, site, tmp_path / "profile")
    assert seen["looked"] == 2 * len(json.loads((site / "paths.json").read_text("utf-8")))
    assert seen["pages"] == {}
    assert re.match("/missing_labels/", seen["found"][0])
