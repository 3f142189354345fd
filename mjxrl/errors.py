"""The errors that become one line for the user; whatever else is raised keeps its traceback."""

from __future__ import annotations


class Refusal(ValueError):  # noqa: N818 (what is refused is the user's to change; nothing broke)
    """Something that was asked for cannot be done; the message is one line that says what is allowed instead."""


class UnavailableError(Refusal):
    """A device or a backend was asked for that this machine lacks."""


class TaskError(Refusal):
    """A task, or its model, cannot be used as it is written."""


class KeywordError(TaskError, TypeError):
    """A task has no such keyword, or none of this value."""


class RunError(Refusal):
    """A run directory, or something in it, cannot be used."""


class CheckpointError(RunError):
    """A checkpoint is missing, damaged or of another task."""


class MisfitError(Refusal):
    """What was saved does not fit the configuration that is to go on from it."""


class MemoryProblem(RunError):  # noqa: N818 (MemoryError is Python's own, for when it is too late)
    """A run does not fit into memory."""


class PolicyError(Refusal):
    """A policy cannot be loaded."""


class SavingError(RuntimeError):
    """The system does not let a run write, as on a full disk."""


class DivergedError(RuntimeError):
    """Most transitions are unusable, or one is and `--on-nan raise` was asked for."""


class DriftError(RuntimeError):
    """The processes of a run no longer hold the same learner."""


class PeerError(RuntimeError):
    """Another process of the run has ended, so this one cannot go on."""
