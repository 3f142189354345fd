"""What a run can be told: the options, their defaults by task and preset, and what is wrong with them."""

from mjxrl.config.schema import (
    Algorithm,
    CheckpointConfig,
    Config,
    EvalConfig,
    LearnerConfig,
    LogConfig,
    PhysicsConfig,
    ReplayConfig,
    SacConfig,
    Td3Config,
)

__all__ = [
    "Algorithm",
    "CheckpointConfig",
    "Config",
    "EvalConfig",
    "LearnerConfig",
    "LogConfig",
    "PhysicsConfig",
    "ReplayConfig",
    "SacConfig",
    "Td3Config",
]
