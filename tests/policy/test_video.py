"""Films are read by decoders that did not write them: PyAV's libraries, Pillow for GIFs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mjxrl.errors import UnavailableError
from mjxrl.policy.video import write_video

pytest.importorskip("imageio_ffmpeg", reason="the encoder is missing: pip install 'mjxrl[film]'")


def frames(count: int, width: int = 48, height: int = 32) -> Iterator[np.ndarray]:
    """A white bar on blue that goes from left to right."""
    for i in range(count):
        frame = np.full((height, width, 3), (30, 60, 200), np.uint8)
        at = i * (width - 8) // count
        frame[:, at : at + 8] = 255
        yield frame


def bar(frame: np.ndarray) -> float:
    """Where the white bar is, from 0 to 1."""
    return float(np.nonzero(frame[16, :, 0] > 140)[0].mean()) / frame.shape[1]


def test_an_mp4_has_the_frames_the_size_and_the_speed(tmp_path: Path) -> None:
    av = pytest.importorskip("av", reason="the independent decoder is missing")
    write_video(tmp_path / "new" / "film.mp4", frames(12), 62.5)
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["film.mp4"]
    with av.open(tmp_path / "new" / "film.mp4") as film:
        [stream] = film.streams
        decoded = [frame.to_ndarray(format="rgb24") for frame in film.decode(stream)]
        assert float(stream.average_rate) == 62.5 and stream.codec_context.pix_fmt == "yuv420p"
    assert len(decoded) == 12 and decoded[0].shape == (32, 48, 3)
    places = [bar(frame) for frame in decoded]
    assert places == sorted(set(places)) and places[0] < 0.15 and places[-1] > 0.75
    assert np.abs(decoded[0][16, -8:].mean(0) - (30, 60, 200)).max() < 12


def test_a_gif_has_them_too_and_plays_for_ever(tmp_path: Path) -> None:
    write_video(tmp_path / "film.gif", frames(12), 20)
    with Image.open(tmp_path / "film.gif") as film:
        assert film.size == (48, 32) and film.n_frames == 12 and film.info["loop"] == 0  # type: ignore[attr-defined]
        places = []
        for i in range(12):
            film.seek(i)
            assert film.info["duration"] == 50  # ms
            places.append(bar(np.asarray(film.convert("RGB"))))
    assert places == sorted(set(places))


def test_a_film_that_is_broken_off_leaves_nothing(tmp_path: Path) -> None:
    def broken() -> Iterator[np.ndarray]:
        yield from frames(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_video(tmp_path / "film.mp4", broken(), 20)
    assert list(tmp_path.iterdir()) == []


def test_what_the_encoder_says_is_handed_on(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_bytes(b"the one before")
    with pytest.raises(OSError, match=r"film\.mp4 was not encoded: .*not divisible by 2"):
        write_video(tmp_path / "film.mp4", frames(100, width=49), 20)
    assert (tmp_path / "film.mp4").read_bytes() == b"the one before" and len(list(tmp_path.iterdir())) == 1


def test_without_an_encoder_one_line_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(UnavailableError, match=r"pip install 'mjxrl\[film\]'"):
        write_video(tmp_path / "film.mp4", frames(2), 20)
    assert list(tmp_path.iterdir()) == []
