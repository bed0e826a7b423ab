"""How far ahead a junction looks: until everybody has been served."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import networks
from tests.stream_cases import plain_junction
from topis.control.held import HeldTurns
from topis.control.horizon import shortest_round_s
from topis.control.streams import compile_streams, stream_rates
from topis.model.network import Network


def rounds(network: Network) -> tuple[list[float], list[float]]:
    """(shortest round of each junction, the least of all sets of stages that serve as many)."""
    streams = compile_streams(network, 1.0)
    serves = HeldTurns(network, streams, stream_rates(network, streams)).serves()
    found = shortest_round_s(network.junction_stage_ptr, streams, serves)
    cost_s = streams.min_green_s + (streams.hold_s + streams.lost_s).max(axis=1)
    stages, best = np.diff(network.junction_stage_ptr), []
    for j in range(network.junctions):
        first, last = network.junction_stage_ptr[j : j + 2]
        of = streams.junction == j
        rows = [
            set(np.flatnonzero(of & serves[streams.cell_of(np.minimum(k, stages - 1))]))
            for k in range(last - first)
        ]
        whole = set().union(*rows)
        best.append(min(
            float(cost_s[[first + k for k in some]].sum()) if some else 0.0
            for size in range(len(rows) + 1)
            for some in itertools.combinations(range(len(rows)), size)
            if set().union(*(rows[k] for k in some)) == whole
        ))  # fmt: skip
    return found.tolist(), best


@pytest.mark.parametrize(
    ("stages", "like"),
    [
        (("GGrr", "rrGG"), ("GGrr", "rrGG")),
        # Both through together, or each approach alone: one of the two ways counts.
        (("GrGr", "rGrG", "GGrr", "rrGG"), ("GrGr", "rGrG")),
        # A stage that serves nobody else is no part of a round.
        (("GGrr", "Grrr", "rrGG", "rrrG"), ("GGrr", "rrGG")),
    ],
)
def test_of_two_ways_to_serve_all_one_counts(
    stages: tuple[str, ...], like: tuple[str, ...]
) -> None:
    several = networks.build([plain_junction(*stages), plain_junction(*like)])
    found, _ = rounds(several)
    assert found[0] == found[1] > 0


@settings(max_examples=60, deadline=None)
@given(some=st.lists(networks.junctions(), min_size=1, max_size=3))
def test_a_round_serves_all_and_is_not_much_longer_than_the_shortest(
    some: list[networks.Junction],
) -> None:
    """The greedy cover is at most the harmonic number of the largest set longer."""
    found, best = rounds(networks.build(some))
    for mine, least in zip(found, best, strict=True):
        assert least - 1e-9 <= mine <= least * sum(1 / k for k in range(1, 9)) + 1e-9
