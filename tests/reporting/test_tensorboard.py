from __future__ import annotations

import errno
import threading
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.tensorflow_stub.io.gfile import LocalFileSystem
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout  # type: ignore[attr-defined] (made at run time)
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData  # type: ignore[attr-defined]

from mjxrl.errors import SavingError
from mjxrl.reporting.metrics import MetricsLogger
from tests.helpers.logs import logged


def read(run_dir: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(run_dir)).Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_it_reads_what_was_logged(tmp_path: Path) -> None:
    logged(tmp_path, (10, {"a": 0.5, "b": 1}), (20, {"a": 0.25}))
    assert read(tmp_path) == {"a": [(10, 0.5), (20, 0.25)], "b": [(10, 1.0)]}


def test_what_a_resumed_run_does_again_replaces_what_was_lost(tmp_path: Path) -> None:
    logged(tmp_path, (10, {"a": 1}), (20, {"a": 2}))
    logged(tmp_path, (20, {"a": 3}), resume_step=10)
    assert read(tmp_path) == {"a": [(10, 1.0), (20, 3.0)]}


def test_charts_and_options_stand_beside_the_numbers(tmp_path: Path) -> None:
    options = {"algo": "td3", "learner": {"gamma": 0.99, "layer_norm": True, "actor_hidden": [64, 64], "bound": None}}
    with MetricsLogger(tmp_path, total_steps=100, options=options) as logger:
        logger.log(10, {"eval/return": 1})
        logger.finish(10, {"trained": {"mean_return": 2.5, "returns": [2, 3], "where": "native", "success": None}})
    events = EventAccumulator(str(tmp_path)).Reload()
    layout = Layout.FromString(events.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0])
    assert [category.title for category in layout.category] == ["return", "Q", "temperature", "time"]
    assert list(layout.category[0].chart[0].multiline.tag) == ["train/return", "eval/return"]
    [started] = [
        data
        for content in events.PluginTagToContent("hparams").values()
        if (data := HParamsPluginData.FromString(content).session_start_info).hparams
    ]
    told = {name: value.number_value or value.string_value for name, value in started.hparams.items()}
    assert told == {
        "algo": "td3", "learner.gamma": 0.99, "learner.layer_norm": 1.0, "learner.actor_hidden": "[64, 64]",
        "learner.bound": "None",
    }  # fmt: skip
    assert read(tmp_path) == {"eval/return": [(10, 1.0)], "final/trained/mean_return": [(10, 2.5)]}


def test_a_full_disk_is_one_error_and_no_traceback_of_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hook = threading.excepthook

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def fill_the_disk_and_log() -> None:
        with MetricsLogger(tmp_path, total_steps=100) as logger:
            logger.log(10, {"a": 1})
            monkeypatch.setattr(LocalFileSystem, "append", full)
            logger.log(20, {"a": 2})

    with pytest.raises(SavingError, match="No space left"):
        fill_the_disk_and_log()
    assert threading.excepthook is hook and capsys.readouterr().err == ""
