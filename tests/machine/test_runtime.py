from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mjxrl.errors import UnavailableError
from mjxrl.machine import command_buffers, devices, settings, threads, versions

ROOT = Path(__file__).resolve().parents[2]


def python(code: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a fresh process in `cwd`, with none of our settings in the environment."""
    ours = ("JAX_", "XLA_", "MUJOCO_", "TF_", "DISPLAY", "WAYLAND")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env=clean | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


class TestSetUp:
    @pytest.fixture(autouse=True)
    def command_buffers_work(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(command_buffers, "problem", lambda cache: None)

    def test_jax_sees_the_settings(self, tmp_path: Path) -> None:
        code = """
from mjxrl.machine import devices, settings, threads, versions
settings.set_up("cpu", "jax", jax_memory_fraction=0.25)
import jax, os
settings.set_up("cpu", "jax", jax_memory_fraction=0.25)  # again: the same, so nothing is missed
print(jax.config.jax_default_matmul_precision, jax.config.jax_platforms, jax.config.jax_compilation_cache_dir,
      jax.config.jax_persistent_cache_min_compile_time_secs, os.environ["XLA_CLIENT_MEM_FRACTION"])
"""
        done = python(code, tmp_path, XDG_CACHE_HOME=str(tmp_path / "cache"))
        assert done.stderr == ""
        assert done.stdout.split() == ["highest", "cpu", str(tmp_path / "cache/mjxrl/jax"), "0.0", "0.250"]

    def test_too_late_is_an_error_that_says_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "jax", sys)  # stands for an imported jax
        monkeypatch.delenv("JAX_DEFAULT_MATMUL_PRECISION", raising=False)
        before = dict(os.environ)
        with pytest.raises(RuntimeError, match=r"before importing jax.*JAX_DEFAULT_MATMUL_PRECISION=highest"):
            settings.set_up("cpu", "native")
        assert dict(os.environ) == before

    def test_the_users_own_settings_win_except_where_results_depend_on_them(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delitem(sys.modules, "jax", raising=False)
        monkeypatch.setattr(os, "environ", os.environ.copy())
        os.environ |= {"MUJOCO_GL": "osmesa", "JAX_COMPILATION_CACHE_DIR": "/elsewhere"}
        os.environ["JAX_DEFAULT_MATMUL_PRECISION"] = "tensorfloat32"
        settings.set_up("cuda", "jax")
        assert os.environ["MUJOCO_GL"] == "osmesa"
        assert os.environ["JAX_COMPILATION_CACHE_DIR"] == "/elsewhere"
        assert os.environ["JAX_DEFAULT_MATMUL_PRECISION"] == "highest"
        assert os.environ["JAX_PLATFORMS"] == "cuda,cpu"

    def test_native_leaves_the_platform_of_an_imported_jax_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "jax", sys)  # stands for an imported jax
        monkeypatch.setattr(os, "environ", {**os.environ, "JAX_PLATFORMS": "cuda,cpu"})
        settings.set_up("cuda", "native")
        assert os.environ["JAX_PLATFORMS"] == "cuda,cpu"
        with pytest.raises(RuntimeError, match="JAX_PLATFORMS=cpu"):
            settings.set_up("cpu", "jax")

    @pytest.mark.parametrize("name", ["XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION"])
    def test_the_users_share_of_memory_wins_under_either_name(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delitem(sys.modules, "jax", raising=False)
        monkeypatch.setattr(settings, "_set_here", {})
        environ = {key: value for key, value in os.environ.items() if not key.endswith("CLIENT_MEM_FRACTION")}
        monkeypatch.setattr(os, "environ", environ | {name: "0.9"})
        settings.set_up("cuda", "jax", jax_memory_fraction=0.25)
        found = {key: value for key, value in os.environ.items() if key.endswith("CLIENT_MEM_FRACTION")}
        assert found == {name: "0.9"}  # jax refuses to start with both

    def test_on_a_gpu_jax_has_the_card_that_torch_uses_and_loops_in_command_buffers(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delitem(sys.modules, "jax", raising=False)

        def flags_after(device: str, **environment: str) -> tuple[str | None, str | None]:
            with monkeypatch.context() as patch:
                patch.setattr(settings, "_set_here", {})
                ours = ("XLA_FLAGS", "JAX_CUDA_VISIBLE_DEVICES")
                patch.setattr(os, "environ", {k: v for k, v in os.environ.items() if k not in ours} | environment)
                settings.set_up(device, "jax")
                settings.set_up(device, "jax")  # twice: the same
                return os.environ.get("JAX_CUDA_VISIBLE_DEVICES"), os.environ.get("XLA_FLAGS")

        flag, chosen = command_buffers.FLAG, f"{command_buffers.OPTION}=FUSION"
        assert flags_after("cuda") == ("0", flag)
        assert flags_after("cuda", XLA_FLAGS="--xla_a", JAX_CUDA_VISIBLE_DEVICES="1") == ("1", f"--xla_a {flag}")
        assert flags_after("cuda", XLA_FLAGS=chosen) == ("0", chosen)  # the user's
        assert flags_after("cpu") == (None, None)
        monkeypatch.setattr(command_buffers, "problem", lambda cache: "it crashes")
        with pytest.warns(UserWarning, match="with loops run from the host: it crashes"):
            assert flags_after("cuda") == ("0", None)


class TestDevice:
    def test_cuda_never_falls_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(devices, "cuda_problem", lambda: "no NVIDIA driver was found")
        assert devices.resolve_device("auto") == "cpu"
        with pytest.raises(UnavailableError, match=r"^--device cuda: allowed: .*no NVIDIA driver was found$"):
            devices.resolve_device("cuda")

    def test_auto_takes_a_gpu_that_is_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(devices, "cuda_problem", lambda: None)
        assert [devices.resolve_device(d) for d in ("auto", "cuda", "cpu")] == ["cuda", "cuda", "cpu"]

    def test_what_is_missing_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(versions, "installed", lambda *names: "2.13.0+cpu")
        said = devices.cuda_problem() or ""
        assert said.startswith("the installed torch 2.13.0+cpu is a CPU build: pip install ")
        monkeypatch.setattr(versions, "installed", lambda *names: "2.13.0")
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        assert devices.cuda_problem() == "CUDA_VISIBLE_DEVICES hides every GPU"
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
        monkeypatch.setattr(devices, "_cuda_driver", lambda: None)
        assert devices.cuda_problem() == "no NVIDIA driver was found"

    def test_the_probe_agrees_with_torch(self) -> None:
        import torch

        assert (devices.cuda_problem() is None) == torch.cuda.is_available()

    def test_unknown_names_are_refused(self) -> None:
        with pytest.raises(UnavailableError, match="--device gpu: allowed: auto, cpu, cuda"):
            devices.resolve_device("gpu")
        with pytest.raises(UnavailableError, match="--backend warp9: allowed: auto, jax, warp, native"):
            devices.resolve_backend("warp9", "cpu")

    def test_backend_by_device(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(versions, "installed", lambda *names: "0.10.2")
        assert devices.resolve_backend("auto", "cuda")[0] == "jax"
        assert devices.resolve_backend("auto", "cuda", 8)[0] == "native"
        assert devices.resolve_backend("auto", "cpu")[0] == "native"
        assert devices.resolve_backend("jax", "cpu") == ("jax", "as asked")
        assert devices.resolve_backend("native", "cuda") == ("native", "as asked")
        monkeypatch.setattr(versions, "installed", lambda *names: None)
        with pytest.raises(UnavailableError, match="jax has no CUDA plugin"):
            devices.resolve_backend("auto", "cuda")


class TestThreads:
    @given(st.integers(1, 256), st.sampled_from(["jax", "native"]), st.sampled_from(["cpu", "cuda"]))
    def test_each_side_gets_a_thread_and_no_side_more_than_there_are(
        self, cores: int, backend: str, device: str
    ) -> None:
        physics, learner = threads.split_threads(cores, backend, device)
        assert 1 <= physics <= cores
        assert 1 <= learner <= cores
        if backend == "native" and cores >= 4:
            assert physics + learner <= cores

    def test_examples(self) -> None:
        assert threads.split_threads(1, "native", "cpu") == (1, 1)
        assert threads.split_threads(2, "native", "cpu") == (1, 2)
        assert threads.split_threads(8, "native", "cpu") == (2, 6)
        assert threads.split_threads(16, "native", "cuda") == (15, 1)

    @pytest.mark.skipif(sys.platform != "linux", reason="another OpenMP")
    def test_threads_that_wait_soon_sleep_unless_the_user_says_otherwise(self) -> None:
        code = "import mjxrl, os, sys; assert 'torch' not in sys.modules; import torch"
        told = {}
        for name, own in (
            ("ours", {}),
            ("theirs", {"GOMP_SPINCOUNT": "77"}),
            ("policy", {"OMP_WAIT_POLICY": "ACTIVE"}),
        ):
            free = {key: x for key, x in os.environ.items() if key not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
            environment = free | {"OMP_DISPLAY_ENV": "VERBOSE"} | own
            done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            [told[name]] = re.findall(r"GOMP_SPINCOUNT = '(\d+)'", done.stderr)
        assert (told["ours"], told["theirs"]) == (str(threads.SPINS), "77") and int(told["policy"]) > threads.SPINS

    def test_other_processes_at_work_are_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "getloadavg", lambda: (0.2, 9.0, 9.0))
        assert threads.others_at_work(2) is None
        monkeypatch.setattr(os, "getloadavg", lambda: (7.04, 0.0, 0.0))
        line = threads.others_at_work(2)
        assert line is not None and "a load of 7.0" in line and "--learner.threads 1" in line
        assert "--learner.threads" not in (threads.others_at_work(1) or "--learner.threads")

    def test_torch_takes_the_number(self) -> None:
        import torch

        before = torch.get_num_threads()
        try:
            threads.set_torch_threads(1)
            assert torch.get_num_threads() == 1
        finally:
            torch.set_num_threads(before)


def test_mujocos_warnings_go_to_the_run_directory_and_nowhere_else(tmp_path: Path) -> None:
    code = """
import mujoco, pathlib
from mjxrl.machine.settings import mujoco_log_to
pathlib.Path("run").mkdir()
mujoco_log_to(pathlib.Path("run/mujoco.log"))
model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><body><joint name='hinge'/><geom size='1'/></body>"
                                       "</worldbody><actuator><motor joint='hinge'/></actuator></mujoco>")
data = mujoco.MjData(model)
data.ctrl[:] = float("nan")
mujoco.mj_step(model, data)
data.qvel[:] = float("nan")
mujoco.mj_step(model, data)
"""
    done = python(code, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [p.name for p in tmp_path.iterdir()] == ["run"]
    assert "WARNING" in (tmp_path / "run/mujoco.log").read_text()


@pytest.mark.parametrize("home", ["/dev/null/home", ""])
def test_a_user_without_a_home_to_write_to(home: str, tmp_path: Path) -> None:
    """A container's user, or a cluster's read-only home: nothing is cached, warnings go nowhere, all else works."""
    code = """
import mujoco, os
from pathlib import Path
from mjxrl.machine import settings
if not os.environ["HOME"]:  # as for a user that the system does not know
    def home():
        raise RuntimeError("Could not determine home directory.")
    Path.home = home
settings.keep_mujoco_log_out_of_the_way()
settings.set_up("cpu", "jax")
model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><body><joint/><geom size='1'/></body></worldbody></mujoco>")
data = mujoco.MjData(model)
data.qvel[:] = float("nan")
mujoco.mj_step(model, data)
print("JAX_COMPILATION_CACHE_DIR" in os.environ, data.warning[mujoco.mjtWarning.mjWARN_BADQVEL].number)
"""
    done = python(code, tmp_path, HOME=home, XDG_CACHE_HOME="")
    assert (done.returncode, done.stdout, done.stderr) == (0, "False 1\n", "")
    assert list(tmp_path.iterdir()) == []


def test_versions_and_names() -> None:
    found = versions.versions()
    assert {"python", "torch", "jax", "mujoco", "mujoco-mjx", "gymnasium", "numpy"} <= found.keys()
    assert found["mujoco"].startswith("3.17")
    assert devices.device_name("cpu").endswith(("core", "cores"))
    assert 1 <= threads.available_cores() <= (os.cpu_count() or 1)
