"""What only two GPUs can show: sums over NCCL are those of gloo, may be captured, and leave cleanly. No machine of ours
has had two; until these have passed, graphs are refused under torchrun."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs"),
]

WORKER = """
import json, pathlib, sys, torch
from mjxrl.machine import torchrun
torchrun.take_own_gpu()
from mjxrl.machine.ranks import joined

def each(rank):
    return torch.randn(3_000_000, generator=torch.Generator().manual_seed(rank))

with joined() as ranks:
    gloo = ranks.sum(each(ranks.rank))  # on the hosts, before NCCL is there
    ranks.connect("cuda")
    mine = each(ranks.rank).cuda()
    eager = ranks.sum(mine.clone())
    torch.cuda.synchronize()
    buffer, graph = mine.clone(), torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        ranks.sum(buffer)
    buffer.copy_(mine)
    graph.replay()
    torch.cuda.synchronize()
    found = {"eager": float((eager.cpu() - gloo).abs().max()), "captured": float((buffer - eager).abs().max())}
    pathlib.Path(sys.argv[1], f"{ranks.rank}.json").write_text(json.dumps(found))
    del graph  # before the group: from NCCL 2.26 on the exit hangs otherwise
"""


def test_nccl_sums_as_gloo_does_also_captured_and_the_processes_end(tmp_path: Path) -> None:
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run([*launcher, str(script), str(tmp_path)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for rank in range(2):
        found = json.loads((tmp_path / f"{rank}.json").read_text())
        assert found["eager"] < 1e-5 and found["captured"] == 0.0
