"""Frames to a film: H.264 in an mp4, or a GIF."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from mjxrl.errors import UnavailableError
from mjxrl.storage.files import replace

WITHOUT_ENCODER = "films are encoded by imageio-ffmpeg: pip install 'mjxrl[film]'"

# What ffmpeg is told of each format: 4:2:0 for every player, the index first for browsers; a palette of the film's own
_FORMATS = {
    ".mp4": "-f mp4 -c:v libx264 -crf 20 -pix_fmt yuv420p -movflags +faststart",
    ".gif": "-f gif -vf split[a][b];[a]palettegen=stats_mode=diff[p];[b][p]paletteuse=dither=none",
}


def write_video(path: Path, frames: Iterator[np.ndarray], fps: float) -> None:
    """Write `frames`, each (H, W, 3) uint8 with H and W even, to `path`, an .mp4 or a .gif, whole or not at all.

    Raises:
        UnavailableError: there is no encoder.
        OSError: the file cannot be written.
    """
    program = encoder()
    first = next(frames)
    height, width, _ = first.shape
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.tmp")
    raw = f"-f rawvideo -pix_fmt rgb24 -s {width}x{height} -r {Fraction(fps).limit_denominator(10_000)} -i -"
    command = [program, *f"-v error -y {raw} {_FORMATS[path.suffix]}".split(), str(aside)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin is not None
    try:
        with contextlib.suppress(BrokenPipeError):  # it has given up, and says why
            for frame in itertools.chain([first], frames):
                process.stdin.write(frame.tobytes())
        said = process.communicate()[1].decode(errors="replace")
        if process.returncode:
            raise OSError(f"{path} was not encoded: {' '.join(said.split())}")
        replace(aside, path)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
        aside.unlink(missing_ok=True)


def encoder() -> str:
    """The ffmpeg that is installed as a package.

    Raises:
        UnavailableError: there is none.
    """
    try:
        from imageio_ffmpeg import get_ffmpeg_exe
    except ModuleNotFoundError:
        raise UnavailableError(WITHOUT_ENCODER) from None
    return get_ffmpeg_exe()
