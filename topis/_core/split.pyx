"""Green splits of least delay for a given cycle, junction by junction.

Starting from minimum greens, every further second goes to the stage where it saves most
delay, by the HCM delay formula. Delay falls less and less with green, so the greedy way
is close to the optimum, and it needs no case for shared or twice-served lanes.
"""

from cython.parallel cimport prange
from libc.math cimport sqrt

cdef enum:
    # Fewer junctions than this are not worth a second thread.
    FEW = 64
    # Costs are kept for junctions of no more pairs of stage and lane.
    MOST_PAIRS = 256

#: HCM 6th ed., eq. 19-26: analysis period (h) and incremental delay factor.
cdef double PERIOD_H = 0.25
cdef double INCREMENTAL_K = 0.5
#: Green lost at start less yellow used at the end (s).
cdef double LOST_AT_START_S = 1.0
cdef double INFEASIBLE = 1e30


cdef inline double delay_rate(
    double flow_vps, double sat_vps, double green_s, double cycle_s
) noexcept nogil:
    """Vehicle-seconds of delay per second on one lane (HCM uniform plus incremental)."""
    cdef double share, capacity_vph, x, uniform_s, excess, random_s
    if flow_vps <= 0.0:
        return 0.0
    share = min(max(green_s, 0.05) / cycle_s, 1.0)
    capacity_vph = 3600.0 * sat_vps * share
    x = 3600.0 * flow_vps / capacity_vph
    uniform_s = 0.5 * cycle_s * (1.0 - share) ** 2 / max(1.0 - min(1.0, x) * share, 1e-6)
    excess = x - 1.0
    random_s = 900.0 * PERIOD_H * (
        excess + sqrt(excess * excess + 8.0 * INCREMENTAL_K * x / (capacity_vph * PERIOD_H))
    )
    return flow_vps * (uniform_s + random_s)


cdef inline double effective(double green_s) noexcept nogil:
    return max(green_s - LOST_AT_START_S, 0.0)


cdef double gain(
    int stage, double step_s, double cycle_s, const int[::1] pair_ptr,
    const int[::1] pair_lane, const float[::1] pair_rate, const float[::1] flow_vps,
    const float[::1] sat_vps, const double[::1] lane_green_s, double stage_green_s,
) noexcept nogil:
    """Delay saved (vehicle-seconds per second) by giving a stage one step more green."""
    cdef int k, lane
    cdef double more = effective(stage_green_s + step_s) - effective(stage_green_s)
    cdef double saved = 0.0
    for k in range(pair_ptr[stage], pair_ptr[stage + 1]):
        lane = pair_lane[k]
        saved += delay_rate(flow_vps[lane], sat_vps[lane], lane_green_s[lane], cycle_s)
        saved -= delay_rate(
            flow_vps[lane], sat_vps[lane], lane_green_s[lane] + pair_rate[k] * more, cycle_s
        )
    return saved


def split_greens(
    const int[::1] junction_stage_ptr,    # IN
    const double[::1] cycle_s,            # IN  [junctions]
    const double[::1] lost_s,             # IN  [junctions] intergreens of the whole cycle
    const double[::1] min_green_s,        # IN  [stages]
    const int[::1] pair_ptr,              # IN  [stages + 1] lanes served by each stage
    const int[::1] pair_lane,             # IN
    const float[::1] pair_rate,           # IN
    const float[::1] flow_vps,            # IN  [lanes]
    const float[::1] sat_vps,             # IN  [lanes]
    double step_s,                        # IN
    double[::1] lane_green_s,             # OUT [lanes] effective green of each served lane
    double[::1] green_s,                  # OUT [stages]
    double[::1] delay,                    # OUT [junctions] vehicle-seconds per second
    int threads=1,                        # IN
):
    """Greens of least HCM delay; ``delay`` is 1e30 where the minimum greens do not fit."""
    cdef int junction, junctions = junction_stage_ptr.shape[0] - 1
    cdef int team = threads if junctions >= FEW else 1
    with nogil:
        for junction in prange(junctions, schedule="dynamic", chunksize=8, num_threads=team):
            delay[junction] = split(
                junction_stage_ptr[junction], junction_stage_ptr[junction + 1], cycle_s[junction],
                cycle_s[junction] - lost_s[junction], min_green_s, pair_ptr, pair_lane, pair_rate,
                flow_vps, sat_vps, step_s, lane_green_s, green_s,
            )


cdef double split(
    int first, int last, double cycle_s, double left, const double[::1] min_green_s,
    const int[::1] pair_ptr, const int[::1] pair_lane, const float[::1] pair_rate,
    const float[::1] flow_vps, const float[::1] sat_vps, double step_s,
    double[::1] lane_green_s, double[::1] green_s,
) noexcept nogil:
    cdef int stage, k, lane, best, first_pair = pair_ptr[first]
    cdef double most, more, saved, known_more = 0.0, delay = 0.0
    # What each pair's lane costs now, and after a step more green; kept while nothing changes.
    cdef double[MOST_PAIRS] now
    cdef double[MOST_PAIRS] after
    cdef bint kept = pair_ptr[last] - first_pair <= MOST_PAIRS
    for stage in range(first, last):
        for k in range(pair_ptr[stage], pair_ptr[stage + 1]):
            lane_green_s[pair_lane[k]] = 0.0
    for stage in range(first, last):
        green_s[stage] = min_green_s[stage]
        left -= green_s[stage]
        for k in range(pair_ptr[stage], pair_ptr[stage + 1]):
            lane_green_s[pair_lane[k]] += pair_rate[k] * effective(green_s[stage])
    if left < -1e-9:
        return INFEASIBLE
    while left > 1e-9:
        more = min(step_s, left)
        if kept and more != known_more:
            known_more = more
            for stage in range(first, last):
                price(
                    first, last, stage, more, cycle_s, pair_ptr, pair_lane, pair_rate, flow_vps,
                    sat_vps, lane_green_s, green_s, now, after,
                )
        best = first
        most = -1.0
        for stage in range(first, last):
            if kept:
                saved = 0.0
                for k in range(pair_ptr[stage] - first_pair, pair_ptr[stage + 1] - first_pair):
                    saved += now[k]
                    saved -= after[k]
            else:
                saved = gain(
                    stage, more, cycle_s, pair_ptr, pair_lane, pair_rate, flow_vps, sat_vps,
                    lane_green_s, green_s[stage],
                )
            if saved > most:
                most = saved
                best = stage
        for k in range(pair_ptr[best], pair_ptr[best + 1]):
            lane_green_s[pair_lane[k]] += pair_rate[k] * (
                effective(green_s[best] + more) - effective(green_s[best])
            )
        green_s[best] += more
        left -= more
        if kept:
            price(
                first, last, best, more, cycle_s, pair_ptr, pair_lane, pair_rate, flow_vps,
                sat_vps, lane_green_s, green_s, now, after,
            )
    for stage in range(first, last):
        for k in range(pair_ptr[stage], pair_ptr[stage + 1]):
            lane = pair_lane[k]
            # A lane served twice is counted once: at its first stage.
            if served_before(first, stage, lane, pair_ptr, pair_lane):
                continue
            delay += delay_rate(flow_vps[lane], sat_vps[lane], lane_green_s[lane], cycle_s)
    return delay


cdef void price(
    int first, int last, int changed, double step_s, double cycle_s, const int[::1] pair_ptr,
    const int[::1] pair_lane, const float[::1] pair_rate, const float[::1] flow_vps,
    const float[::1] sat_vps, const double[::1] lane_green_s, const double[::1] green_s,
    double* now, double* after,
) noexcept nogil:
    """Work out anew what the lanes of a stage cost, in all stages that serve them too."""
    cdef int k, m, lane, stage, first_pair = pair_ptr[first]
    cdef double more, cost
    for k in range(pair_ptr[changed], pair_ptr[changed + 1]):
        lane = pair_lane[k]
        cost = delay_rate(flow_vps[lane], sat_vps[lane], lane_green_s[lane], cycle_s)
        for stage in range(first, last):
            more = effective(green_s[stage] + step_s) - effective(green_s[stage])
            for m in range(pair_ptr[stage], pair_ptr[stage + 1]):
                if pair_lane[m] == lane:
                    now[m - first_pair] = cost
                    after[m - first_pair] = delay_rate(
                        flow_vps[lane], sat_vps[lane], lane_green_s[lane] + pair_rate[m] * more,
                        cycle_s,
                    )


cdef bint served_before(
    int first, int stage, int lane, const int[::1] pair_ptr, const int[::1] pair_lane
) noexcept nogil:
    cdef int k
    for k in range(pair_ptr[first], pair_ptr[stage]):
        if pair_lane[k] == lane:
            return True
    return False
