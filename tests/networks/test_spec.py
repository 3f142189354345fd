"""What is told from a description of a network is what the network then is."""

from __future__ import annotations

import pytest
import torch

from mjxrl.config import Algorithm, Config, LearnerConfig
from mjxrl.learners import make_learner
from mjxrl.networks.parameters import Network, new_network
from mjxrl.networks.spec import NetworkSpec, actor_spec, critic_spec

SPECS = [
    NetworkSpec(3, (4,), 2),
    NetworkSpec(5, (7, 6), 1, members=3, norm="layer", activation="silu"),
    NetworkSpec(5, (7, 6), 3, members=2, norm="batch"),
]


@pytest.mark.parametrize("spec", SPECS)
def test_parameters_are_those_that_it_lists(spec: NetworkSpec) -> None:
    net = new_network(spec, torch.Generator().manual_seed(0), "cpu")
    assert net.flat.numel() == spec.parameters
    assert {name: tuple(value.shape) for name, value in net.state_dict().items()} == spec.shapes | spec.statistics
    assert [tuple(layer.weight.shape[1:]) for layer in net.frozen] == spec.products


def test_counts_by_hand() -> None:
    small, large, normed = SPECS
    assert small.parameters == 3 * 4 + 4 + 4 * 2 + 2 and small.units == 3 + 4 + 2
    assert large.parameters == 3 * ((5 + 3) * 7 + (7 + 3) * 6 + 6 + 1) and large.units == 3 * (5 + 7 + 6 + 1)
    assert normed.parameters == 2 * (5 * 7 + 7 + 7 * 6 + 6 + 6 * 3 + 3 + 2 * (7 + 6))
    assert large.products == [(5, 7), (7, 6), (6, 1)]


@pytest.mark.parametrize("algo", ["td3", "sac"])
@pytest.mark.parametrize(
    "settings",
    [{}, {"critic": "categorical", "atoms": 11, "critic_norm": "layer", "num_critics": 3}, {"actor_norm": "batch"}],
)
def test_a_learner_has_the_networks_that_its_configuration_describes(algo: Algorithm, settings: dict) -> None:
    config = Config(algo=algo, learner=LearnerConfig(actor_hidden=(8, 9), critic_hidden=(7,), **settings))
    algorithm = make_learner(config, 5, 2, "cpu").algorithm
    assert algorithm.actor.spec == actor_spec(config, 5, 2) and algorithm.critics.spec == critic_spec(config, 5, 2)
    for name, network in algorithm.networks.items():
        assert network.spec == (algorithm.actor if "actor" in name else algorithm.critics).spec


@pytest.mark.parametrize("damage", ["missing", "shape"])
def test_parameters_that_do_not_fit_are_named(damage: str) -> None:
    spec = SPECS[0]
    values = new_network(spec, torch.Generator(), "cpu").state_dict()
    if damage == "missing":
        del values["1.bias"]
    else:
        values["1.bias"] = values["1.bias"].reshape(2, 1, 1)  # as many numbers
    with pytest.raises(ValueError, match=r"do not fit the network: 1\.bias$"):
        Network(spec, values)
