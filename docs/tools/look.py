"""Look at the built site in a browser: pictures of every page, and whether anything is wider than the screen.

    python docs/tools/look.py [--pages index.html own-robot.html] [--out build/look]

Needs Chromium (`apt install chromium`). Of each page there is a light picture and a dark one, each in a wide window
and, beside it, on 390 pixels as on a telephone. Exits 1 if a page scrolls sideways there, a picture on it is missing,
or it asks for anything from another machine.
"""

from __future__ import annotations

import http.server
import json
import re
import shutil
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import tyro

SITE = Path(__file__).parents[2] / "build" / "site"
FOREIGN = re.compile(r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=\"?(https?:)?//", re.IGNORECASE)
DARK = "--force-dark-mode"
BESIDE = """<!doctype html><body style="margin: 0; white-space: nowrap">
<iframe width="1280" height="%d" style="border: 0" src="%s"></iframe>
<iframe width="390" height="%d" style="border: 0" src="%s"></iframe><pre></pre><script>
onload = () => setTimeout(() => {
  const page = frames[1].document, wide = page.scrollingElement.scrollWidth;
  const missing = [...page.images].filter(image => !image.naturalWidth).map(image => image.src);
  document.querySelector("pre").textContent = JSON.stringify({wide, missing});
}, 300);
</script>"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Says nothing of what it hands out."""

    def log_message(self, format: str, *_: object) -> None:
        pass


@dataclass(frozen=True)
class Options:
    pages: tuple[str, ...] = ()
    """Files of the built site; all by default."""
    out: Path = SITE.parent / "look"
    """Folder for the pictures."""
    height: int = 2400
    """Pixels, from the top of a page."""


def main(options: Options) -> int:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        raise SystemExit("error: no Chromium here: apt install chromium")
    pages = options.pages or tuple(sorted(path.name for path in SITE.glob("*.html")))
    options.out.mkdir(parents=True, exist_ok=True)
    faults = [
        f"{name}: asks another machine" for name in pages if FOREIGN.search((SITE / name).read_text(encoding="utf-8"))
    ]
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(SITE)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    with tempfile.TemporaryDirectory() as profile:
        base = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]

        def ask(*words: str) -> str:
            # the theme remembers whether it was dark, so each has a profile of its own
            keep = f"--user-data-dir={profile}/{'dark' if DARK in words else 'light'}"
            done = subprocess.run([*base, keep, "--virtual-time-budget=5000", *words], capture_output=True, text=True)
            return done.stdout

        for name in pages:
            frame = SITE / "beside.html"
            frame.write_text(BESIDE % (options.height, name, options.height, name), encoding="utf-8")
            for look, *dark in (("light",), ("dark", DARK)):
                picture = options.out / f"{Path(name).stem}-{look}.png"
                size = f"--window-size=1680,{options.height}"
                text = ask(*dark, size, f"--screenshot={picture}", "--dump-dom", f"{address}/{frame.name}")
            frame.unlink()
            found = json.loads(re.search(r"<pre>(.*)</pre>", text, re.DOTALL)[1])  # type: ignore[index]
            if found["wide"] > 390:
                faults.append(f"{name}: {found['wide']} pixels wide on a screen of 390")
            faults += [f"{name}: no picture at {source}" for source in found["missing"]]
    server.shutdown()
    print(*faults or [f"{len(pages)} pages are as they should be; pictures in {options.out}"], sep="\n")
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main(tyro.cli(Options)))
