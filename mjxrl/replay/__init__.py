"""The replay: every transition of every world on the learner's device, each observation stored once."""

from mjxrl.replay.batch import Batch, Indices, Windows
from mjxrl.replay.layout import replay_bytes
from mjxrl.replay.ring import Replay

__all__ = ["Batch", "Indices", "Replay", "Windows", "replay_bytes"]
