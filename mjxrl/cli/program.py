"""`mjxrl`: all programs as one."""

from __future__ import annotations

import dataclasses
import sys
from difflib import get_close_matches
from importlib import import_module
from typing import Annotated, Any, NoReturn, Union

import mjxrl
from mjxrl.cli.parse import refuse

COMMANDS = {  # a program is the module of its name
    "train": "train a policy and score it in Gymnasium",
    "evaluate": "score the policy of a run",
    "record": "film a policy",
    "compare": "put runs into one table and one picture",
    "plot": "draw the learning curves of runs",
    "export": "write a policy as files that need no run",
    "parity": "compare our worlds with Gymnasium's",
    "verify": "check what the algorithms promise",
    "seeds": "train under several seeds",
    "sweep": "look for the settings that learn most in some minutes",
    "benchmark": "measure speed and memory on this machine",
    "doctor": "show what this machine has, and what is missing",
}
SHELLS = "bash", "zsh", "fish"


def main() -> int:
    """Run the program that the first word names; returns its exit status."""
    command, *rest = sys.argv[1:] or ["--help"]
    if command in COMMANDS:
        sys.argv = [f"mjxrl-{command}", *rest]
        return import_module(f"mjxrl.cli.{command}").main()
    if command in ("-h", "--help"):
        print(help_text(), end="")
    elif command == "--version":
        print(mjxrl.__version__)
    elif command == "completion":
        if len(rest) != 1 or rest[0] not in SHELLS:
            refuse([f"completion {' '.join(rest) or '(no shell)'}: allowed: {', '.join(SHELLS)}"])
        print_completion(rest[0])
    else:
        close = get_close_matches(command, COMMANDS, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        refuse([f"{command}: no such command{hint}: allowed: {', '.join(COMMANDS)}"])
    return 0


def help_text() -> str:
    """What there is to run."""
    commands = "".join(f"  {name:10} {summary}\n" for name, summary in COMMANDS.items())
    return (
        f"usage: mjxrl COMMAND [flags]\n\n{commands}\n"
        "mjxrl COMMAND --help lists the flags of one. Shells complete them after\n"
        '  eval "$(mjxrl completion bash)"     (zsh and fish likewise)\n'
    )


def print_completion(shell: str) -> NoReturn:
    """Print the script with which a shell completes commands and flags, and exit."""
    import tyro

    from mjxrl.config import Config

    seeds = dataclasses.make_dataclass("Seeds", [("seeds", int, 1)], bases=(Config,), frozen=True)
    by_flags_of_train: dict[str, Any] = {"train": Config, "seeds": seeds}
    kinds = [
        Annotated[
            by_flags_of_train.get(name) or import_module(f"mjxrl.cli.{name}").Options,
            tyro.conf.subcommand(name, description=summary, prefix_name=False),
        ]
        for name, summary in COMMANDS.items()
    ]
    programs: Any = Union[tuple(kinds)]  # noqa: UP007 (made here)
    tyro.cli(programs, prog="mjxrl", args=["--tyro-print-completion", shell])
    raise SystemExit(0)
