"""The loop: observe, estimate, decide, guard, act, record. The same for every clock."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from topis.clock import stopwatch_s
from topis.control.protocol import Controller
from topis.errors import SafetyError
from topis.estimation.estimator import Estimator
from topis.model.lamp import is_green
from topis.model.network import Network
from topis.run.ports import Actuator, Clock, Recorder, Source
from topis.safety.guard import Guard


@dataclass
class LoopTimes:
    """Seconds spent in each part of the loop, over the run."""

    observe_s: float = 0.0
    estimate_s: float = 0.0
    decide_s: float = 0.0
    guard_s: float = 0.0
    act_s: float = 0.0
    record_s: float = 0.0
    ticks: int = 0
    interrupted: bool = field(default=False)

    @property
    def engine_s(self) -> float:
        """All parts but waiting for the next observation."""
        return self.estimate_s + self.decide_s + self.guard_s + self.act_s + self.record_s


def run_loop(
    network: Network,
    source: Source,
    estimator: Estimator,
    controller: Controller,
    actuator: Actuator,
    recorder: Recorder,
    clock: Clock,
) -> LoopTimes:
    """Run until the source ends or the clock says stop."""
    times = LoopTimes()
    guard: Guard | None = None
    shown = np.full(network.groups, 255, dtype=np.uint8)
    was_local = np.ones(network.junctions, dtype=bool)
    while True:
        t0 = stopwatch_s()
        observation = source.next()
        if observation is None:
            break
        now_ms = observation.time_ms
        if guard is None:
            guard = Guard(network, now_ms)
        local_lamps = actuator.changed_lamps(guard.local)
        for junction, lamps in local_lamps:
            guard.observe_local(junction, lamps, now_ms)
        t1 = stopwatch_s()
        signals = guard.state()
        state = estimator.update(observation, is_green(signals.group_code))
        t2 = stopwatch_s()
        commands = controller.decide(state, signals)
        if commands.time_ms != now_ms:
            # The guard's timers run on this time: a controller must not bring its own.
            raise SafetyError(f"commands for {commands.time_ms} ms at {now_ms} ms")
        t3 = stopwatch_s()
        refusals = guard.step(commands)
        t4 = stopwatch_s()
        _act(network, guard, actuator, shown, was_local)
        t5 = stopwatch_s()
        recorder.record(observation, local_lamps, commands, refusals, guard.state())
        t6 = stopwatch_s()
        times.observe_s += t1 - t0
        times.estimate_s += t2 - t1
        times.decide_s += t3 - t2
        times.guard_s += t4 - t3
        times.act_s += t5 - t4
        times.record_s += t6 - t5
        times.ticks += 1
        if not clock.tick(now_ms):
            times.interrupted = True
            break
    return times


def _act(
    network: Network,
    guard: Guard,
    actuator: Actuator,
    shown: np.ndarray[tuple[int], np.dtype[np.uint8]],
    was_local: np.ndarray[tuple[int], np.dtype[np.bool_]],
) -> None:
    """Carry out what changed since the last tick."""
    local = guard.local
    changed = guard.group_code != shown
    owner = network.group_junction
    touched = np.zeros(network.junctions, dtype=bool)
    touched[owner[changed]] = True
    touched |= was_local & ~local
    for junction in np.flatnonzero(touched & ~local):
        first, last = network.junction_group_ptr[junction : junction + 2]
        actuator.show(int(junction), guard.group_code[first:last])
    shown[:] = guard.group_code
    was_local[:] = local
