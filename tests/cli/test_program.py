"""`mjxrl COMMAND`."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from types import SimpleNamespace

import pytest

from mjxrl.cli import program


def called(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["mjxrl", *words])
    return program.main()


def test_every_command_is_a_program_and_gets_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    for command in program.COMMANDS:
        assert callable(import_module(f"mjxrl.cli.{command}").main)
    got: list[list[str]] = []
    monkeypatch.setattr(program, "import_module", lambda name: SimpleNamespace(main=lambda: got.append(sys.argv) or 3))
    assert called(monkeypatch, "train", "--env", "Ant-v5", "--help") == 3
    assert got == [["mjxrl-train", "--env", "Ant-v5", "--help"]]


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_help_lists_every_command(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called(monkeypatch, *words) == 0
    said = capsys.readouterr().out
    assert all(f"  {name} " in said for name in program.COMMANDS)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["trian"], "error: trian: no such command (did you mean train?): allowed: train, evaluate, "),
        (["--env"], "error: --env: no such command: allowed: train, "),
        (["completion"], "error: completion (no shell): allowed: bash, zsh, fish"),
        (["completion", "cmd"], "error: completion cmd: allowed: bash, zsh, fish"),
    ],
)
def test_refusals(
    words: list[str], line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        called(monkeypatch, *words)
    assert stop.value.code == 2 and capsys.readouterr().err.startswith(line)


def test_bash_completes_commands_flags_and_values(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:  # by tyro
        called(monkeypatch, "completion", "bash")
    assert not stop.value.code
    script = capsys.readouterr().out
    asked = {"mjxrl do": "doctor", "mjxrl train --learner.gam": "--learner.gamma", "mjxrl seeds --algo ": "td3 sac"}
    for typed, expected in asked.items():
        *before, last = typed.split(" ")
        words = " ".join(f"'{word}'" for word in [*before, last])
        ask = f'COMP_WORDS=({words}); COMP_CWORD={len(before)}; _tyro_mjxrl mjxrl; echo "${{COMPREPLY[@]}}"'
        done = subprocess.run(["bash", "-c", f"{script}\n{ask}"], capture_output=True, text=True, timeout=60)
        assert done.stdout.strip() == expected, (typed, done)


def test_nothing_heavy_is_imported_for_help_and_doctor() -> None:
    code = (
        "import sys; from mjxrl.cli.program import main; sys.argv = ['mjxrl', *sys.argv[1:]]; main();"
        "print([name for name in ('jax', 'torch', 'mujoco', 'optuna', 'wandb') if name in sys.modules])"
    )
    for words in (["--version"], ["doctor"]):
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and done.stdout.splitlines()[-1] == "[]", done
