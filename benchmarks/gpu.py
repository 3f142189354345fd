"""The GPU half of the speed figures, in one command, on a machine that has an NVIDIA GPU; needs no network.

    python benchmarks/gpu.py

runs `scripts/benchmark.py` for each row of `RUNS` and writes benchmarks/results/gpu/<device>-<name>.json, raw repeats
and the device's name included, and for a curve over worlds a .png. What is there already and whole is not measured
again, so that the command can be given in pieces. Exits 1 if something could not be measured; its file says what.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "scripts"))
import _checkout  # type: ignore[import-not-found]  # noqa: E402, F401 (for a checkout that is not installed)

from mjxrl.errors import UnavailableError  # noqa: E402
from mjxrl.machine import devices  # noqa: E402

CURVE = "4096,64,256,1024,16384,32768"  # start-up and sampling are measured for the first
RUNS = {
    "ant-jax-sac": f"--env Ant-v5 --backend jax --algo sac --num-envs {CURVE}",
    "ant-warp-sac": f"--env Ant-v5 --backend warp --algo sac --num-envs {CURVE}",
    "ant-jax-td3": "--env Ant-v5 --backend jax --algo td3 --num-envs 4096 --sections learner,end-to-end,memory",
    "ant-jax-sac-graphs": (
        "--env Ant-v5 --backend jax --algo sac --num-envs 4096 --sections learner,end-to-end --learner.graphs"
    ),
    "cheetah-jax-sac": "--env HalfCheetah-v5 --backend jax --algo sac --num-envs 4096",
    "humanoid-jax-sac": "--env Humanoid-v5 --backend jax --algo sac --num-envs 4096",
    "humanoid-warp-sac": "--env Humanoid-v5 --backend warp --algo sac --num-envs 4096",
}


def main() -> int:
    try:
        device = devices.device_name(devices.resolve_device("cuda"))
    except UnavailableError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    folder = HERE / "results" / "gpu"
    folder.mkdir(parents=True, exist_ok=True)
    failed = 0
    outs = {name: folder / f"{device.replace(' ', '-')}-{name}.json" for name in RUNS}
    for name in sorted(RUNS, key=lambda name: outs[name].exists()):  # what failed before comes after what is missing
        out, flags = outs[name], RUNS[name]
        if out.exists() and not json.loads(out.read_text())["failures"]:
            print(f"is there: {out}")
            continue
        words = [*flags.split(), "--device", "cuda", "--json", str(out)]
        if CURVE in words:
            words += ["--plot", str(out.with_suffix(".png"))]
        print(f"{name}: {flags}", flush=True)
        failed += subprocess.run([sys.executable, HERE.parent / "scripts" / "benchmark.py", *words]).returncode != 0
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
