"""Critics with BatchNorm: statistics of valid rows only, of both halves, running ones for the policy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mjxrl.networks.batch_norm import MOMENTUM, Joint, joint_outputs
from mjxrl.networks.mlp import critic_outputs, first_member
from tests.helpers.oracles import ACTION, F64, OBS, a_batch, batch_norm_joint, batch_norm_running, make_network

SIZES = OBS + ACTION, 7, 6, 3
BATCH, NEXT_ACTION = a_batch(), torch.rand(12, ACTION, dtype=F64, generator=torch.Generator().manual_seed(3)) * 2 - 1
ENDS = (BATCH.obs, BATCH.action), (BATCH.next_obs, NEXT_ACTION)
VALID = (~BATCH.invalid).double()


def joint_of(critics, valid=VALID, ends=ENDS, half=False) -> Joint:
    return joint_outputs(critics.layers, critics.frozen if half else critics.layers, ends[0], ends[1], valid)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("members", [1, 3])
def test_both_halves_equal_the_oracle(members: int, half: bool) -> None:
    critics, parameters = make_network(SIZES, 1, members=members, norm="batch")
    found = joint_of(critics, half=half)
    critics.observe(found.drift)
    state = critics.state_dict()
    for e in range(members):
        x, y = (np.concatenate(end, -1) for end in ENDS)
        here, there, _, moments = batch_norm_joint(parameters, e, x, y, VALID)
        np.testing.assert_allclose(found.outputs[e].detach(), here, rtol=1e-9)
        np.testing.assert_allclose(found.next_outputs[e], there, rtol=1e-9)
        for i, (mean, var) in enumerate(moments):
            for name, value in (("mean", mean), ("var", var)):
                wanted = (1 - MOMENTUM) * value + MOMENTUM * parameters[f"{i}.{name}"][e if i else 0, 0]
                np.testing.assert_allclose(state[f"{i}.{name}"][e if i else 0, 0], wanted, rtol=1e-9)
    assert not found.next_outputs.requires_grad and not found.drift.requires_grad


def test_invalid_rows_decide_nothing() -> None:
    critics, _ = make_network(SIZES, 1, members=2, norm="batch")
    rows = VALID.unsqueeze(-1) == 0
    other = tuple(tuple(x.masked_fill(rows, 9.0) for x in end) for end in ENDS)
    one, two = joint_of(critics), joint_of(critics, ends=other)
    keep = VALID > 0
    assert torch.equal(one.drift, two.drift)
    assert torch.equal(one.outputs[:, keep], two.outputs[:, keep])
    assert torch.equal(one.next_outputs[:, keep], two.next_outputs[:, keep])


def test_a_batch_without_valid_rows_moves_no_statistics() -> None:
    critics, _ = make_network(SIZES, 1, members=2, norm="batch")
    assert critics.statistics is not None
    critics.statistics.uniform_(0.5, 2, generator=torch.Generator().manual_seed(0))
    before = critics.statistics.clone()
    found = joint_of(critics, valid=torch.zeros(12, dtype=F64))
    critics.observe(found.drift)
    assert torch.equal(before, critics.statistics) and bool(found.outputs.isfinite().all())


@pytest.mark.parametrize("first", [False, True])
def test_the_policy_sees_running_statistics(first: bool) -> None:
    critics, parameters = make_network(SIZES, 1, members=2, norm="batch")
    assert critics.statistics is not None
    critics.statistics.uniform_(0.5, 2, generator=torch.Generator().manual_seed(0))
    parameters |= {name: value.numpy() for name, value in critics.state_dict().items()}
    action = BATCH.action.clone().requires_grad_()
    outputs = critic_outputs(first_member(critics.frozen) if first else critics.frozen, BATCH.obs, action)
    (gradient,) = torch.autograd.grad(outputs.square().sum(), action)
    acted = BATCH.action.numpy().copy()
    inputs = lambda: np.concatenate([BATCH.obs.numpy(), acted], -1)  # noqa: E731
    members = range(1 if first else 2)
    total = lambda: sum(np.square(batch_norm_running(parameters, e, inputs())).sum() for e in members)  # noqa: E731
    for e in members:
        np.testing.assert_allclose(outputs[e].detach(), batch_norm_running(parameters, e, inputs()), rtol=1e-9)
    for index in np.ndindex(acted.shape):
        kept, h = acted[index], 1e-6
        acted[index] = kept + h
        above = total()
        acted[index] = kept - h
        below = total()
        acted[index] = kept
        assert gradient[index].item() == pytest.approx((above - below) / (2 * h), rel=1e-5, abs=1e-7)
