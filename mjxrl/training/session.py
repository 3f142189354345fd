"""A run as it stands: all that decides how it goes on, and how that is saved and put back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from mjxrl.config import Config
from mjxrl.errors import DriftError, MisfitError, RunError, SavingError
from mjxrl.learners import Learner, make_learner
from mjxrl.machine.ranks import ALONE, Ranks, differing
from mjxrl.replay import Replay
from mjxrl.reporting.episodes import EpisodeStats
from mjxrl.reporting.interval import Interval
from mjxrl.reporting.quarantine import Quarantine
from mjxrl.storage import checkpoint
from mjxrl.storage.checkpoint import REPLAY
from mjxrl.storage.checkpoint_writer import CheckpointWriter
from mjxrl.storage.state import State, Stateful, flatten, restore
from mjxrl.worlds.worlds import CountsOverflows, Resumable, Worlds


class Session:
    """The parts of a run that change while it goes on; of several ranks each has one, with its share of the worlds.

    Attributes:
        obs: (N, O) what the policy sees next; None before the first start.
        steps: transitions collected so far, all worlds together.
        updates: gradient updates made so far.
        best: highest rank of a periodic evaluation so far: share of successes, then mean return.
    """

    def __init__(self, worlds: Worlds, config: Config, path: Path, ranks: Ranks = ALONE) -> None:
        self.worlds, self.config, self.path, self.ranks = worlds, config, path, ranks
        sizes, limit, device = (worlds.obs_size, worlds.action_size), worlds.max_episode_steps, worlds.device
        if config.relabelled and worlds.goals is None:
            raise RunError(
                f"--replay.her-goals {config.replay.her_goals}: allowed: 0 for {config.env}, which has no goals"
            )
        self.generator = torch.Generator(device).manual_seed(ranks.seed(config.seed))
        self.learner: Learner = make_learner(config, *sizes, device, ranks=ranks)
        # without a time limit a world may be truncated at every step
        self.replay = Replay(
            worlds.num_envs,
            *sizes,
            capacity=config.share(ranks.size).replay.capacity,
            time_limit=limit or 1,
            device=device,
            goals=worlds.goals,
            relabelled=config.relabelled,
        )
        self.episodes = EpisodeStats(worlds.num_envs, limit, device, ranks)
        self.interval = Interval(device, ranks)
        raising = config.on_nan == "raise"
        self.quarantine = Quarantine(path, worlds.num_envs, *sizes, device, raising=raising, ranks=ranks)
        self.obs: Tensor | None = None
        self._overflows = torch.zeros((), dtype=torch.int64)  # of the worlds, when they were last asked
        self.steps = self.updates = 0
        self.best = (0.0, float("-inf"))
        self._saved_at: int | None = None

    def start(self) -> Tensor:
        """What the policy sees next: in a run that was restored what it saw last, else the first observations."""
        if self.obs is None:
            self.obs = self.worlds.reset()
            self.replay.start(self.obs)
            self.learner.start(self.obs)
        return self.obs

    def save(self, writer: CheckpointWriter, *, replay: bool = True) -> bool:
        """Start writing a checkpoint of everything, small parts first, unless nothing has changed since the last; false
        if there is no room for one."""
        if self._saved_at != self.steps:
            learner = self._learner_state()
            tensors = ({"learner": learner} if learner else {}) | {"trainer": self.state_dict()}
            if isinstance(self.worlds, Resumable):
                tensors["env"] = self.worlds.state_dict()
            snapshot = self.replay.snapshot() if replay and self.config.checkpoint.replay else None
            info = {**self.config.identity, "updates": self.updates, "best": self.best}
            info |= {"ranks": self.ranks.size} if self.ranks.size > 1 else {}
            self._saved_at = self.steps if writer.save(self.steps, tensors, info, replay=snapshot) else None
        return self._saved_at == self.steps

    def save_last(self, writer: CheckpointWriter, *, finished: bool) -> None:
        """Leave a checkpoint of the end of the run; if that fails, once more: what was in the way may have gone.

        Args:
            finished: nobody stopped the run; its replay, which may be large, need not stay on the disk.

        Raises:
            SavingError: it cannot be written.
        """
        keeps_replay = self.config.checkpoint.keep_replay or not finished
        for _ in range(2):
            if self.save(writer, replay=keeps_replay) and writer.wait():
                if not keeps_replay and self.ranks.leads:
                    checkpoint.drop_replays(self.path)
                return
            self._saved_at = None
        raise SavingError(f"the end of the run, at {self.steps:,} steps, could not be saved")

    def save_if_best(self, writer: CheckpointWriter, rank: tuple[float, float]) -> bool:
        """Start writing the learner's state if no periodic evaluation was as good; returns whether none was."""
        if rank <= self.best:
            return False
        self.best = rank
        info = {**self.config.identity, "updates": self.updates, "return": self.best}
        if self.ranks.leads:
            writer.save(self.steps, {"learner": self.learner.state_dict()}, info, kind="best")
        return True

    def lost_contacts(self) -> dict[str, float]:
        """In how many steps of worlds, since the last call, a contact may have been lost; waits for the device."""
        if not isinstance(self.worlds, CountsOverflows):
            return {}
        before, now = int(self._overflows), self.worlds.overflows()
        self._overflows.fill_(now)
        return {"train/overflows": float(sum(self.ranks.gathered(now - before)))}

    def check_drift(self) -> None:
        """Make sure that all ranks hold the same learner; waits for the device where there are several.

        Raises:
            DriftError: they do not; the message names what differs.
        """
        if self.ranks.size == 1:
            return
        names = differing(self.ranks, self.learner.shared_state())
        if names:
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            raise DriftError(
                f"the ranks no longer hold the same learner: at {self.steps:,} steps they differ in "
                f"{', '.join(names[:5])}{more}"
            )

    def restore(self, which: str) -> int:
        """Go on from the checkpoint `which` of this run, bit for bit if it holds the replay and the worlds; those that
        cannot be saved, and those of another number of ranks, begin new episodes. Returns how many ranks saved it.

        Raises:
            CheckpointError: it is missing, damaged or of another task.
            MisfitError: it does not fit the configuration.
        """
        with self.ranks.together():  # whole, on all of them, before anything changes
            manifest, files = checkpoint.read(self.path, which, self.config.identity, ranks=self.ranks)
        saved_by = manifest.get("ranks", 1)
        self.steps = self._saved_at = manifest["step"]
        self.updates, self.best = manifest["updates"], checkpoint.rank_of(manifest["best"])
        if saved_by != self.ranks.size:
            self.learner.load_shared_state(files["learner"])
            self.obs = self._new_episodes()
            self.replay.start(self.obs)
            self.learner.start(self.obs)
            return saved_by
        self.learner.load_state_dict(files["learner"])
        if isinstance(self.worlds, Resumable):
            self.worlds.load_state_dict(files["env"])
        self.load_state_dict(files["trainer"])
        assert self.obs is not None
        if not self.ranks.any(REPLAY not in files):
            self.replay.load_state_dict(files[REPLAY])
        else:
            self.replay.start(self.obs)
        if not isinstance(self.worlds, Resumable):
            self.obs = self._new_episodes()
            self.replay.restart(self.obs)
            self.learner.start(self.obs)
            self.episodes.restart()
        return saved_by

    def state_dict(self) -> State:
        """What the loop itself depends on: current observations, random state, sums not yet logged."""
        assert self.obs is not None
        return {
            **flatten(self._sums),
            "obs": self.obs,
            "generator": self.generator.get_state(),
            "overflows": self._overflows,
        }

    def load_state_dict(self, state: State) -> None:
        """Go on from `state_dict`."""
        if state["generator"].shape != self.generator.get_state().shape:
            raise MisfitError(f"it was saved on another kind of device than {self.worlds.device.type}")
        self.obs = state["obs"].to(self.worlds.device)
        self.generator.set_state(state["generator"])
        restore(self._sums, state)
        if "overflows" in state and isinstance(self.worlds, Resumable):  # the others count from 0 again
            self._overflows.copy_(state["overflows"])

    def _new_episodes(self) -> Tensor:
        """First observations, not those of the run's first episodes once more."""
        return self.worlds.reset(seed=self.ranks.seed(self.config.seed + self.steps))

    def _learner_state(self) -> State:
        """The first rank saves what all have in common; the others what only their worlds have."""
        state = self.learner.state_dict()
        shared = {} if self.ranks.leads else self.learner.shared_state()
        return {name: tensor for name, tensor in state.items() if name not in shared}

    @property
    def _sums(self) -> Mapping[str, Stateful]:
        return {"episodes": self.episodes, "interval": self.interval, "quarantine": self.quarantine}
