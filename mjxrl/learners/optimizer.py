"""Adam over one flat buffer, and how its step size falls over a run."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.optim.adamw import adamw


class Adam:
    """Adam (Kingma and Ba 2014, arXiv 1412.6980) over one flat buffer: a single fused kernel a step.

    Args:
        values: (P,) the parameters, updated in place.
        parameters: views of `values`, in order, that losses are differentiated with respect to.
        lr: step size.
        weight_decay: AdamW's (Loshchilov and Hutter 2017, arXiv 1711.05101): each step also takes this fraction,
            times the step size, off every parameter. 0 is Adam.
    """

    def __init__(self, values: Tensor, parameters: list[Tensor], lr: float, weight_decay: float = 0.0) -> None:
        self._values, self._parameters = values.detach(), parameters
        self._first_lr, self._weight_decay = lr, weight_decay
        # On CUDA a step may be part of a CUDA graph: its size is then read from the device.
        self._lr: float | Tensor = torch.tensor(lr, device=values.device) if values.is_cuda else lr
        self._state = {
            "step": torch.zeros((), dtype=torch.float32, device=values.device),
            "exp_avg": torch.zeros_like(self._values),
            "exp_avg_sq": torch.zeros_like(self._values),
        }

    def gradient(self, loss: Tensor) -> Tensor:
        """(P,) of `loss`, by the parameters; changes nothing."""
        return torch.cat([part.reshape(-1) for part in torch.autograd.grad(loss, self._parameters)])

    @torch.no_grad()
    def step(self, gradient: Tensor) -> None:
        """One step down a gradient, (P,)."""
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
            beta1=0.9,
            beta2=0.999,
            lr=self._lr,
            weight_decay=self._weight_decay,
            eps=1e-8,
            maximize=False,
        )

    @property
    def lr(self) -> float:
        """Step size of the next step."""
        return float(self._lr)

    def scale_lr(self, fraction: float) -> None:
        """Make steps of this fraction of the first step size. Does not wait for the device."""
        if isinstance(self._lr, Tensor):
            self._lr.fill_(self._first_lr * fraction)
        else:
            self._lr = self._first_lr * fraction

    def state_dict(self) -> dict[str, Tensor]:
        """Copies of the step count and both moments."""
        return {name: tensor.clone() for name, tensor in self._state.items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Copy a saved state in."""
        for name, tensor in self._state.items():
            tensor.copy_(state[name])


def lr_fraction(schedule: str, progress: float, final: float) -> float:
    """The share of the first step size that is left.

    Args:
        schedule: "constant", "linear" or "cosine" (half a period, Loshchilov and Hutter 2016, arXiv 1608.03983).
        progress: how much of the run is behind us, from 0; from 1 on, the final share holds.
        final: the share at the end.
    """
    progress = min(1.0, progress)
    if schedule == "linear":
        return 1 + (final - 1) * progress
    if schedule == "cosine":
        return final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2
    return 1.0
