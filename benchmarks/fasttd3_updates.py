"""TD3 updates per second at FastTD3's own shapes, ours beside FastTD3's, interleaved, in one process; for a GPU.

    pip install tensordict git+https://github.com/younggyoseo/FastTD3@229ed59bbf43ea2f7a2d5d90d1076314839944d7
    python benchmarks/fasttd3_updates.py --json benchmarks/results/gpu/DEVICE-fasttd3.json

FastTD3 (Seo et al. 2025, arXiv 2505.22642) keeps its update inside its training script, so it is put together here from
its own networks, replay and normaliser as that script does by default: bf16 autocast, torch.compile with CUDA graphs
on a GPU, a policy update after every second critic update, targets moved after each. Both sample their own replay of
random numbers, sampling and normalisation counted. The median of the ratios of neighbouring repeats is what to quote.
"""

from __future__ import annotations

import importlib
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
import tyro

from mjxrl.config.presets import default_config, merged
from mjxrl.learners import make_learner
from mjxrl.machine import devices, threads, versions
from mjxrl.measurement.setting import fill
from mjxrl.replay import Replay

GAMMA, TAU, NOISE, CLIP, LIMIT, ATOMS, DELAY, LR = 0.99, 0.1, 0.001, 0.5, 250.0, 101, 2, 3e-4  # its defaults
UPDATES = 2  # per vector step


@dataclass(frozen=True)
class Options:
    device: Literal["cuda", "cpu"] = "cuda"
    """Where; the CPU is for trying the script: FastTD3 runs in float32 there."""
    obs_size: int = 103
    """Width of an observation; 103 and 29 actions are those of its G1 tasks."""
    action_size: int = 29
    """Width of an action."""
    num_envs: int = 1024
    """Worlds, columns of the replay."""
    rows: int = 1024
    """Vector steps in the replay."""
    batch_size: int = 32_768
    """Transitions per update, a multiple of the worlds."""
    critic_width: int = 1024
    """Of the critics' first layer; the following ones have a half and a quarter."""
    actor_width: int = 512
    """Of the actor's first layer; the following ones have a half and a quarter."""
    updates: int = 100
    """Updates per repeat."""
    repeats: int = 15
    """Repeats of each, after two that are not counted."""
    json: Path | None = None
    """Write the raw figures here."""


def ours(options: Options) -> Callable[[], object]:
    """Makes `UPDATES` updates."""

    def widths(first: int) -> tuple[int, ...]:
        return first, first // 2, first // 4

    settings = {
        "batch_size": options.batch_size,
        "updates_per_step": UPDATES,
        "critic_hidden": widths(options.critic_width),
        "actor_hidden": widths(options.actor_width),
        "critic": "categorical",
        "atoms": ATOMS,
        "value_range": LIMIT,
        "gamma": GAMMA,
        "tau": TAU,
        "policy_delay": DELAY,
        "actor_q": "min",
        "normalize_obs": True,
        "bf16": True,
        "graphs": options.device == "cuda",
    }
    config = default_config("Ant-v5", "td3", num_envs=options.num_envs, device=options.device, preset="paper")
    config = merged(config, {"learner": settings, "td3": {"target_noise": NOISE, "target_noise_clip": CLIP}})
    sizes = options.obs_size, options.action_size
    learner = make_learner(config, *sizes, options.device)
    capacity = options.rows * options.num_envs
    replay = Replay(options.num_envs, *sizes, capacity=capacity, time_limit=1000, device=options.device)
    fill(replay)
    learner.start(torch.randn(options.num_envs, options.obs_size, device=options.device))
    generator = torch.Generator(options.device).manual_seed(0)
    learner.warm_up(replay)
    return lambda: learner.update(replay, UPDATES, generator)


def fasttd3(options: Options) -> Callable[[], object]:
    """Makes `UPDATES` updates."""
    networks: Any = importlib.import_module("fast_td3.fast_td3")
    tools: Any = importlib.import_module("fast_td3.fast_td3_utils")
    device = torch.device(options.device)
    sizes = {"n_obs": options.obs_size, "n_act": options.action_size}
    plain = {"sim_type": "", "sim_dimension": 64, "seq_len": 8, "device": device}
    actor = networks.Actor(**sizes, num_envs=options.num_envs, init_scale=0.01, hidden_dim=options.actor_width, **plain)

    def critic() -> Any:
        limits = {"num_atoms": ATOMS, "v_min": -LIMIT, "v_max": LIMIT}
        return networks.Critic(**sizes, **limits, hidden_dim=options.critic_width, **plain)

    critics, targets = critic(), critic()
    targets.load_state_dict(critics.state_dict())
    norm = tools.EmpiricalNormalization(shape=options.obs_size, device=device)
    norm(torch.randn(options.num_envs, options.obs_size, device=device))
    norm.eval()
    room = {"n_env": options.num_envs, "buffer_size": options.rows, "n_critic_obs": options.obs_size}
    replay = tools.SimpleReplayBuffer(**room, **sizes, gamma=GAMMA, device=device)
    for tensor in (replay.observations, replay.next_observations, replay.actions, replay.rewards):
        tensor.uniform_(-1, 1)
    replay.ptr = options.rows
    step_size = torch.tensor(LR, device=device)
    critic_adam = torch.optim.AdamW(list(critics.parameters()), lr=step_size, weight_decay=0.1)
    actor_adam = torch.optim.AdamW(list(actor.parameters()), lr=step_size, weight_decay=0.1)

    def autocast() -> torch.autocast:
        return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")  # its projection needs that

    def update_critics(data: Any) -> None:
        with autocast():
            after = data["next"]
            goes_on = (after["truncations"].bool() | ~after["dones"].bool()).float()
            noise = (torch.randn_like(data["actions"]) * NOISE).clamp(-CLIP, CLIP)
            action = (actor(after["observations"]) + noise).clamp(-1, 1)
            discount = GAMMA ** after["effective_n_steps"]
            with torch.no_grad():
                one, two = targets.projection(after["observations"], action, after["rewards"], goes_on, discount)
                less = targets.get_value(one).unsqueeze(1) < targets.get_value(two).unsqueeze(1)
                wanted = torch.where(less, one, two)
            outputs = critics(data["observations"], data["actions"])
            loss = -sum((wanted * F.log_softmax(output, dim=1)).sum(1).mean() for output in outputs)
        critic_adam.zero_grad(set_to_none=True)
        loss.backward()
        critic_adam.step()

    def update_actor(data: Any) -> None:
        with autocast():
            outputs = critics(data["observations"], actor(data["observations"]))
            one, two = (critics.get_value(F.softmax(output, dim=1)) for output in outputs)
            loss = -torch.minimum(one, two).mean()
        actor_adam.zero_grad(set_to_none=True)
        loss.backward()
        actor_adam.step()

    if device.type == "cuda":
        update_critics = torch.compile(update_critics, mode="reduce-overhead")
        update_actor = torch.compile(update_actor, mode="reduce-overhead")
        normalize = torch.compile(norm.forward)
    else:
        normalize = norm.forward
    online, moved = list(critics.parameters()), list(targets.parameters())

    def updates() -> None:
        if device.type == "cuda":
            torch.compiler.cudagraph_mark_step_begin()
        for i in range(UPDATES):
            data = replay.sample(max(1, options.batch_size // options.num_envs))
            data["observations"] = normalize(data["observations"])
            data["next"]["observations"] = normalize(data["next"]["observations"])
            update_critics(data)
            if i % DELAY == DELAY - 1:
                update_actor(data)
            with torch.no_grad():
                torch._foreach_lerp_(moved, online, TAU)

    return updates


def main(options: Options) -> None:
    if options.device == "cpu":
        threads.set_torch_threads(threads.available_cores())
    runs = {"mjxrl": ours(options), "FastTD3": fasttd3(options)}
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(2 + options.repeats):
        for name, update in runs.items():
            started = _now(options)
            for _ in range(options.updates // UPDATES):
                update()
            rates[name].append(options.updates / (_now(options) - started))
    rates = {name: values[2:] for name, values in rates.items()}
    ratios = [a / b for a, b in zip(rates["mjxrl"], rates["FastTD3"], strict=True)]
    for name, values in rates.items():
        print(f"{name:8} {statistics.median(values):8.1f} updates/s  ({min(values):.1f} to {max(values):.1f})")
    print(f"mjxrl / FastTD3: {statistics.median(ratios):.2f}  ({min(ratios):.2f} to {max(ratios):.2f})")
    if options.json:
        report = {
            "device": devices.device_name(options.device),
            "versions": versions.versions(),
            "options": {name: value for name, value in vars(options).items() if name != "json"},
            "updates_per_s": rates,
            "median_ratio": statistics.median(ratios),
        }
        options.json.write_text(json.dumps(report, indent=2) + "\n")


def _now(options: Options) -> float:
    if options.device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    main(tyro.cli(Options))
