"""The replay: every transition of every world on the learner's device, each observation stored once."""

from mjxrl.replay.ring import Batch, Indices, Replay, Windows, replay_bytes

__all__ = ["Batch", "Indices", "Replay", "Windows", "replay_bytes"]
