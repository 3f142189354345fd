"""A batch and noise that losses are compared on."""

from __future__ import annotations

import pytest
import torch

from mjxrl.replay import Batch
from tests.helpers import oracles


@pytest.fixture
def batch() -> Batch:
    return oracles.a_batch()


@pytest.fixture
def noise() -> torch.Tensor:
    return oracles.some_noise()
