"""Adam over one flat buffer, and how its step size falls over a run."""

from __future__ import annotations

import math

import torch
from torch import Tensor


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
        self._values = values.detach().requires_grad_()
        self._values.grad = torch.zeros_like(values)
        self._parameters = parameters
        self._lr = lr
        # On CUDA the optimizer may be part of a CUDA graph: its numbers are then read from the device.
        on_device = torch.tensor(lr, device=values.device) if values.is_cuda else lr
        self._optimizer = torch.optim.AdamW(
            [self._values], lr=on_device, weight_decay=weight_decay, fused=True, capturable=values.is_cuda
        )
        # The optimizer would make its state at the first step. It is made here so that a state can be copied in.
        self._state = {
            "step": torch.zeros((), dtype=torch.float32, device=values.device),
            "exp_avg": torch.zeros_like(values),
            "exp_avg_sq": torch.zeros_like(values),
        }
        self._optimizer.state[self._values] = self._state

    def minimize(self, loss: Tensor) -> None:
        """One step down the gradient of `loss`."""
        gradients = torch.autograd.grad(loss, self._parameters)
        torch.cat([gradient.reshape(-1) for gradient in gradients], out=self.gradient)
        self._optimizer.step()

    @property
    def gradient(self) -> Tensor:
        """(P,) the gradient of the last step."""
        assert self._values.grad is not None
        return self._values.grad

    @property
    def lr(self) -> float:
        """Step size of the next step."""
        return float(self._optimizer.param_groups[0]["lr"])

    def scale_lr(self, fraction: float) -> None:
        """Make steps of this fraction of the first step size. Does not wait for the device."""
        group = self._optimizer.param_groups[0]
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(self._lr * fraction)
        else:
            group["lr"] = self._lr * fraction

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
