"""A finished policy as a file pair that runs on torch alone: no simulator, no jax, no trainer.

policy.safetensors   the actor and, if it was trained on normalised observations, their statistics
policy.json          what it is of: task, algorithm, network, control range, and the hash of the other file
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from mjxrl.errors import PolicyError
from mjxrl.learners import sac, td3
from mjxrl.learners.actor_critic import AVERAGE
from mjxrl.networks.layers import Layer
from mjxrl.networks.parameters import Network
from mjxrl.networks.spec import NetworkSpec
from mjxrl.networks.statistics import RunningNorm
from mjxrl.storage.files import write_atomically
from mjxrl.storage.state import flatten, part_of
from mjxrl.worlds.actions import to_controls

FORMAT = 4  # 1 did not say what the network is, 2 had no other norm than LayerNorm, 3 none at all in actors
TENSORS, INFO = "policy.safetensors", "policy.json"
ArrayT = TypeVar("ArrayT", np.ndarray, Tensor)

# the best action, (B, A), of normalised observations, (B, O)
_ACTIONS: dict[str, Callable[[list[Layer], Tensor], Tensor]] = {"td3": td3.policy, "sac": sac.best_action}


@dataclass(frozen=True)
class PolicyInfo:
    """What a policy is of."""

    env: str
    """Task id."""
    algo: str
    """td3 | sac."""
    step: int
    """Transitions it was trained on."""
    control_low: tuple[float, ...]
    """Control that action -1 stands for, one per actuator, in the actuator's units."""
    control_high: tuple[float, ...]
    """Control that action 1 stands for."""
    network: NetworkSpec
    """The actor."""


class Policy:
    """The deterministic policy: raw observations in, actions out.

    Attributes:
        info: what it is of.
        obs_size: O, the length of an observation.
        action_size: A, the length of an action.
    """

    def __init__(self, info: PolicyInfo, tensors: Mapping[str, Tensor], device: torch.device | str = "cpu") -> None:
        """Make it of a learner's state, or of as much of it as was saved.

        Raises:
            PolicyError: they do not fit each other.
        """
        try:
            self._act = _ACTIONS[info.algo]
            tensors = {name: tensor.to(device) for name, tensor in tensors.items()}
            self._network = Network(info.network, part_of(tensors, AVERAGE) or part_of(tensors, "actor"))
            norm = part_of(tensors, "norm")
            self.info, self.obs_size, self.action_size = info, info.network.inputs, len(info.control_low)
            self._norm = RunningNorm(self.obs_size, device, enabled=bool(norm))
            self._norm.load_state_dict(norm)
            bounds = info.control_low, info.control_high
            self._low, self._high = (torch.tensor(bound, device=device) for bound in bounds)
            if self.act(torch.zeros(1, self.obs_size, device=device)).shape[1] != self.action_size:
                raise ValueError("the actor and the control range differ in width")
        except (KeyError, IndexError, ValueError, RuntimeError) as error:
            raise PolicyError(f"the tensors are not a policy: {' '.join(str(error).split())}") from None

    @torch.no_grad()
    def act(self, obs: Tensor) -> Tensor:
        """Actions, (N, A) in [-1, 1], of observations, (N, O), both on the policy's device."""
        return self._act(self._network.exact, self._norm.normalize(obs))

    def __call__(self, obs: ArrayT, *, scaled: bool = False) -> ArrayT:
        """Actions of one observation, (O,), or of many, (N, O), as simulator or robot gives them.

        Args:
            obs: a numpy array or a tensor, of any float type and device.
            scaled: in the units of the actuators, as `gymnasium.make(env).step` wants them, instead of in [-1, 1].

        Returns:
            (A,) or (N, A), float32; of the kind of `obs` and on its device.

        Raises:
            ValueError: the observation has another width.
        """
        if obs.ndim not in (1, 2) or obs.shape[-1] != self.obs_size:
            shape, size = tuple(obs.shape), self.obs_size
            raise ValueError(f"observations of {self.info.env} have shape ({size},) or (N, {size}), got {shape}")
        batch = torch.as_tensor(obs).to(self._low.device, torch.float32)
        action = self.act(batch.reshape(-1, self.obs_size)).reshape(*batch.shape[:-1], self.action_size)
        action = to_controls(action, self._low, self._high) if scaled else action
        result: Any = action.to(obs.device) if isinstance(obs, Tensor) else action.cpu().numpy()
        return result

    def save(self, folder: Path) -> None:
        """Write the file pair into `folder`, which is created if need be.

        Raises:
            OSError: it cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        tensors = flatten({"actor": self._network, "norm": self._norm})
        data = safetensors.torch.save({name: tensor.cpu() for name, tensor in tensors.items()})
        content = {"format": FORMAT, **dataclasses.asdict(self.info), "sha256": hashlib.sha256(data).hexdigest()}
        write_atomically(folder / TENSORS, data)
        write_atomically(folder / INFO, json.dumps(content, indent=2).encode() + b"\n")


def load_policy(path: Path | str, device: torch.device | str = "cpu") -> Policy:
    """The policy that `mjxrl-export` wrote; neither jax nor mujoco is imported, and nothing is unpickled.

    Args:
        path: the folder of the file pair, or one of the two files.
        device: where it computes.

    Raises:
        PolicyError: a file is missing, damaged or of an unknown format.
    """
    folder = Path(path)
    folder = folder if folder.is_dir() else folder.parent
    try:
        content, data = json.loads((folder / INFO).read_text(encoding="utf-8")), (folder / TENSORS).read_bytes()
        format_, expected = content.pop("format"), content.pop("sha256")
        if format_ not in range(1, FORMAT + 1):
            raise PolicyError(f"{folder / INFO} has format {format_!r}: allowed: 1 to {FORMAT}")
        if hashlib.sha256(data).hexdigest() != expected:
            raise PolicyError(f"{folder / TENSORS} is truncated or was altered")
        tensors = safetensors.torch.load(data)
        network = _network_of(tensors) if format_ == 1 else content.pop("network")
        if format_ == 2:
            del network["layer_norm"]  # which no actor has
        network["hidden"] = tuple(network["hidden"])
        content |= {name: tuple(map(float, content[name])) for name in ("control_low", "control_high")}
        info = PolicyInfo(**content, network=NetworkSpec(**network))
    except PolicyError:
        raise
    except OSError as error:
        raise PolicyError(f"{folder} holds no policy: {error.strerror}: {error.filename}") from None
    except safetensors.SafetensorError as error:
        raise PolicyError(f"{folder / TENSORS} is not a safetensors file: {error}") from None
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        raise PolicyError(f"{folder / INFO} is damaged") from None
    return Policy(info, tensors, device)


def _network_of(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """What format 1 left to be told from the actor's weights."""
    actor = part_of(tensors, "actor")
    weights = [actor[f"{i}.weight"].shape for i in range(len(actor) // 2)]  # and as many biases
    return {"inputs": weights[0][1], "hidden": [out for _, _, out in weights[:-1]], "outputs": weights[-1][2]}
