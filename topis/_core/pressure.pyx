"""Max-pressure at all junctions: what each stage would discharge, and which is worth the green.

Pressure of a stage: the queues of the lanes it serves, each at the rate it serves it, less where
the road behind is full (Varaiya 2013, Transp. Res. C 36; Gregoire et al. 2015, IEEE TCNS 2). A
stage other than the one shown counts for less by what the change costs (Hsieh et al. 2017).
Queues and rates are float32, sums are in double precision in the order of the arrays.
"""

from cython.parallel cimport prange

cdef enum:
    # Fewer junctions or lanes than this are not worth a second thread.
    FEW = 512
    RED = 0

#: A stage serves a lane, for the longest wait, from this share of its saturation flow on.
cdef float SERVES_FROM = 0.2
#: A queue waits from so many vehicles on.
cdef float ONE_VEH = 1.0
#: The shown stage keeps the green among equals.
cdef double OWN_BONUS_VEH = 1e-6
#: A second of waiting too long outweighs any queue (vehicles).
cdef double OVERDUE_VEH_PER_S = 1e3
cdef double MS_PER_S = 1000.0


def roads_behind(
    const int[::1] conn_ptr,           # IN  [lanes + 1] signalised connections from each lane
    const int[::1] conn_to,            # IN  lane they lead to
    const float[::1] conn_share,       # IN  of the lane's traffic
    const float[::1] storage_veh,      # IN  [lanes]
    const float[::1] queue_veh,        # IN  [lanes]
    float full_share,                  # IN  filled so far, a road takes no more
    int threads,                       # IN
    unsigned char[::1] full,           # OUT [lanes]
    double[::1] free,                  # OUT [lanes] 1 every way on is open, 0 all are full
):
    """How much of the traffic of each lane finds room behind the stop line."""
    cdef int lane, lanes = full.shape[0], team = threads if lanes >= FEW else 1
    with nogil:
        for lane in prange(lanes, schedule="static", num_threads=team):
            full[lane] = queue_veh[lane] / storage_veh[lane] >= full_share
        for lane in prange(lanes, schedule="static", num_threads=team):
            free[lane] = open_share(conn_ptr[lane], conn_ptr[lane + 1], conn_to, conn_share, full)


cdef inline double open_share(
    int first, int last, const int[::1] conn_to, const float[::1] conn_share,
    const unsigned char[::1] full,
) noexcept nogil:
    cdef double closed = 0.0
    cdef int c
    for c in range(first, last):
        if full[conn_to[c]]:
            closed += conn_share[c]
    return 1.0 - closed if closed < 1.0 else 0.0


def count_waits(
    const int[::1] junction_lane_ptr,  # IN  [junctions + 1]
    const int[::1] junction_lane,      # IN  lanes that stages of the junction serve
    const int[::1] pair_ptr,           # IN  [stages + 1] lanes served by each stage
    const int[::1] pair_lane,          # IN
    const float[::1] pair_rate,        # IN  share of saturation flow
    const int[::1] junction_walk_ptr,  # IN  [junctions + 1]
    const int[::1] junction_walk,      # IN  crossings of the junction: groups
    const int[::1] shown,              # IN  [junctions] stage, -1 none
    const int[::1] coming,             # IN  [junctions] stage that a change leads to, -1 none
    const float[::1] queue_veh,        # IN  [lanes]
    const unsigned char[::1] group_code,   # IN  [groups]
    const long long[::1] group_since_ms,   # IN  [groups]
    long long now_ms,                  # IN
    float dt_s,                        # IN  since the last call
    float max_wait_s,                  # IN
    double walk_wait_s,                # IN
    int threads,                       # IN
    float[::1] unserved_s,             # INOUT [lanes] with a queue and not served
    float[::1] lane_late_s,            # OUT [lanes] of which longer than allowed
    double[::1] walk_late_s,           # OUT [groups] red for longer than allowed
    unsigned char[::1] late,           # OUT [junctions] 1 where any of its lanes or crossings is
):
    """How long lanes with a queue and crossings wait; lanes of no junction are not touched."""
    cdef int junction, junctions = late.shape[0], team = threads if junctions >= FEW else 1
    with nogil:
        for junction in prange(junctions, schedule="static", num_threads=team):
            late[junction] = wait_at(
                junction_lane_ptr[junction], junction_lane_ptr[junction + 1], junction_lane,
                pair_ptr, pair_lane, pair_rate, shown[junction] if coming[junction] < 0 else -1,
                queue_veh, dt_s, max_wait_s, unserved_s, lane_late_s,
            ) | walk_at(
                junction_walk_ptr[junction], junction_walk_ptr[junction + 1], junction_walk,
                group_code, group_since_ms, now_ms, walk_wait_s, walk_late_s,
            )


cdef inline unsigned char wait_at(
    int first, int last, const int[::1] junction_lane, const int[::1] pair_ptr,
    const int[::1] pair_lane, const float[::1] pair_rate, int green, const float[::1] queue_veh,
    float dt_s, float max_wait_s, float[::1] unserved_s, float[::1] lane_late_s,
) noexcept nogil:
    cdef int k, lane
    cdef float waited_s, late_s
    cdef unsigned char any_late = 0
    if green >= 0:
        for k in range(pair_ptr[green], pair_ptr[green + 1]):
            if pair_rate[k] >= SERVES_FROM:
                # What is added below comes to nothing.
                unserved_s[pair_lane[k]] = -dt_s
    for k in range(first, last):
        lane = junction_lane[k]
        waited_s = unserved_s[lane] + dt_s if queue_veh[lane] >= ONE_VEH else 0.0
        unserved_s[lane] = waited_s
        late_s = waited_s - max_wait_s
        lane_late_s[lane] = late_s if late_s > 0.0 else 0.0
        any_late |= late_s > 0.0
    return any_late


cdef inline unsigned char walk_at(
    int first, int last, const int[::1] junction_walk, const unsigned char[::1] group_code,
    const long long[::1] group_since_ms, long long now_ms, double walk_wait_s,
    double[::1] walk_late_s,
) noexcept nogil:
    cdef int k, group
    cdef double late_s
    cdef unsigned char any_late = 0
    for k in range(first, last):
        group = junction_walk[k]
        late_s = 0.0
        if group_code[group] == RED:
            late_s = (now_ms - group_since_ms[group]) / MS_PER_S
        late_s = late_s - walk_wait_s
        walk_late_s[group] = late_s if late_s > 0.0 else 0.0
        any_late |= late_s > 0.0
    return any_late


def stage_pressures(
    const int[::1] pair_ptr,           # IN  [stages + 1] lanes served by each stage
    const int[::1] pair_lane,          # IN
    const float[::1] pair_rate,        # IN  share of saturation flow
    const float[::1] vehicles_veh,     # IN  [lanes]
    const double[::1] free,            # IN  [lanes] of `roads_behind`
    int threads,                       # IN
    double[::1] pressure,              # OUT [stages]
):
    """Vehicles each stage could discharge."""
    cdef int stage, stages = pressure.shape[0], team = threads if stages >= FEW else 1
    with nogil:
        for stage in prange(stages, schedule="static", num_threads=team):
            pressure[stage] = pressure_of(
                pair_ptr[stage], pair_ptr[stage + 1], pair_lane, pair_rate, vehicles_veh, free
            )


cdef inline double pressure_of(
    int first, int last, const int[::1] pair_lane, const float[::1] pair_rate,
    const float[::1] vehicles_veh, const double[::1] free,
) noexcept nogil:
    cdef double total = 0.0
    cdef int k, lane
    for k in range(first, last):
        lane = pair_lane[k]
        total += <float>(vehicles_veh[lane] * pair_rate[k]) * free[lane]
    return total


def choose_stages(
    const int[::1] junction_stage_ptr,  # IN  [junctions + 1], each has a stage
    const int[::1] pair_ptr,           # IN  [stages + 1] lanes served by each stage
    const int[::1] pair_lane,          # IN
    const float[::1] pair_rate,        # IN  share of saturation flow
    const int[::1] walk_ptr,           # IN  [stages + 1] crossings green in each stage
    const int[::1] walk_group,         # IN
    const unsigned short[:, ::1] change,  # IN  [stages, most] the change from stage to local stage
    const double[::1] worth,           # IN  [changes] what each leaves of a pressure
    const int[::1] shown,              # IN  [junctions] stage, -1 none
    const float[::1] vehicles_veh,     # IN  [lanes]
    const double[::1] free,            # IN  [lanes] of `roads_behind`
    const float[::1] lane_late_s,      # IN  [lanes] of `count_waits`
    const double[::1] walk_late_s,     # IN  [groups]
    int threads,                       # IN
    unsigned char[::1] late,           # INOUT [junctions] of `count_waits`: 0 where no stage helps
    float[::1] value,                  # OUT [stages] pressure less what a change costs
    int[::1] choice,                   # OUT [junctions] stage
):
    """The stage of most value at each junction, the first of equals; overdue ones before all."""
    cdef int junction, junctions = choice.shape[0], team = threads if junctions >= FEW else 1
    with nogil:
        for junction in prange(junctions, schedule="static", num_threads=team):
            choice[junction] = best_at(
                junction, junction_stage_ptr[junction], junction_stage_ptr[junction + 1],
                pair_ptr, pair_lane, pair_rate, walk_ptr, walk_group, change, worth,
                shown[junction], vehicles_veh, free, lane_late_s, walk_late_s, late, value,
            )


cdef inline int best_at(
    int junction, int first, int last, const int[::1] pair_ptr, const int[::1] pair_lane,
    const float[::1] pair_rate, const int[::1] walk_ptr, const int[::1] walk_group,
    const unsigned short[:, ::1] change, const double[::1] worth, int shown,
    const float[::1] vehicles_veh, const double[::1] free, const float[::1] lane_late_s,
    const double[::1] walk_late_s, unsigned char[::1] late, float[::1] value,
) noexcept nogil:
    cdef int stage, best = first, own = shown if shown >= 0 else first, is_own, is_more
    cdef double now, factor, extra, most = -1.0
    cdef unsigned char any_late = late[junction]
    if any_late:
        late[junction] = 0
    for stage in range(first, last):
        now = pressure_of(
            pair_ptr[stage], pair_ptr[stage + 1], pair_lane, pair_rate, vehicles_veh, free
        )
        # Times 0 or 1 instead of jumps, which would often be guessed wrong.
        is_own = stage == shown
        factor = worth[change[own, stage - first]] * (1 - is_own) + is_own
        now = now * factor + OWN_BONUS_VEH * is_own
        value[stage] = <float>now
        if any_late:
            extra = overdue_s(
                stage, pair_ptr, pair_lane, pair_rate, walk_ptr, walk_group, lane_late_s,
                walk_late_s,
            )
            late[junction] |= extra > 0.0
            now += OVERDUE_VEH_PER_S * extra
        is_more = now > most
        best += (stage - best) * is_more
        most = now if now > most else most
    return best


cdef double overdue_s(
    int stage, const int[::1] pair_ptr, const int[::1] pair_lane, const float[::1] pair_rate,
    const int[::1] walk_ptr, const int[::1] walk_group, const float[::1] lane_late_s,
    const double[::1] walk_late_s,
) noexcept nogil:
    """By how long what a stage serves has waited too long, summed."""
    cdef double total = 0.0
    cdef int k
    for k in range(pair_ptr[stage], pair_ptr[stage + 1]):
        if pair_rate[k] >= SERVES_FROM:
            total += lane_late_s[pair_lane[k]]
    for k in range(walk_ptr[stage], walk_ptr[stage + 1]):
        total += walk_late_s[walk_group[k]]
    return total
