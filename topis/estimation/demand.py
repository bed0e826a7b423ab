"""Who came from where in a time that was watched: traffic at the ends of the streets, and turns.

Counts at stop lines are what is known. Wanted are the vehicles that come in at the open ends and
how they turn, so that as many as were counted reach every counted road. Both start from what is
usual and are scaled, again and again, by counted over expected: at the roads they lead to
(multiplicative, so that what was nought stays so; Deming and Stephan 1940, Ann. Math. Stat. 11).
Between the parts of a road vehicles stay in their lanes, as in `topis._core.street_queues`.
What turns cannot explain comes from within: out of side streets that the network does not have.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from topis.model.network import NOT_MOTOR, Network

F8 = NDArray[np.float64]
#: Rounds of scaling; each goes half of the way.
ROUNDS, HALF = 400, 0.5
#: Sweeps over the network: at first, and in each round; they end when no flow changes by more.
WHOLE_SWEEPS, SWEEPS, SETTLED_VEH = 300, 4, 1e-3
#: Roads that are looked ahead for a count.
LOOK_AHEAD = 6
#: No round scales by more than this.
MOST_SCALE = 2.0
#: Of a road that is not counted, so much of what the mean counted one brings comes in at first.
SMALL_STREET = 0.3
#: Who was counted beyond what turns explain comes out of side streets, from this share on and from
#: so many standard deviations (of a count) on.
LEAST_GAP, GAP_SD = 0.05, 2.0
#: No bin is shorter than a cycle or two (s).
BIN_S = 300
_LEAST_VEH = 1e-6


@dataclass(frozen=True)
class Demand:
    """Traffic to drive a queue model with.

    ``entry_veh`` float64[bins, links]: vehicles that come in from outside onto each link in bins of
    ``bin_s`` from ``begin_ms`` on, by when they would reach its end freely; ``chance``
    float64[connections] that one on a link leaves it there. ``misfit``: mean share by which the
    counted roads differ from what these two say; ``counted_share`` of the roads with signals.
    """

    begin_ms: int
    bin_s: int
    entry_veh: F8
    chance: F8
    misfit: float
    counted_share: float


def fit_demand(
    network: Network,
    usual_chance: F8,
    arrived_veh: F8,
    place: NDArray[np.intp],
    begin_ms: int,
    bin_s: int = BIN_S,
) -> Demand:
    """Traffic that explains what was counted.

    ``usual_chance`` float64[connections]: of who comes onto a link, the share that leaves by each;
    ``arrived_veh`` float64[bins, places]: who came to each stop line, or to several that are
    counted together, in bins of ``bin_s`` from ``begin_ms`` on; ``place`` int[approach lanes]:
    where each lane was counted, -1: nowhere.
    """
    fit = _Fit(network, usual_chance, place, arrived_veh.shape[1])
    total = arrived_veh.sum(axis=0)[None, :]
    entry = fit.first_guess(total)
    flow = fit.flow(entry, None, WHOLE_SWEEPS)
    # Once more, if there were side streets to be let in.
    for _ in range(2):
        for _ in range(ROUNDS):
            by_place, by_link = fit.ratios(flow, total)
            entry = entry * by_link**HALF
            fit.turn(by_place[0])
            flow = fit.flow(entry, flow, SWEEPS)
        if not fit.side_streets(entry, flow, total):
            break
    whole = entry[0]
    entry = arrived_veh.sum(axis=1, keepdims=True) / max(total.sum(), _LEAST_VEH) * whole
    flow = fit.flow(entry, None, WHOLE_SWEEPS)
    for _ in range(ROUNDS // 4):
        _, by_link = fit.ratios(flow, arrived_veh)
        entry = entry * by_link**HALF
        flow = fit.flow(entry, flow, SWEEPS)
    # Together the bins are what the whole time asks for.
    entry = entry * (whole / np.maximum(entry.sum(axis=0), _LEAST_VEH))
    expected = fit.at_places(fit.flow(whole[None, :], None, WHOLE_SWEEPS))
    return Demand(
        begin_ms,
        bin_s,
        entry,
        fit.chance,
        misfit=float(np.abs(expected - total).sum() / max(total.sum(), 1.0)),
        counted_share=float((place >= 0).mean()) if len(place) else 0.0,
    )


class _Fit:
    """Chances [connections] on their way to the counts; flows are float64[bins, connections]."""

    def __init__(self, network: Network, chance: F8, place: NDArray[np.intp], places: int) -> None:
        self.network, self.chance, self.places = network, chance.copy(), places
        self._from_lane, self._to_lane = network.conn_from_lane, network.conn_to_lane
        self._from_link = network.lane_link[network.conn_from_lane]
        self._to_link = network.lane_link[network.conn_to_lane]
        of_lane = np.full(network.lanes, -1, dtype=np.intp)
        of_lane[network.approach_lanes] = place
        self._place = of_lane[network.conn_from_lane]
        self._told = self._place >= 0
        out = np.bincount(self._from_lane, chance, minlength=network.lanes)
        # Who comes over no signal stays in his lane, if anyone goes on from there.
        self._stays = (network.conn_group < 0) & (out[self._to_lane] > 0.0)
        link_out = np.bincount(self._from_link, chance, minlength=network.links)
        self._ends = link_out <= 0.0
        into = np.bincount(self._to_link, chance > 0.0, minlength=network.links)
        motor = np.bincount(network.lane_link, network.lane_use != NOT_MOTOR, network.links)
        self._open = (into <= 0.0) & ~self._ends & (motor > 0)
        told = np.bincount(self._from_link, chance * self._told, minlength=network.links)
        #: Links all of whose traffic is counted.
        self._known = told >= 1.0 - 1e-6

    def first_guess(self, total: F8) -> F8:
        """What comes in at the open ends, float64[1, links]."""
        of_link = self._at_links(self._spread(total))[0]
        known = self._known & (of_link > 0.0)
        small = SMALL_STREET * of_link[known].mean() if known.any() else 0.0
        return np.where(self._open, np.where(known, of_link, small), 0.0)[None, :]

    def _spread(self, total: F8) -> F8:
        """Counts by connection, as the chances have it."""
        of_place = np.bincount(
            self._place[self._told], self.chance[self._told], minlength=self.places
        )
        part = np.where(self._told, self.chance / np.maximum(of_place[self._place], 1e-12), 0.0)
        return np.asarray(np.where(self._told, total[:, self._place] * part, 0.0))

    def flow(self, entry: F8, before: F8 | None, sweeps: int) -> F8:
        """Traffic of every connection for these entries, from that of a similar case."""
        network = self.network
        of_lane = np.bincount(self._from_lane, self.chance, minlength=network.lanes)
        in_lane = self.chance / np.maximum(of_lane[self._from_lane], 1e-12)
        flow = np.zeros((len(entry), len(self.chance))) if before is None else before
        for _ in range(sweeps):
            free = entry + _sums(self._to_link, flow * ~self._stays, network.links)
            kept = _sums(self._to_lane, flow * self._stays, network.lanes)
            fresh = free[:, self._from_link] * self.chance + kept[:, self._from_lane] * in_lane
            done = np.abs(fresh - flow).max(initial=0.0) < SETTLED_VEH
            flow = fresh
            if done:
                break
        return flow

    def at_places(self, flow: F8) -> F8:
        """Traffic where it is counted, float64[bins, places]."""
        return _sums(self._place[self._told], flow[:, self._told], self.places)

    def _at_links(self, flow: F8) -> F8:
        return _sums(self._from_link, flow, self.network.links)

    def ratios(self, flow: F8, total: F8) -> tuple[F8, F8]:
        """Counted over expected of each place, and what a link asks of those who come onto it.

        float64[bins, places], float64[bins, links]; a link that is not counted asks for what
        those after it do.
        """
        network = self.network
        ratio = (total + 0.5) / (self.at_places(flow) + 0.5)
        ratio = np.clip(ratio, 1.0 / MOST_SCALE, MOST_SCALE)
        self._ahead = np.ones_like(flow)
        of_lane = np.bincount(self._from_lane, self.chance, minlength=network.lanes)
        in_lane = self.chance / np.maximum(of_lane[self._from_lane], 1e-12)
        link = np.ones((len(flow), network.links))
        for _ in range(LOOK_AHEAD):
            here = np.where(self._told, ratio[:, self._place], self._ahead)
            lane = _sums(self._from_lane, here * in_lane, network.lanes)
            link = np.where(
                self._ends, 1.0, _sums(self._from_link, here * self.chance, network.links)
            )
            self._ahead = np.where(self._stays, lane[:, self._to_lane], link[:, self._to_link])
        return ratio, link

    def turn(self, ratio: F8) -> None:
        """A round of the chances, after `ratios`."""
        own = np.where(self._told, ratio[self._place], 1.0)
        chance = self.chance * (own * self._ahead[0]) ** HALF
        total = np.bincount(self._from_link, chance, minlength=self.network.links)
        self.chance = chance / np.where(total > 0.0, total, 1.0)[self._from_link]

    def side_streets(self, entry: F8, flow: F8, total: F8) -> bool:
        """Let in on counted links what comes from nowhere; whether there was any."""
        counted = self._at_links(self._spread(total))[0]
        gap = counted - self._at_links(flow)[0]
        least = np.maximum(LEAST_GAP * counted, GAP_SD * np.sqrt(np.maximum(counted, 1.0)))
        opened = self._known & (gap > least)
        entry[0] += np.where(opened, gap, 0.0)
        return bool(opened.any())


def _sums(index: NDArray[np.integer], values: F8, size: int) -> F8:
    """Values [bins, n] summed by index, float64[bins, size]."""
    bins = len(values)
    at = (size * np.arange(bins)[:, None] + index).ravel()
    summed = np.bincount(at, values.ravel(), minlength=bins * size)
    return summed.astype(np.float64).reshape(bins, size)
