"""Stacked networks against plain torch modules."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from mjxrl.networks.mlp import actor_outputs, first_member
from mjxrl.networks.parameters import Network, follow, new_network
from mjxrl.networks.spec import NetworkSpec
from tests.helpers.oracles import q_values

F64 = torch.float64


def network(sizes, seed=0, **keywords) -> Network:
    start = {"dtype": keywords.pop("dtype", F64), "output_scale": keywords.pop("output_scale", 1.0)}
    spec = NetworkSpec(sizes[0], sizes[1:-1], sizes[-1], **keywords)
    return new_network(spec, torch.Generator().manual_seed(seed), "cpu", **start)


def module_of(net: Network, member: int) -> nn.Sequential:
    """The same network as torch modules."""
    modules: list[nn.Module] = []
    for i, layer in enumerate(net.frozen):
        fan_in, fan_out = layer.weight.shape[1:]
        linear = nn.Linear(fan_in, fan_out, dtype=F64)
        linear.weight.data.copy_(layer.weight[member].t())
        linear.bias.data.copy_(layer.bias[member, 0])
        modules.append(linear)
        if layer.gain is not None and layer.shift is not None:
            norm = nn.LayerNorm(fan_out, dtype=F64)
            norm.weight.data.copy_(layer.gain[member, 0])
            norm.bias.data.copy_(layer.shift[member, 0])
            modules.append(norm)
        if i < len(net.frozen) - 1:
            modules.append(nn.ReLU())
    return nn.Sequential(*modules)


@pytest.mark.parametrize("members", [1, 2, 5])
@pytest.mark.parametrize("norm", ["none", "layer"])
@pytest.mark.parametrize("hidden", [(7,), (7, 6, 5)])
def test_critics_equal_separate_modules_in_value_and_gradient(members, norm, hidden):
    critics = network((5, *hidden, 1), members=members, norm=norm)
    critics.flat.add_(0.1 * torch.randn_like(critics.flat))  # gains and shifts too
    obs, action = torch.randn(9, 3, dtype=F64), torch.randn(9, 2, dtype=F64)
    q = q_values(critics.layers, obs, action)
    assert q.shape == (members, 9)
    gradients = torch.autograd.grad(q.square().sum(), critics.parameters)
    for e in range(members):
        module = module_of(critics, e)
        expected = module(torch.cat([obs, action], -1))[:, 0]
        torch.testing.assert_close(q[e], expected)
        expected.square().sum().backward()
        for got, parameter in zip(gradients, module.parameters(), strict=True):
            assert parameter.grad is not None
            wanted = parameter.grad.t() if parameter.dim() == 2 else parameter.grad[None]
            torch.testing.assert_close(got[e], wanted)


@pytest.mark.parametrize("norm", ["none", "layer"])
def test_gradient_by_action_equals_the_modules(norm):
    """Where the action needs a gradient the first layer is computed in two parts: the same function."""
    critics = network((5, 8, 8, 1), members=2, norm=norm)
    obs = torch.randn(9, 3, dtype=F64)
    action = torch.randn(9, 2, dtype=F64, requires_grad=True)
    q = q_values(critics.frozen, obs, action)
    torch.testing.assert_close(q, q_values(critics.frozen, obs, action.detach()))
    (gradient,) = torch.autograd.grad(q.amin(0).sum(), action)
    both = torch.stack([module_of(critics, e)(torch.cat([obs, action], -1))[:, 0] for e in range(2)])
    torch.testing.assert_close(gradient, torch.autograd.grad(both.amin(0).sum(), action)[0])


def test_actor_equals_module():
    actor = network((4, 8, 6, 3))
    obs = torch.randn(5, 4, dtype=F64)
    torch.testing.assert_close(actor_outputs(actor.layers, obs), module_of(actor, 0)(obs))


def test_first_member_is_q1():
    critics = network((5, 8, 1), members=3, norm="layer")
    obs, action = torch.randn(4, 3, dtype=F64), torch.randn(4, 2, dtype=F64)
    torch.testing.assert_close(
        q_values(first_member(critics.frozen), obs, action)[0], q_values(critics.frozen, obs, action)[0]
    )


def test_initial_values_are_those_of_torch_linear_and_differ_between_members():
    critics = network((100, 50, 1), members=2, output_scale=0.01, dtype=torch.float32)
    hidden, output = critics.frozen
    assert 0.095 < hidden.weight.abs().max() <= 0.1 and hidden.bias.abs().max() <= 0.1
    assert hidden.weight.std().item() == pytest.approx(0.1 / math.sqrt(3), rel=0.03)
    assert output.weight.abs().max() <= 0.01 / math.sqrt(50)
    assert not torch.equal(hidden.weight[0], hidden.weight[1])
    q = q_values(critics.frozen, torch.randn(64, 90), torch.randn(64, 10))
    assert q.abs().max() < 0.05


def test_all_parameters_are_views_of_one_buffer():
    net = network((3, 4, 2), members=2, norm="layer")
    net.flat.fill_(3.0)
    assert all(bool((p == 3).all()) for p in net.parameters)
    assert sum(p.numel() for p in net.parameters) == net.flat.numel()
    assert all(bool((t == 3).all()) for t in net.state_dict().values())
    assert not any(t.requires_grad for layer in net.frozen for t in layer if isinstance(t, torch.Tensor))


@pytest.mark.parametrize("tau", [0.005, 0.3, 1.0])
def test_polyak_closed_form(tau):
    """After k steps towards a fixed network, theta' = theta + (1 - tau)^k (theta'_0 - theta)."""
    source, target = network((3, 4, 1), seed=1), network((3, 4, 1), seed=2)
    start = target.flat.clone()
    for _ in range(10):
        follow([target], [source], tau)
    torch.testing.assert_close(target.flat, source.flat + (1 - tau) ** 10 * (start - source.flat))
    if tau == 1:
        assert torch.equal(target.flat, source.flat)


def test_copy_shares_nothing():
    net = network((3, 4, 1))
    twin = net.copy()
    assert torch.equal(net.flat, twin.flat)
    net.flat.zero_()
    assert twin.flat.abs().sum() > 0


def test_state_is_copied_in_by_name():
    one, two = network((3, 4, 1), seed=1, members=2), network((3, 4, 1), seed=2, members=2)
    address = two.flat.data_ptr()
    two.load_state_dict(one.state_dict())
    assert torch.equal(one.flat, two.flat) and two.flat.data_ptr() == address
    assert set(one.state_dict()) == {"0.weight", "0.bias", "1.weight", "1.bias"}


def test_a_network_without_hidden_layers_is_refused():
    with pytest.raises(ValueError, match="hidden"):
        network((3, 1))
