"""Networks and losses in NumPy, float64, written from the papers; no code shared with the learners."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from mjxrl.networks.layers import Layer
from mjxrl.networks.mlp import critic_outputs
from mjxrl.networks.parameters import Network, new_network
from mjxrl.networks.spec import NetworkSpec
from mjxrl.replay import Batch

OBS, ACTION, B = 4, 2, 12
F64 = torch.float64


def mlp(parameters: dict[str, np.ndarray], member: int, x: np.ndarray) -> np.ndarray:
    count = len({name.split(".")[0] for name in parameters})
    for i in range(count):
        x = x @ parameters[f"{i}.weight"][member] + parameters[f"{i}.bias"][member]
        if f"{i}.gain" in parameters:
            x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
            x = x * parameters[f"{i}.gain"][member] + parameters[f"{i}.shift"][member]
        if i < count - 1:
            x = np.maximum(x, 0)
    return x


def batch_norm_joint(parameters, member, here, there, valid, constants=None):
    """What one critic with BatchNorm says of both halves of a batch, (B, in) each; what went into its layers of the
    second half; and their means and variances. `constants` are to be counted in place of what goes in."""
    count, keep = len({name.split(".")[0] for name in parameters}), np.asarray(valid) > 0
    inputs, moments = [], []
    for i in range(count):
        if i:
            here, there = np.maximum(here, 0), np.maximum(there, 0)
        inputs.append(there)
        counted = np.concatenate([here[keep], (there if constants is None else constants[i])[keep]])
        moments.append((counted.mean(0), counted.var(0)))
        here, there = (_linear(parameters, member, i, x, *moments[i]) for x in (here, there))
    return here, there, inputs, moments


def batch_norm_running(parameters, member, x):
    for i in range(len({name.split(".")[0] for name in parameters})):
        mean, var = (parameters[f"{i}.{name}"][member if i else 0] for name in ("mean", "var"))
        x = _linear(parameters, member, i, np.maximum(x, 0) if i else x, mean, var)
    return x


def _linear(parameters, member, i, x, mean, var):
    x = (x - mean) / np.sqrt(var + 1e-3)
    if i:
        x = x * parameters[f"{i}.gain"][member] + parameters[f"{i}.shift"][member]
    return x @ parameters[f"{i}.weight"][member] + parameters[f"{i}.bias"][member]


def q_function(parameters, member, obs, action):
    return mlp(parameters, member, np.concatenate([obs, action], -1))[:, 0]


def q_values(layers: Sequence[Layer], obs: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
    """Q_1 .. Q_E, (E, B), of critics whose one output is the value."""
    return critic_outputs(layers, obs, action)[..., 0]


def min_q(parameters, obs, action):
    members = parameters["0.weight"].shape[0]
    return np.min([q_function(parameters, e, obs, action) for e in range(members)], 0)


def mean_over_valid(values, batch):
    keep = ~batch["invalid"]
    return values[keep].sum() / max(keep.sum(), 1)


def bootstrapped(batch, next_value):
    target = batch["reward"].copy()
    for i in range(B):
        if not batch["terminated"][i]:
            target[i] += batch["discount"][i] * next_value[i]
    return target


def squashed_gaussian(actor, obs, noise):
    """Action and log-density, the change of variables written as it stands."""
    return squashed(mlp(actor, 0, obs), noise)


def squashed(out, noise):
    """The same of the actor's raw outputs."""
    mean, log_std = out[:, :ACTION], np.clip(out[:, ACTION:], -20, 2)
    u = mean + np.exp(log_std) * noise
    log_normal = -0.5 * ((u - mean) / np.exp(log_std)) ** 2 - log_std - 0.5 * np.log(2 * np.pi)
    return np.tanh(u), (log_normal - np.log(1 - np.tanh(u) ** 2)).sum(-1)


def numeric_gradient(loss, parameters: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    gradients = {}
    for name, value in parameters.items():
        gradient = np.zeros_like(value)
        for index in np.ndindex(value.shape):
            kept, h = value[index], 1e-6
            value[index] = kept + h
            above = loss()
            value[index] = kept - h
            below = loss()
            value[index] = kept
            gradient[index] = (above - below) / (2 * h)
        gradients[name] = gradient
    return gradients


def assert_flat_gradient(found: torch.Tensor, network: Network, wanted: dict[str, np.ndarray]) -> None:
    flat = np.concatenate([wanted[name].reshape(-1) for name in network.spec.shapes])
    np.testing.assert_allclose(found.numpy(), flat, atol=1e-7, rtol=1e-5)


def assert_gradient(loss: torch.Tensor, network: Network, wanted: dict[str, np.ndarray]) -> None:
    got = torch.autograd.grad(loss, network.parameters)
    names = list(network.spec.shapes)
    for name, gradient in zip(names, got, strict=True):
        np.testing.assert_allclose(gradient.numpy(), wanted[name], atol=1e-7, rtol=1e-6, err_msg=name)


def make_network(sizes, seed, **keywords) -> tuple[Network, dict[str, np.ndarray]]:
    spec = NetworkSpec(sizes[0], sizes[1:-1], sizes[-1], **keywords)
    net = new_network(spec, torch.Generator().manual_seed(seed), "cpu", F64)
    net.flat.add_(0.2 * torch.randn(net.flat.shape, dtype=F64, generator=torch.Generator().manual_seed(seed + 99)))
    return net, {name: value.numpy().copy() for name, value in net.state_dict().items()}


def a_batch() -> Batch:
    """Windows of several lengths, some terminated, some invalid."""
    rng = np.random.default_rng(7)
    return Batch(
        obs=torch.tensor(rng.normal(size=(B, OBS))),
        action=torch.tensor(rng.uniform(-1, 1, (B, ACTION))),
        reward=torch.tensor(rng.normal(size=B)),
        discount=torch.tensor(0.9 ** rng.integers(1, 4, B)),
        terminated=torch.tensor(np.arange(B) % 4 == 1),
        next_obs=torch.tensor(rng.normal(size=(B, OBS))),
        invalid=torch.tensor(np.arange(B) % 5 == 2),
        counted=torch.tensor(int((np.arange(B) % 5 != 2).sum())),
    )


def some_noise() -> torch.Tensor:
    return torch.tensor(np.random.default_rng(8).normal(size=(B, ACTION)))


def as_numpy(batch: Batch) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in batch._asdict().items()}
