"""What is in a picture, by its pixels: a red box on a rail, a mocap ball, a target, words."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import mujoco
import numpy as np
import pytest

from mjxrl.envs import task_class
from mjxrl.envs.task import Target, Task
from mjxrl.errors import Refusal, UnavailableError
from mjxrl.policy.picture import Painter
from mjxrl.policy.tape import Shot
from tests.helpers.opengl import need_opengl

SIZE = (240, 180)
WORDS, LEGEND = 64, 155  # rows above and below which something is written
MODEL = """
<mujoco>
  <worldbody>
    <light pos="0 0 4"/>
    <camera name="side" pos="0 -2 0" euler="90 0 0"/>
    <camera pos="0 0 3" mode="fixed"/>
    <body><joint type="slide" axis="1 0 0" {limit}/><geom type="box" size=".1 .1 .1" rgba="1 0 0 1"/></body>
    <body mocap="true" pos="0 0 .5"><geom size=".1" rgba="0 0 1 1" contype="0" conaffinity="0"/></body>
  </worldbody>
</mujoco>
"""
FIXED = MODEL.format(limit='range="-2 2"')


@dataclass(frozen=True)
class Drawn(Task):
    """A task of one's own, for its model."""

    mjcf: str = FIXED

    @cached_property
    def model(self) -> mujoco.MjModel:
        return mujoco.MjModel.from_xml_string(self.mjcf)


class SeenFromAfar(Drawn):
    camera = MappingProxyType({"lookat": (0, 0, 0), "distance": 8.0, "elevation": 0})


@pytest.fixture(autouse=True)
def _opengl() -> None:
    need_opengl()


def shot(x: float = 0.0, ball: tuple[float, float, float] = (0, 0, 0.5), target: Target | None = None) -> Shot:
    return Shot({"qpos": np.array([x]), "mocap_pos": np.array([ball])}, target, 7, 12.34)


def paint(*shots: Shot, xml: str = FIXED, camera: str | None = None, title: str = "") -> list[np.ndarray]:
    with Painter(Drawn(mjcf=xml), SIZE, camera) as painter:
        return [painter.paint(each, title) for each in shots]


def place(picture: np.ndarray, color: int) -> tuple[float, float] | None:
    """Where a color (0 red, 1 green, 2 blue) prevails between the words: the mean (x, y), from 0 to 1."""
    scene = picture[WORDS:LEGEND].astype(int)
    y, x = np.nonzero(scene[..., color] > np.delete(scene, color, axis=2).max(2) + 60)
    return (x.mean() / SIZE[0], (y.mean() + WORDS) / SIZE[1]) if len(x) > 20 else None


def test_the_robot_is_where_it_stands() -> None:
    left, right, far = paint(shot(-0.3), shot(0.3), shot(1.9), camera="side")
    assert left.shape == (180, 240, 3) and left.dtype == np.uint8
    seen = [place(picture, 0) for picture in (left, right)]
    assert seen[0] is not None and seen[1] is not None and seen[0][0] < 0.45 < 0.55 < seen[1][0]
    assert place(far, 0) is None  # out of the picture


def test_mocap_bodies_are_where_they_were_put() -> None:
    high, low = (place(picture, 2) for picture in paint(shot(ball=(0, 0, 0.3)), shot(ball=(0, 0, -0.4)), camera="side"))
    assert high is not None and low is not None and high[1] < 0.45 < 0.6 < low[1]


def test_by_default_a_robot_that_travels_is_followed_and_one_that_cannot_is_not() -> None:
    limited, free = FIXED, MODEL.format(limit="")
    seen = place(paint(shot(100.0), xml=free)[0], 0)
    assert seen is not None and abs(seen[0] - 0.5) < 0.05
    assert place(paint(shot(100.0), xml=limited)[0], 0) is None
    named = place(paint(shot(0.3), xml=limited.replace('name="side"', 'name="side" mode="track"'))[0], 0)
    assert named == place(paint(shot(0.3), xml=limited, camera="side")[0], 0)  # it follows, and comes first


@pytest.mark.parametrize("env_id", ["Reacher-v5", "InvertedDoublePendulum-v5", "Pendulum-v1", "Pusher-v5", "Ant-v5"])
def test_all_of_a_robot_is_in_the_picture(env_id: str) -> None:
    """Nothing of it at the edges, and enough of it inside: what is drawn less what is drawn without its geoms."""
    task = task_class(env_id)()
    still = Shot({"qpos": task.init_qpos}, None, 1, 0.0)
    pictures = []
    task.model.mat_reflectance[:] = 0
    for visible in (True, False):
        if not visible:
            task.model.geom_rgba[task.model.body_weldid[task.model.geom_bodyid] > 0] = 0
        with Painter(task, SIZE) as painter:
            painter._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
            pictures.append(painter.paint(still).astype(int))
    robot = np.abs(pictures[0] - pictures[1]).max(2) > 20
    assert robot[1:-1, 1:-1].mean() > 0.01 and not robot[[0, -1]].any() and not robot[:, [0, -1]].any()


def test_a_target_is_drawn_in_the_size_that_counts_and_says_when_it_is_reached() -> None:
    aim = Target(np.array([0.4, 0, -0.2]), 0.3, 0.15)
    shots = [shot(), shot(target=aim), shot(target=aim._replace(distance=0.1))]
    without, far, reached = paint(*shots, camera="side", title="a title")
    assert place(without, 1) is None
    seen = place(reached, 1)
    assert seen is not None and seen[0] > 0.6 and seen[1] > 0.5
    assert place(far, 1) is None and place(far, 0) != place(without, 0)
    radius = np.sqrt((np.abs(reached.astype(int) - far).max(2)[WORDS:LEGEND] > 20).sum() / np.pi)
    assert radius == pytest.approx(0.15 / (2 * 2 * np.tan(np.pi / 8)) * SIZE[1], rel=0.1)
    changed = np.abs(far.astype(int) - without).max(2) > 20
    assert changed[LEGEND:].any() and changed[35:50].any()  # the legend, the distance
    assert not changed[50:WORDS, :100].any() and (reached != far)[50:WORDS, :100].any()  # TARGET REACHED


def test_words_are_written_in_the_corner_and_nowhere_else() -> None:
    one, other = paint(shot(), shot()._replace(step=8, total=-98.7), title="a title")
    changed = np.abs(one.astype(int) - other).max(2) > 0
    assert changed.any() and not changed[WORDS:].any() and not changed[:14].any()
    assert (paint(shot())[0][:14] != one[:14]).any()


def test_a_camera_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(Refusal, match=r"--camera nowhere: allowed: free, side, 1$"):
        paint(shot(), camera="nowhere")
    views = [paint(shot(), camera=name)[0] for name in ("free", "side", "1")]
    assert all((one != other).any() for one, other in [(views[0], views[1]), (views[1], views[2])])


def test_a_task_says_from_where_it_is_seen() -> None:
    def red(picture: np.ndarray) -> int:
        return int((picture[WORDS:, :, 0] > 90).sum())

    with Painter(SeenFromAfar(), SIZE) as afar, Painter(SeenFromAfar(), SIZE, "side") as side:
        assert 0 < red(afar.paint(shot())) < red(side.paint(shot())) / 9  # at four times the distance


def test_the_model_stays_as_it_was() -> None:
    task = Drawn()
    with Painter(task, (2000, 1000)) as painter:
        assert painter.paint(shot()).shape == (1000, 2000, 3)
    model = task.model
    assert model.vis.global_.offwidth == 640 and model.vis.quality.shadowsize == 4096


def test_an_opengl_that_fails_is_one_line_that_names_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ImportError("Cannot initialize a EGL device display.\nThis likely means")

    monkeypatch.setattr(mujoco, "Renderer", fail)
    with pytest.raises(UnavailableError, match=r"libegl1.*libosmesa6.*Cannot initialize") as error:
        paint(shot())
    assert "\n" not in str(error.value)
