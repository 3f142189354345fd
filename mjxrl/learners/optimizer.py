"""Adam over one flat buffer, and how its step size falls over a run."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from mjxrl.storage.state import State, flatten, restore


class Adam:
    """Adam (Kingma and Ba 2014, arXiv 1412.6980) over one flat buffer: a single fused kernel a step.

    Args:
        values: updated in place.
        parameters: views of `values`, or of a rounded copy of them, in order, that losses are differentiated by.
        lr: step size.
        beta1: decay of the first moments.
        weight_decay: AdamW's (Loshchilov and Hutter 2017, arXiv 1711.05101): each step also takes this fraction,
            times the step size, off every parameter. 0 is Adam.
    """

    def __init__(
        self,
        values: Annotated[Tensor, "P"],
        parameters: list[Tensor],
        lr: float,
        *,
        beta1: float = 0.9,
        weight_decay: float = 0.0,
    ) -> None:
        self._values, self._parameters = values.detach(), parameters
        self._first_lr, self._beta1, self._weight_decay = lr, beta1, weight_decay
        # On CUDA a step may be part of a CUDA graph: its size is then read from the device.
        self.lr: float | Tensor = torch.tensor(lr, device=values.device) if values.is_cuda else lr
        self._state = {
            "step": torch.zeros((), dtype=torch.float32, device=values.device),
            "exp_avg": torch.zeros_like(self._values),
            "exp_avg_sq": torch.zeros_like(self._values),
        }

    def gradient(self, loss: Annotated[Tensor, ""]) -> Annotated[Tensor, "P"]:
        """The gradient of `loss` by the parameters, in the precision of the values; changes nothing."""
        gradient = torch.cat([part.reshape(-1) for part in torch.autograd.grad(loss, self._parameters)])
        return gradient.to(self._values.dtype)

    @torch.no_grad()
    def step(self, gradient: Annotated[Tensor, "P"]) -> None:
        """One step down a gradient."""
        adamw(  # torch's function: its optimizer object takes longer than the step
            [self._values],
            [gradient],
            [self._state["exp_avg"]],
            [self._state["exp_avg_sq"]],
            [],
            [self._state["step"]],
            fused=True,
            capturable=self._values.is_cuda,
            amsgrad=False,
            beta1=self._beta1,
            beta2=0.999,
            lr=self.lr,
            weight_decay=self._weight_decay,
            eps=1e-8,
            maximize=False,
        )

    @property
    def made(self) -> Annotated[Tensor, ""]:
        """Steps so far, on the device."""
        return self._state["step"]

    def scale_lr(self, fraction: float) -> None:
        """Make steps of this fraction of the first step size. Does not wait for the device."""
        if isinstance(self.lr, Tensor):
            self.lr.fill_(self._first_lr * fraction)
        else:
            self.lr = self._first_lr * fraction

    def state_dict(self) -> State:
        """Copies of the step count and both moments."""
        return flatten(self._state)

    def load_state_dict(self, state: State) -> None:
        """Copy a saved state in."""
        restore(self._state, state)


def lr_fraction(schedule: str, progress: float, final: float) -> float:
    """The share of the first step size that is left, `progress` in [0, 1] into the run, or beyond: `final`.

    "constant", "linear" or "cosine" (half a period, Loshchilov and Hutter 2016, arXiv 1608.03983).
    """
    progress = min(1.0, progress)
    if schedule == "linear":
        return 1 + (final - 1) * progress
    if schedule == "cosine":
        return final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2
    return 1.0
