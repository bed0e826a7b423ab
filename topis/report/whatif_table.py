"""A what-if for people: what would have been, how sure that is, and the model's own error."""

from __future__ import annotations

from topis.report.whatif_result import INCONCLUSIVE, JunctionChange, WhatIf

#: Junctions listed, those with the largest change first.
JUNCTIONS = 10
#: A model that misses the measured queues by more is hardly one of these streets.
POOR_SHARE = 0.5


def format_whatif(result: WhatIf, top: int = JUNCTIONS) -> list[str]:
    """Lines for a terminal; ``top`` junctions, 0: all."""
    a_s, change_s = result.delay_a_s, result.difference_s
    lines = [
        f"{result.controller} instead of what was shown: {_verdict(result)}",
        f"  delay as it was (A)    {a_s:7.1f} s a vehicle, {result.vehicles:,.0f} vehicles",
        f"  under {result.controller + ' (B)':<17}{result.delay_b_s:7.1f} s a vehicle",
        (
            f"  difference B - A       {change_s:+7.1f} s ({result.low_s:+.1f} to "
            f"{result.high_s:+.1f}, 95 %), {result.difference_veh_h:+.1f} veh h in all"
        ),
        (
            f"  model's error on A     {result.error_s:7.1f} s: its queues are off by "
            f"{100 * result.error_share:.0f} % from the measured ones"
        ),
        (
            f"  of the approach lanes {100 * result.counted_share:.0f} % are counted, the traffic "
            f"of others is inferred; where counted it is off by {100 * result.demand_misfit:.1f} %"
        ),
    ]
    if result.error_share > POOR_SHARE:
        lines.append("  the model does not fit these streets: choose other hours or feeds")
    order = sorted(result.junctions, key=lambda j: -abs(j.delay_b_veh_h - j.delay_a_veh_h))
    shown = order if not top else order[:top]
    width = max([8, *(len(j.junction) for j in shown)])
    if shown:
        lines.append(f"{'junction':<{width}}  A veh h  B veh h    B - A  (95 %)")
    lines += [_line(j, width) for j in shown]
    if len(order) > len(shown):
        lines.append(f"and {len(order) - len(shown)} more, in whatif.json")
    return lines


def _line(change: JunctionChange, width: int) -> str:
    return (
        f"{change.junction:<{width}}  {change.delay_a_veh_h:7.2f}  {change.delay_b_veh_h:7.2f}  "
        f"{change.delay_b_veh_h - change.delay_a_veh_h:+7.2f}  "
        f"({change.low_veh_h:+.2f} to {change.high_veh_h:+.2f})"
    )


def _verdict(result: WhatIf) -> str:
    """One clause."""
    if result.verdict != INCONCLUSIVE:
        return f"{result.verdict} by {abs(result.difference_s):.1f} s a vehicle"
    if abs(result.difference_s) < result.error_s:
        return "inconclusive, the difference is less than the model's own error"
    return "inconclusive, the interval holds no difference as well"
