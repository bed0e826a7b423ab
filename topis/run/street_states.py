"""What was known of the streets, every 30 s of an archive's slice."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from topis.estimation.estimator import Estimator
from topis.estimation.fusion import Fusion
from topis.model.lamp import is_green
from topis.model.state import StreetState
from topis.run.archive_run import ArchiveRun

PERIOD_MS = 30_000


def street_states(
    run: ArchiveRun, progress: Callable[[int], None] = lambda _: None
) -> Iterator[StreetState]:
    """A state at the end of every period (times that 30 s divide).

    ``progress`` is told the time (UTC ms) of each.
    """
    estimator = Estimator(run.network, run.sensors)
    fusion = Fusion(run.network, estimator, run.sensors.probe_period_s)
    while (observation := run.observations.next()) is not None:
        lamps = run.signals.at(observation.time_ms)
        fusion.update(observation, estimator.update(observation, is_green(lamps)), lamps)
        if observation.time_ms % PERIOD_MS == 0:
            progress(observation.time_ms)
            yield fusion.state()
