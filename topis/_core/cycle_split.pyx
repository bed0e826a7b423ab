"""Cycle and splits of all junctions by Webster's formulas, and greens within bounds.

Critical flow ratios y of the steps of a cycle give its length C0 = (1.5 L + 5) / (1 - Y), Y their
sum and L the time lost (Webster 1958, RRTP 39), and greens in proportion to them, so that all
steps that are not held up by their least green run at the same degree of saturation.
"""

from cython.parallel cimport prange

cdef enum:
    # Fewer junctions than this are not worth a second thread.
    FEW = 256
    HALVINGS = 60

#: Webster's optimum for random arrivals.
cdef double LOST_TIMES = 1.5
cdef double ADDED_S = 5.0
#: Beyond this sum of flow ratios the longest cycle is the best there is.
cdef double MOST_FLOW_RATIO = 0.99
cdef double TINY_S = 1e-9


def cycles_and_splits(
    const int[::1] step_ptr,        # IN  [junctions + 1], each has a step
    const int[::1] pair_ptr,        # IN  [steps + 1] lanes that press each step
    const int[::1] pair_lane,       # IN
    const float[::1] pair_need_s,   # IN  green a lane needs in the step for each of its vehicles
    const float[::1] flow_vps,      # IN  [lanes]
    const double[::1] least_s,      # IN  [steps] shortest green, not below ``start_s``
    const double[::1] lost_s,       # IN  [junctions] time of the cycle in which nobody has green
    double start_s,                 # IN  lost of each green as the queue starts
    const double[::1] low_s,        # IN  [junctions] shortest cycle
    const double[::1] high_s,       # IN  [junctions] longest, if least greens fit into it
    int threads,                    # IN
    float[::1] ratio,               # OUT [steps] critical flow ratio
    double[::1] cycle_s,            # OUT [junctions]
    double[::1] green_s,            # OUT [steps], their sum is that of cycle less lost
    double[::1] saturation,         # OUT [junctions] of the step that is fullest then
):
    """Webster's cycle within bounds and its greens; degrees of saturation may exceed 1."""
    cdef int junction, junctions = cycle_s.shape[0], team = threads if junctions >= FEW else 1
    with nogil:
        for junction in prange(junctions, schedule="static", num_threads=team):
            cycle_s[junction] = make_cycle(
                junction, step_ptr[junction], step_ptr[junction + 1], pair_ptr, pair_lane,
                pair_need_s, flow_vps, least_s, lost_s[junction], start_s, low_s[junction],
                high_s[junction], ratio, green_s, saturation,
            )


cdef inline double make_cycle(
    int junction, int first, int last, const int[::1] pair_ptr, const int[::1] pair_lane,
    const float[::1] pair_need_s, const float[::1] flow_vps, const double[::1] least_s,
    double lost_s, double start_s, double low_s, double high_s, float[::1] ratio,
    double[::1] green_s, double[::1] saturation,
) noexcept nogil:
    cdef int step, k, scant, held = 0, before = -1
    cdef float needed, most
    cdef double total = 0.0, least_sum_s = lost_s, now_s, open_s, share, effective_s, degree
    cdef double fullest = 0.0, all_open_s
    for step in range(first, last):
        most = 0.0
        for k in range(pair_ptr[step], pair_ptr[step + 1]):
            needed = flow_vps[pair_lane[k]] * pair_need_s[k]
            most = needed if needed > most else most
        ratio[step] = most
        total += most
        least_sum_s += least_s[step]
    open_s = lost_s + start_s * (last - first)
    now_s = high_s
    if total < MOST_FLOW_RATIO:
        now_s = (LOST_TIMES * open_s + ADDED_S) / (1.0 - total)
    now_s = now_s if now_s < high_s else high_s
    now_s = now_s if now_s > low_s else low_s
    # Least greens come before bounds.
    now_s = now_s if now_s > least_sum_s else least_sum_s
    # Effective green by flow ratio; where that is too little the least green is given, and the
    # others share what is left. Their share falls as more are held up: those held stay so.
    all_open_s = now_s - open_s
    share = all_open_s / total if total > 0.0 else 0.0
    while held != before:
        before = held
        held = 0
        total = 0.0
        open_s = all_open_s
        for step in range(first, last):
            effective_s = least_s[step] - start_s
            # Times 0 or 1 instead of a jump, which would often be guessed wrong.
            scant = ratio[step] * share < effective_s
            held += scant
            open_s -= effective_s * scant
            total += ratio[step] * (1 - scant)
        share = open_s / total if total > 0.0 else 0.0
    # Without traffic there is something left over: all get as much of it.
    open_s = 0.0 if share > 0.0 else open_s / (last - first)
    for step in range(first, last):
        effective_s = ratio[step] * share
        least_sum_s = least_s[step] - start_s
        effective_s = (effective_s if effective_s > least_sum_s else least_sum_s) + open_s
        green_s[step] = effective_s + start_s
        degree = ratio[step] * now_s / (effective_s if effective_s > TINY_S else TINY_S)
        fullest = degree if degree > fullest else fullest
    saturation[junction] = fullest
    return now_s


def share_out(
    const int[::1] step_ptr,        # IN  [junctions + 1]
    const double[::1] wanted_s,     # IN  [steps]
    const double[::1] low_s,        # IN  [steps]
    const double[::1] high_s,       # IN  [steps]
    const double[::1] total_s,      # IN  [junctions]
    int threads,                    # IN
    double[::1] green_s,            # OUT [steps]
):
    """Greens nearest to the wanted ones within bounds whose sums are right.

    Projection onto the box and the plane: all moved alike, then cut off at the bounds. Where the
    bounds do not allow the total the sum is the nearest that they allow.
    """
    cdef int junction, junctions = total_s.shape[0], team = threads if junctions >= FEW else 1
    with nogil:
        for junction in prange(junctions, schedule="static", num_threads=team):
            move_alike(
                step_ptr[junction], step_ptr[junction + 1], wanted_s, low_s, high_s,
                total_s[junction], green_s,
            )


cdef inline void move_alike(
    int first, int last, const double[::1] wanted_s, const double[::1] low_s,
    const double[::1] high_s, double total_s, double[::1] green_s,
) noexcept nogil:
    cdef int step, _
    cdef double few, many, middle, sum_s
    if first == last:
        return
    few = low_s[first] - wanted_s[first]
    many = high_s[first] - wanted_s[first]
    for step in range(first + 1, last):
        few = min(few, low_s[step] - wanted_s[step])
        many = max(many, high_s[step] - wanted_s[step])
    for _ in range(HALVINGS):
        middle = (few + many) / 2.0
        sum_s = 0.0
        for step in range(first, last):
            sum_s += within(wanted_s[step] + middle, low_s[step], high_s[step])
        if sum_s < total_s:
            few = middle
        else:
            many = middle
    for step in range(first, last):
        green_s[step] = within(wanted_s[step] + many, low_s[step], high_s[step])


cdef inline double within(double value, double low, double high) noexcept nogil:
    value = value if value > low else low
    return value if value < high else high
