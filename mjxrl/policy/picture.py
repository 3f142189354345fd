"""From where a world is to a picture of it, drawn by MuJoCo, with what there is to know written over it."""

from __future__ import annotations

import copy
from typing import Self

import mujoco
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mjxrl.envs.task import Target, Task
from mjxrl.errors import Refusal, UnavailableError
from mjxrl.machine.graphics import WITHOUT_OPENGL
from mjxrl.policy.tape import Shot

_SHADOWS = 1024  # side of the shadow map: without a GPU MuJoCo's 4096 take twice the time for the same picture
_WHITE, _BLACK, _RED, _GREEN = (255, 255, 255), (0, 0, 0), (255, 80, 70), (70, 220, 100)
_FOLLOWING = (int(mujoco.mjtCamLight.mjCAMLIGHT_TRACK), int(mujoco.mjtCamLight.mjCAMLIGHT_TRACKCOM))
_ROOM = 2.7  # times the radius of what the free camera shows is how far it stands off: all of it fits into 45 degrees


class Painter:
    """Draws the worlds of one task, always from the same camera."""

    def __init__(self, task: Task, size: tuple[int, int], camera: str | None = None) -> None:
        """Open an OpenGL context, which belongs to this thread.

        Args:
            size: width and height in pixels.
            camera: the name of one of the model's (the number of one without), or "free"; by default the task's own, or
                the model's first that follows something, or else the free one, which shows whatever moves.

        Raises:
            Refusal: there is no such camera.
            UnavailableError: there is no OpenGL.
        """
        self._camera = _camera(task, camera)
        self._model = model = copy.copy(task.model)  # what is changed now is nobody else's
        model.vis.global_.offwidth, model.vis.global_.offheight = size
        model.vis.quality.shadowsize = min(model.vis.quality.shadowsize, _SHADOWS)
        if not model.nlight:  # the lamp beside the camera is all there is, and is dim
            model.vis.headlight.ambient[:], model.vis.headlight.diffuse[:] = 0.4, 0.8
        try:
            self._renderer = mujoco.Renderer(model, size[1], size[0])
        except Exception as error:  # of MuJoCo's, PyOpenGL's or Python's, as it depends on what is missing
            raise UnavailableError(f"{WITHOUT_OPENGL}; MuJoCo says: {' '.join(str(error).split())}") from None
        self._data = mujoco.MjData(model)
        height = max(10, size[1] // 22)  # of a letter, about
        self._font, self._line, self._outline = ImageFont.load_default(height), round(1.4 * height), height // 10

    def paint(self, shot: Shot, title: str = "") -> np.ndarray:
        """The picture, (height, width, 3) uint8, with `title`, step, return and what there is of a target."""
        for name, value in shot.arrays.items():
            getattr(self._data, name)[...] = value
        mujoco.mj_forward(self._model, self._data)
        options = mujoco.MjvOption()
        if shot.target is not None:
            options.sitegroup[:] = 0  # the model's own mark of a target may be left behind
        self._renderer.update_scene(self._data, self._camera, options)
        if shot.target is not None:
            self._add_ball(shot.target)
        image = Image.fromarray(self._renderer.render())
        self._write(ImageDraw.Draw(image), image.height, shot, title)
        return np.asarray(image)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._renderer.close()

    def _add_ball(self, target: Target) -> None:
        """Add a ball to the scene: all places within which the target counts as reached."""
        scene = self._renderer.scene
        ball, radius, upright = scene.geoms[scene.ngeom], np.full(3, target.within), np.eye(3).flatten()
        rgba = np.array([*_color(target), 128], np.float32) / 255
        mujoco.mjv_initGeom(ball, mujoco.mjtGeom.mjGEOM_SPHERE, radius, np.asarray(target.position), upright, rgba)
        scene.ngeom += 1

    def _write(self, draw: ImageDraw.ImageDraw, height: int, shot: Shot, title: str) -> None:
        x = self._line // 2
        lines = [(title, _WHITE), (f"step {shot.step}   return {shot.total:.1f}", _WHITE)]
        if shot.target is not None:
            color = _color(shot.target)
            lines.append((f"distance {100 * shot.target.distance:.1f} cm", color))
            lines += [("TARGET REACHED", color)] if color == _GREEN else []
            y = height - self._line - x
            draw.ellipse((x, y, x + x, y + x), color, _BLACK)
            self._text(draw, (x + self._line, y), f"target, reached within {100 * shot.target.within:.1f} cm", _WHITE)
        for i, (words, color) in enumerate(line for line in lines if line[0]):
            self._text(draw, (x, x + i * self._line), words, color)

    def _text(self, draw: ImageDraw.ImageDraw, place: tuple[int, int], words: str, color: tuple[int, int, int]) -> None:
        draw.text(place, words, color, self._font, stroke_width=self._outline, stroke_fill=_BLACK)


def _color(target: Target) -> tuple[int, int, int]:
    return _GREEN if target.distance < target.within else _RED


def _camera(task: Task, name: str | None) -> mujoco.MjvCamera:
    """The camera that `name` stands for; see `Painter`."""
    model = task.model
    numbers = {model.camera(i).name or str(i): i for i in range(model.ncam)}
    if name not in (None, "free", *numbers):
        raise Refusal(f"--camera {name}: allowed: {', '.join(['free', *numbers])}")
    following = (i for i in range(model.ncam) if int(model.cam_mode[i]) in _FOLLOWING)
    number = next(following, None) if name is None else numbers.get(name)
    camera = mujoco.MjvCamera()
    mujoco.mjv_defaultFreeCamera(model, camera)
    if name is None and task.camera:
        for field, value in task.camera.items():
            setattr(camera, field, value)
    elif number is None:
        _frame(camera, model)
    else:
        camera.type, camera.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, number
    return camera


def _frame(camera: mujoco.MjvCamera, model: mujoco.MjModel) -> None:
    """Let a free camera show wherever the robot may swing, and go along with a body that can travel."""
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    moving = model.body_weldid[model.geom_bodyid] > 0
    if moving.any():
        # each tree of bodies within a ball around its root, wherever its joints turn it
        roots = model.body_rootid[model.geom_bodyid[moving]]
        centers = data.xpos[roots]
        reach = np.linalg.norm(data.geom_xpos[moving] - centers, axis=1) + model.geom_rbound[moving]
        low, high = (centers - reach[:, None]).min(0), (centers + reach[:, None]).max(0)
        camera.lookat[:] = (low + high) / 2
        camera.distance = _ROOM * (high - low).max() / 2
    free, slide = int(mujoco.mjtJoint.mjJNT_FREE), int(mujoco.mjtJoint.mjJNT_SLIDE)
    for body, kind, limited in zip(model.jnt_bodyid, model.jnt_type, model.jnt_limited, strict=True):
        if model.body_parentid[body] == 0 and (kind == free or (kind == slide and not limited)):
            camera.type, camera.trackbodyid = mujoco.mjtCamera.mjCAMERA_TRACKING, body
            return
