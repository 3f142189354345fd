"""Do the commands on the site work? Each page's are run, top to bottom, in an empty folder with an empty home.

    python docs/tools/check.py [own-robot.md ...]

Of a page it takes

- files: a block after a line that ends in "`NAME`:" is written under that name;
- commands: every block marked `bash`, and a `python` block after `<!-- run -->`.

`<!-- shortened: FLAGS -->` before a block adds these flags to its training commands, and few updates;
`<!-- not run: REASON -->` leaves a block out, and the reason is printed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(
    r"(?:`(?P<name>[\w./-]+)`:\n\n)?"
    r"(?:<!-- (?P<mark>run|shortened|not run)(?:: (?P<text>[^\n]*?))? -->\n+)?"
    r"^```(?P<language>\w+)\n(?P<content>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
TRAINS = re.compile(r"^(mjxrl (?:train|seeds) (?:[^\n]*\\\n)*[^\n]*)", re.MULTILINE)

QUICK = "--eval.final-episodes 1 --learner.updates-per-step 1 --learner.threads 1"


class Step(NamedTuple):
    """Something that a reader of a page does."""

    kind: str
    """write, bash, python or left out."""
    content: str
    about: str
    """The file's name, or why it is left out."""


def steps(page: str) -> Iterator[Step]:
    """What the text of a page asks its reader to do, in order."""
    for block in BLOCK.finditer(page):
        name, mark, text, language, content = block.groups()
        if name:
            yield Step("write", content, name)
        elif mark == "not run":
            yield Step("left out", content, text or "")
        elif language == "bash":
            yield Step("bash", TRAINS.sub(rf"\1 {text} {QUICK}", content) if mark == "shortened" else content, "")
        elif language == "python" and mark == "run":
            yield Step("python", content, "")


def follow(page: Path) -> bool:
    """Do all that a page asks for; returns whether everything worked."""
    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as place:
        folder, program = Path(place), Path(home) / "bin" / "mjxrl"  # of this checkout, whatever is installed
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m mjxrl.cli "$@"\n', encoding="utf-8")
        program.chmod(0o755)
        programs = os.pathsep.join(map(str, (program.parent, Path(sys.executable).parent, os.environ["PATH"])))
        environment = os.environ | {"HOME": home, "PATH": programs, "PYTHONPATH": str(ROOT)}
        for step in steps(page.read_text(encoding="utf-8")):
            first = step.content.strip().splitlines()[0]
            if step.kind == "left out":
                print(f"  left out, {step.about}: {first}", flush=True)
                continue
            if step.kind == "write":
                (folder / step.about).parent.mkdir(parents=True, exist_ok=True)
                (folder / step.about).write_text(step.content, encoding="utf-8")
                continue
            words = ["bash", "-euo", "pipefail", "-c"] if step.kind == "bash" else [sys.executable, "-c"]
            started = time.monotonic()
            done = subprocess.run([*words, step.content], cwd=folder, env=environment, capture_output=True, text=True)
            print(f"  {time.monotonic() - started:5.0f} s  {first}", flush=True)
            if done.returncode:
                print(f"FAILED with {done.returncode}:\n{step.content}{done.stdout[-3000:]}{done.stderr[-3000:]}")
                return False
    return True


def main() -> int:
    """Check the pages named, or all; returns the exit status."""
    names = sys.argv[1:] or sorted(path.name for path in (ROOT / "docs").glob("*.md"))
    failed = []
    for name in names:
        print(name, flush=True)
        if not follow(ROOT / "docs" / name):
            failed.append(name)
    print("all pages work" if not failed else f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
