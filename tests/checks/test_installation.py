"""What `mjxrl doctor` says."""

from __future__ import annotations

import sys

import pytest

from mjxrl.checks import installation
from mjxrl.cli import doctor
from mjxrl.machine import devices, graphics, versions


def test_what_an_extra_lacks_is_found_through_its_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"mjxrl", "gymnasium"}
    monkeypatch.setattr(versions, "installed", lambda *names: "1.0" if names[0] in there else None)
    wants = {
        "mjxrl": ["torch>=2", 'gymnasium[box2d]; extra == "box2d"', 'wandb>=0.2; extra == "wandb"'],
        "gymnasium": ['box2d==2.3.10; extra == "box2d"', 'pygame>=2; extra == "box2d"', 'jax; extra == "jax"'],
    }
    monkeypatch.setattr(installation.metadata, "requires", wants.__getitem__)
    assert installation.lacking("mjxrl[box2d]") == ["box2d", "pygame"]
    assert installation.lacking("mjxrl[wandb]") == ["wandb"]
    there |= {"wandb", "box2d"}
    assert installation.lacking("mjxrl[wandb]") == [] and installation.lacking("mjxrl[box2d]") == ["pygame"]


def test_a_checkout_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = versions.installed
    monkeypatch.setattr(versions, "installed", lambda *names: None if "mjxrl" in names else installed(*names))
    found = {finding.name: finding for finding in installation.findings()}
    assert found["mjxrl"].remedy == "pip install -e ." and "torch" in found and "C++ compiler" in found


def test_what_is_missing_comes_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(devices, "cuda_problem", lambda: "no NVIDIA driver was found")
    monkeypatch.setattr(graphics, "problem", lambda: graphics.WITHOUT_OPENGL)
    monkeypatch.setattr(installation.shutil, "which", lambda _: None)
    installed = versions.installed
    monkeypatch.setattr(versions, "installed", lambda *names: None if "mujoco-warp" in names else installed(*names))
    monkeypatch.setattr(sys, "argv", ["mjxrl-doctor"])
    assert doctor.main() == 0
    said = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines())
    lines = {name: rest.strip() for name, rest in said.items()}
    assert lines["GPU"] == "none: not used: no NVIDIA driver was found"
    assert "apt install libegl1" in lines["OpenGL"] and "apt install g++" in lines["C++ compiler"]
    assert lines["--backend warp"] == "none: pip install 'mjxrl[warp]'" and lines["--backend native"] == "on cpu"
    assert lines["mujoco"] == installed("mujoco") and "GiB" in lines["cache"] and "GiB here" in lines["free disk"]
