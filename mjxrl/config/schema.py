"""What a run can be told: frozen dataclasses from which the command line is generated.

Every field's docstring is its `--help` text and names its unit. Defaults that depend on the task, the algorithm or the
number of worlds are not here but in `presets.py`; `validate` lists everything that is wrong with a configuration.
Nothing here imports jax, torch or mujoco, so that help and refusals come at once.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mjxrl.machine import devices
from mjxrl.machine.threads import Threads

Algorithm = Literal["td3", "sac"]
Preset = Literal["auto", "paper", "laptop", "fast", "fast-2025"]


HER_GOALS = 4  # Andrychowicz et al. (2017), section 4.5: k = 4 and 8 do best

GYMNASIUM = "gymnasium:"  # before the id of an environment that Gymnasium steps


@dataclass(frozen=True)
class PhysicsConfig:
    threads: int = 0
    """CPU threads that step the worlds (native backend); 0: split the cores between physics and learner by rule."""
    accuracy: Literal["exact", "fast"] = "exact"
    """fast (jax, warp) gives up parity with Gymnasium: Euler for Runge-Kutta, 4 Newton iterations."""
    iterations: int | None = None
    """Newton iterations at most per solve (jax, warp); by default 8, which is exact, or 4 if fast."""
    ls_iterations: int | None = None
    """Line-search iterations per Newton iteration (jax, warp); by default 8, or 4 if fast. On jax all are paid for."""
    max_contacts: int | None = None
    """Contacts of each dimension that a world has room for (jax, warp); default: the task's. More cost time."""
    stock_frames: bool = False
    """Leave the friction frame of a capsule on a plane as jax and warp have it, unlike MuJoCo's C; for comparison."""
    deterministic: bool = False
    """The same numbers from the same seed on a GPU too (warp), for some speed; a CPU gives them anyway."""
    unchecked: bool = False
    """Go on although MJX (jax) or Warp (warp) simulates this robot otherwise than MuJoCo's C does."""


@dataclass(frozen=True)
class ReplayConfig:
    capacity: int = 1_000_000
    """Transitions kept, all worlds together; rounded up to a whole number of vectorized steps."""
    her_goals: int | None = None
    """Hindsight: goals reached later in an episode that a drawn transition may be given, beside its own; 0 is off.
    Default: 4 where a task rewards nothing but reaching its goal, else 0."""


@dataclass(frozen=True)
class LearnerConfig:
    batch_size: int = 256
    """Transitions per update."""
    updates_per_step: int = 64
    """Gradient updates per vectorized step (`--num-envs` transitions)."""
    warmup_steps: int = 10_000
    """Transitions collected with uniformly random actions before the first update."""
    gamma: float = 0.99
    """Discount per environment step."""
    n_step: int = 1
    """Rewards summed before bootstrapping; 1 is the papers' form. More learn faster, biased by the replay's actions."""
    tau: float = 0.005
    """Polyak averaging: the targets move this fraction towards the networks at each target update; 1 copies them."""
    policy_delay: int = 1
    """Critic updates per policy update (TD3's delayed policy updates)."""
    num_critics: int = 2
    """Q functions in the ensemble; the target takes their minimum. 1 switches clipped double Q-learning off."""
    actor_hidden: tuple[int, ...] = (256, 256)
    """Widths of the actor's hidden layers, in units."""
    critic_hidden: tuple[int, ...] = (256, 256)
    """Widths of each critic's hidden layers, in units."""
    blocks: bool = False
    """Residual blocks of these widths, four times as wide inside, in place of hidden layers, with RMSNorm in front of
    each and of the last layer (SimBa, FlashSAC); actor and critics."""
    critic_norm: Literal["none", "layer", "batch"] = "none"
    """layer: LayerNorm after each hidden layer of the critics. batch: CrossQ, BatchNorm before each of their layers,
    one forward of (s, a) and (s', a'), and no target networks."""
    actor_norm: Literal["none", "batch"] = "none"
    """batch: BatchNorm before each of the actor's layers, of the batch in its own loss and running wherever else it
    acts (as the code of CrossQ's authors and SBX's has it)."""
    half_gradient: bool = False
    """With critic-norm batch: (s', a') counts as a constant in the statistics; faster than the paper's form."""
    critic_activation: Literal["relu", "silu"] = "relu"
    """After each hidden layer of the critics."""
    critic: Literal["scalar", "categorical"] = "scalar"
    """scalar: a critic's output is the value; categorical: a distribution over returns (C51), its mean the value."""
    atoms: int = 101
    """Returns that a categorical critic tells apart."""
    value_range: float = 10.0
    """A categorical critic's returns lie in plus or minus this, in units of reward (scaled, with scale_rewards, which
    makes them fit; without it they are cut off)."""
    actor_q: Literal["first", "min", "mean"] = "min"
    """What the policy climbs: first (Q_1, TD3's paper), min (SAC's paper) or mean of the critics."""
    scale_rewards: bool = False
    """Divide rewards by a running estimate of the size of returns, which then lie in plus or minus 5, about."""
    actor_lr: float = 3e-4
    """Adam step size of the actor."""
    critic_lr: float = 3e-4
    """Adam step size of the critics."""
    adam_beta1: float = 0.9
    """Decay of Adam's first moments, of all networks and the temperature; CrossQ has 0.5."""
    weight_decay: float = 0.0
    """AdamW's decay of actor and critics per unit of step size; 0 is Adam."""
    lr_schedule: Literal["constant", "linear", "cosine"] = "constant"
    """Step sizes over --total-steps; linear and cosine fall to --learner.lr-final of the first ones."""
    lr_final: float = 0.1
    """Fraction of the first step sizes that linear and cosine end with."""
    bf16: bool = False
    """Matrix products of the updates in bfloat16; targets, discounts, losses and parameters stay float32."""
    graphs: bool = False
    """Launch up to 16 updates at once as a CUDA graph (on a GPU)."""
    compile: bool = False
    """Losses and gradients through torch.compile: faster on a CPU, after up to a minute the first time."""
    policy_average: float | None = None
    """If given, the policy that is evaluated and exported has an average of the actor's weights, which moves this
    fraction towards them at each policy update, at first more (Nikishin et al. 2018 average weights for steadier
    policies). The actor explores and learns as without. None: the actor's own weights."""
    hold_noise: int = 1
    """Exploration noise stays for up to so many steps of a world, most often few (FlashSAC has 16); 1: always new."""
    threads: int = 0
    """CPU threads of the learner; 0: by rule. 1 is slower on an idle machine and steadier on a busy one."""
    normalize_obs: bool = False
    """Normalise observations by running mean and standard deviation, updated once per fresh frame."""


@dataclass(frozen=True)
class Td3Config:
    exploration_noise: float = 0.1
    """Standard deviation of the Gaussian added to actions in [-1, 1] while collecting."""
    exploration_noise_max: float | None = None
    """If given, world i's standard deviation is fixed, evenly spread from --td3.exploration-noise to this."""
    target_noise: float = 0.2
    """Standard deviation of target policy smoothing; 0 switches it off."""
    target_noise_clip: float = 0.5
    """Bound of the smoothing noise, in action units."""


@dataclass(frozen=True)
class SacConfig:
    init_temperature: float = 1.0
    """Entropy temperature alpha at the start."""
    auto_temperature: bool = True
    """Adjust the temperature towards the target entropy; off keeps it fixed."""
    target_entropy: float | None = None
    """Entropy aimed at, in nats; default: that of --sac.target-std, or minus the number of action dimensions."""
    target_std: float | None = None
    """The entropy aimed at is that of a Gaussian of this standard deviation, before tanh (FlashSAC has 0.15)."""
    init_std: float = 1.0
    """Standard deviation that the policy starts with, about, before tanh."""
    temperature_lr: float = 3e-4
    """Adam step size of log alpha."""
    exploration_scale: float = 1.0
    """Factor on the policy's standard deviation while collecting; 1 is the paper's form."""
    exploration_scale_max: float | None = None
    """If given, world i's factor is fixed, evenly spread from --sac.exploration-scale to this."""


@dataclass(frozen=True)
class EvalConfig:
    every: int = 100_000
    """Transitions between evaluations, which run in MuJoCo's C (native); 0: only the final one."""
    episodes: int = 8
    """Episodes per periodic evaluation, run side by side."""
    final_episodes: int = 10
    """Episodes of the final evaluation, in Gymnasium's own environment or, of other tasks, native; 0 leaves it out."""
    film: bool = False
    """Film the first episode of each evaluation that is the best so far, into the run's films/ and TensorBoard."""


@dataclass(frozen=True)
class LogConfig:
    every: int = 10_000
    """Transitions between two lines of metrics (console, metrics.csv, TensorBoard)."""
    wandb: str | None = None
    """Project of Weights & Biases that gets metrics, films and final scores too; with WANDB_MODE=offline they stay in
    the run's folder, for `wandb sync`."""


@dataclass(frozen=True)
class CheckpointConfig:
    every: int = 250_000
    """Transitions between checkpoints; one is always written at the end. 0: only that one."""
    keep: int = 2
    """Checkpoints kept, the newest ones; only the newest holds the replay."""
    replay: bool = True
    """Save the replay too, so that --resume goes on exactly; without it checkpoints are small and it refills first."""
    keep_replay: bool = False
    """Keep it on the disk when the run ends by itself, at --total-steps or after --max-minutes. Without it a finished
    run that is resumed with more steps refills the replay first. A run that was stopped always keeps it."""


@dataclass(frozen=True)
class Config:
    """Everything that decides a training run."""

    env: str = "Ant-v5"
    """Task id, my_module:MyTask for a task of your own, or gymnasium:ID for any environment of Gymnasium's."""
    algo: Algorithm = "sac"
    """Learner."""
    preset: Preset = "auto"
    """Defaults: as in the papers, for a laptop (few worlds, small networks), or fast (thousands of worlds on a GPU), of
    2026 or as in 2025; auto is laptop on a CPU, fast-2025 with 8 worlds or more on a GPU, else paper."""
    num_envs: int = 64
    """Worlds stepped together; by default 8 with --preset laptop or gymnasium:ID, else 4096 on MJX on a GPU, or 64."""
    backend: devices.Backend = "auto"
    """Physics: jax (MJX, float32), warp (MuJoCo Warp, float32) or native (MuJoCo in C on the CPU); gymnasium is
    for --env gymnasium:ID."""
    device: devices.Device = "auto"
    """Where replay and learner live; cuda never falls back to the CPU."""
    total_steps: int = 1_000_000
    """Environment transitions to collect, all worlds together."""
    max_minutes: float | None = None
    """Stop after this many minutes of wall-clock time, whichever limit comes first."""
    seed: int = 0
    """Seed of every random generator of the run."""
    run_dir: Path | None = None
    """Where the run is written; must not exist or be empty. Default: runs/<env>-<algo>-s<seed>-<time>."""
    resume: Path | None = None
    """Go on with the interrupted run in this folder, exactly; only --total-steps and --max-minutes may change."""
    init_from: Path | None = None
    """Start from the weights of this run (networks and observation statistics, nothing else)."""
    on_nan: Literal["report", "raise"] = "report"
    """When a world diverges, it is restarted and left out; raise ends the run at the next log line."""
    task: Any = None
    """Keywords of the task, named as in Gymnasium's constructor."""
    physics: PhysicsConfig = field(default_factory=PhysicsConfig)
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    td3: Td3Config = field(default_factory=Td3Config)
    sac: SacConfig = field(default_factory=SacConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    log: LogConfig = field(default_factory=LogConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)

    @property
    def identity(self) -> dict[str, str]:
        """What the run's checkpoints are of: those of another task or algorithm are none of its own."""
        return {"env": self.env, "algo": self.algo}

    @property
    def relabelled(self) -> float:
        """The share of drawn transitions that are given another goal in hindsight."""
        default = HER_GOALS if getattr(self.task, "sparse", False) else 0
        goals = default if self.replay.her_goals is None else self.replay.her_goals
        return goals / (goals + 1)

    def share(self, ranks: int) -> Config:
        """What each of so many processes does of it: its worlds, its part of every batch and of the replay."""
        return dataclasses.replace(
            self,
            num_envs=self.num_envs // ranks,
            learner=dataclasses.replace(self.learner, batch_size=self.learner.batch_size // ranks),
            replay=dataclasses.replace(self.replay, capacity=-(-self.replay.capacity // ranks)),
        )

    def machine(self) -> devices.Machine:
        """What the run computes on.

        Raises:
            UnavailableError: this machine lacks the device or the backend asked for.
        """
        threads = Threads(self.physics.threads, self.learner.threads)
        return devices.resolve(self.device, self.backend, threads, num_envs=self.num_envs, env=self.env)
