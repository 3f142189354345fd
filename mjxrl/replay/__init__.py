"""The replay: every transition of every world on the learner's device, each observation stored once."""

from mjxrl.replay.batch import Batch, Indices, Windows
from mjxrl.replay.hindsight import Goals
from mjxrl.replay.ring import Replay, replay_bytes

__all__ = ["Batch", "Goals", "Indices", "Replay", "Windows", "replay_bytes"]
