"""Alarms: what goes wrong in a run, seen from its rows of metrics, and what to try.

Every alarm is a pure function of rows as metrics.csv holds them, the newest last. A row that raises one gets a column
`alarm/<name>`; the terminal tells it when it begins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from mjxrl.config import Config

Row = Mapping[str, float]
Alarm = Callable[[Sequence[Row], Config], str | None]

SCALE = "learner/reward_scale"  # what rewards were multiplied with, if at all
IN_A_ROW = 3  # rows that must agree before an alarm is raised
BEYOND = 2.0  # Q may exceed what the rewards allow by this factor
NEGLIGIBLE = 1.0  # new critics say some hundredths before a first reward is seen
COLLAPSED, EARLY = 1e-3, 0.1  # a temperature of this share of the first one, in this share of the run
SATURATED = 0.9  # share of the policy's actions at their limits
SETTLED = 10  # log lines, before which returns grow severalfold from one to the next, as the policy learns
JUMPED = 0.55  # of the scale of rewards a few rows ago: an explosion halves it (networks/statistics.py)
AT_THE_END = 0.9  # of the range of a categorical critic
FAR_BELOW = 0.5  # share of the best evaluation, or of its gain over the first one, that may be lost


def q_diverges(rows: Sequence[Row], config: Config) -> str | None:
    """Target values exceed those of the largest reward, and of the entropy bonus, coming at every step for ever."""
    # the largest bound so far: where rewards are rare, few batches hold one
    largest = max((_bound(row) for row in rows if "learner/q_bound" in row), default=0.0)

    def beyond(row: Row) -> bool:
        entropy = abs(row.get("learner/temperature", 0.0) * row.get("learner/entropy", 0.0))
        allowed = largest * row.get(SCALE, 1.0) + entropy / max(1 - config.learner.gamma, 1e-6)
        found = max(row["learner/target_q_max"], abs(row["learner/target_q"]))
        return not found <= max(BEYOND * allowed, NEGLIGIBLE)  # NaN is beyond

    newest = _newest(rows, "learner/target_q", "learner/target_q_max", "learner/q_bound")
    if len(newest) < IN_A_ROW or not all(map(beyond, newest)):
        return None
    allowed = largest * newest[-1].get(SCALE, 1.0)
    return (
        f"Q diverges: targets reach {newest[-1]['learner/target_q_max']:.3g}, rewards allow {allowed:.3g}. "
        "Try --learner.critic-norm layer, a smaller --learner.tau or --learner.critic-lr, fewer "
        "--learner.updates-per-step, or --learner.scale-rewards with --learner.critic categorical"
    )


def temperature_collapses(rows: Sequence[Row], config: Config) -> str | None:
    """SAC's temperature is all but gone while the run is young."""
    newest = _newest(rows, "learner/temperature")
    first = config.sac.init_temperature
    if len(newest) < IN_A_ROW or newest[-1]["step"] > EARLY * config.total_steps:
        return None
    if any(row["learner/temperature"] > COLLAPSED * first for row in newest):
        return None
    return (
        f"the temperature collapsed from {first:g} to {newest[-1]['learner/temperature']:.2g} early in the run: the "
        "policy no longer explores. Try a higher --sac.target-entropy, a smaller --sac.temperature-lr, or "
        "--learner.scale-rewards where rewards are tiny"
    )


def actions_saturate(rows: Sequence[Row], config: Config) -> str | None:
    """Nearly all of the policy's actions are at their limits, where tanh passes no gradient."""
    newest = _newest(rows, "learner/action_saturation")
    if len(newest) < IN_A_ROW or any(row["learner/action_saturation"] < SATURATED for row in newest):
        return None
    advice = "a smaller --sac.init-temperature" if config.algo == "sac" else "a smaller --learner.actor-lr"
    return (
        f"actions saturate: {newest[-1]['learner/action_saturation']:.0%} of them are at their limits. "
        f"Try --learner.normalize-obs, --learner.scale-rewards, {advice}, or a task reward that prices control"
    )


def evaluation_stalls(rows: Sequence[Row], config: Config) -> str | None:
    """Evaluations stay far below the best of them: most of what was learned is lost."""
    returns = [row["eval/return"] for row in rows if "eval/return" in row]
    if len(returns) <= IN_A_ROW:
        return None
    best = max(returns)
    learned = max(best - returns[0], abs(best))
    if best - max(returns[-IN_A_ROW:]) <= FAR_BELOW * learned:
        return None
    average = "" if config.learner.policy_average else "--learner.policy-average 0.002, "
    return (
        f"evaluation stalls at {returns[-1]:.1f}, far below its best of {best:.1f} (checkpoints/best). Try {average}"
        "a smaller --learner.actor-lr or --learner.tau, --learner.lr-schedule linear, a larger --replay.capacity, "
        "or --learner.critic-norm layer"
    )


def reward_scale_jumps(rows: Sequence[Row], config: Config) -> str | None:
    """Returns became so much larger at once that all earlier rewards count half as much."""
    scales = [row[SCALE] for row in _newest(rows, SCALE)]
    if not scales or scales[-1] >= JUMPED * max(scales) or rows[-1]["step"] <= SETTLED * config.log.every:
        return None
    return (
        f"the scale of rewards jumped from {max(scales):.3g} to {scales[-1]:.3g}: a return far larger than all before. "
        "If it was an explosion of the simulation, the scale recovers as the replay forgets it; --on-nan raise and a "
        "smaller time step tell more. If not, --learner.no-scale-rewards or a task reward without spikes"
    )


def values_reach_the_end(rows: Sequence[Row], config: Config) -> str | None:
    """A categorical critic's targets are cut off at the ends of its range."""
    if config.learner.critic != "categorical" or config.learner.scale_rewards:
        return None
    newest, limit = _newest(rows, "learner/target_q", "learner/target_q_max"), config.learner.value_range
    found = [max(abs(row["learner/target_q"]), row["learner/target_q_max"]) for row in newest]
    if len(found) < IN_A_ROW or min(found) < AT_THE_END * limit:
        return None
    return (
        f"values reach {found[-1]:.3g}, where the categorical critic ends at {limit:g}: larger returns are cut off. "
        "Try --learner.scale-rewards, or a larger --learner.value-range"
    )


def contacts_are_lost(rows: Sequence[Row], config: Config) -> str | None:
    """Worlds had no room for another contact since the last line."""
    lost = rows[-1].get("train/overflows", 0.0) if rows else 0.0
    if not lost:
        return None
    return (
        f"in {lost:,.0f} steps of worlds the room for contacts was full, and some may be lost. "
        "Try a larger --physics.max-contacts, or --backend native, which makes room as it needs it"
    )


ALARMS: dict[str, Alarm] = {
    "q_diverges": q_diverges,
    "temperature_collapses": temperature_collapses,
    "actions_saturate": actions_saturate,
    "evaluation_stalls": evaluation_stalls,
    "reward_scale_jumps": reward_scale_jumps,
    "values_reach_the_end": values_reach_the_end,
    "contacts_are_lost": contacts_are_lost,
}


def alarms(rows: Sequence[Row], config: Config) -> dict[str, str]:
    """The alarms that `rows` raise, by name, with what to tell the user."""
    found = {name: alarm(rows, config) for name, alarm in ALARMS.items()}
    return {name: text for name, text in found.items() if text is not None}


class AlarmBell:
    """Looks at each new row of a run, and rings once for each alarm that begins.

    Args:
        config: of the run.
        rows: its rows so far, as metrics.csv has them: a resumed run sees what an uninterrupted one sees.
    """

    def __init__(self, config: Config, rows: Sequence[Row] = ()) -> None:
        self._config, self._rows = config, _told_by(list(rows))

    def columns(self, step: int, row: Row, say: Callable[[str], object]) -> dict[str, float]:
        """The columns that `row`, of this step, gets for the alarms it raises; tells those that begin by `say`."""
        before = self._rows[-1] if self._rows else {}
        found = alarms([*self._rows, {"step": step, **row}], self._config)  # of few rows, however long the run
        for name, text in found.items():
            if f"alarm/{name}" not in before:
                say(f"alarm: {text}")
        columns = {f"alarm/{name}": 1.0 for name in found}
        self._rows = _told_by([*self._rows, {"step": step, **row, **columns}])
        return columns


def _told_by(rows: Sequence[Row]) -> list[Row]:
    """The rows that alarms look at: the newest few of each kind, and of all before the extremes, in order."""
    kept = {len(rows) - 1: rows[-1]} if rows else {}
    for column in ("eval/return", SCALE, "learner/target_q", "learner/temperature", "learner/action_saturation"):
        kept |= dict([(i, row) for i, row in enumerate(rows) if column in row][-IN_A_ROW:])
    evaluated = [(i, row) for i, row in enumerate(rows) if "eval/return" in row]
    if evaluated:
        kept |= dict([evaluated[0], max(evaluated, key=lambda pair: pair[1]["eval/return"])])
    bounded = [(i, row) for i, row in enumerate(rows) if "learner/q_bound" in row]
    if bounded:
        kept |= dict([max(bounded, key=lambda pair: _bound(pair[1]))])
    return [kept[i] for i in sorted(kept)]


def _bound(row: Row) -> float:
    """What the rewards of a row allow Q to be, in units of reward, whose scale changes."""
    return row["learner/q_bound"] / row.get(SCALE, 1.0)


def _newest(rows: Sequence[Row], *columns: str) -> list[Row]:
    """The last few rows that have these columns."""
    return [row for row in rows if all(column in row for column in columns)][-IN_A_ROW:]
