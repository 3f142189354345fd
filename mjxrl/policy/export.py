"""From a run's checkpoint to a policy that needs no run: the file pair of `mjxrl.policy.policy`, and ONNX."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import torch
from torch import Tensor

from mjxrl.errors import RunError
from mjxrl.machine import settings
from mjxrl.policy.from_run import run_policy
from mjxrl.policy.policy import INFO, TENSORS, Policy
from mjxrl.storage.files import write_atomically

ONNX = "policy.onnx"
WITHOUT_ONNX = "--onnx: allowed with the ONNX packages: pip install 'mjxrl[onnx]'"


def export_run(
    run_dir: Path,
    *,
    which: str = "latest",
    out: Path | None = None,
    onnx: bool = False,
    xml_file: str | None = None,
) -> list[Path]:
    """Write the policy of a run's checkpoint; returns the files.

    Args:
        which: "latest", "best" or "step_<n>".
        out: folder to write into; by default `policy/` in the run's.
        onnx: write policy.onnx as well, with input `obs` (batch, O) and output `action` (batch, A).
        xml_file: another MJCF than the task was trained with, to take the control range from.

    Raises:
        RunError: the run or the checkpoint cannot be used, or the ONNX packages are missing.
        OSError: `out` cannot be written.
    """
    settings.keep_mujoco_log_out_of_the_way()
    policy, _ = run_policy(run_dir, which, xml_file=xml_file)
    out = out or run_dir / "policy"
    policy.save(out)
    written = [out / TENSORS, out / INFO]
    if onnx:
        write_onnx(policy, out / ONNX)
        written.append(out / ONNX)
    return written


class _Traced(torch.nn.Module):
    """The policy in the form that torch's exporter follows."""

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self._policy = policy

    def forward(self, obs: Tensor) -> Tensor:
        return self._policy.act(obs)


def write_onnx(policy: Policy, path: Path) -> None:
    """Write `policy` as one ONNX file; its batch size is left open.

    Raises:
        RunError: the ONNX packages are missing.
    """
    # the exporter tells its user about its own internals
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            program = torch.onnx.export(
                _Traced(policy).eval(),
                (torch.zeros(2, policy.obs_size),),
                dynamo=True,
                input_names=["obs"],
                output_names=["action"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                verbose=False,
            )
        except (ImportError, torch.onnx.errors.OnnxExporterError) as error:
            if isinstance(error, ImportError) or isinstance(error.__cause__, ImportError):
                raise RunError(WITHOUT_ONNX) from None
            raise
    assert program is not None
    write_atomically(path, program.model_proto.SerializeToString())
