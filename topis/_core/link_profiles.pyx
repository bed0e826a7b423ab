"""What each link between signals costs at every offset, for a whole city.

Cyclic flow profiles as in TRANSYT (Robertson 1969, RRL LR 253). Queues leave the stop lines
upstream at saturation flow, the platoon disperses on the way (``now += factor * (late - now)``),
the lanes downstream take it up each with its own green; vehicles waiting are summed over the second
of two cycles.
"""

cimport cython
from cython.parallel cimport prange, threadid
from libc.math cimport rint

from topis._core.vectors cimport const_floats, floats, wide_float

cdef enum:
    # Ways worked on side by side, and links of one piece of work; rows are padded to as many.
    LANES = 16
    # Fewer junctions than this are not worth a second thread.
    FEW = 128

#: Share of a full lane's capacity that is let arrive: more would never leave.
cdef float MOST_FILLED = 0.95
cdef float TINY_VEH = 1e-9


cdef wide_float leave(
    int lanes, int bins, const_floats arriving, const_floats capacity, floats queue, floats platoon,
) noexcept nogil:
    """Adds to ``platoon`` [bins, lanes] what leaves in the second of two cycles."""
    cdef int i, _
    cdef float x, gone
    cdef const_floats most = capacity
    cdef floats to = platoon
    for i in range(lanes):
        queue[i] = 0.0
    for _ in range(bins):
        for i in range(lanes):
            x = queue[i] + arriving[i]
            gone = x if x < most[i] else most[i]
            queue[i] = x - gone
        most = most + lanes
    most = capacity
    for _ in range(bins):
        for i in range(lanes):
            x = queue[i] + arriving[i]
            gone = x if x < most[i] else most[i]
            queue[i] = x - gone
            to[i] += gone
        most = most + lanes
        to = to + lanes
    return 0.0


cdef wide_float disperse(
    int lanes, int bins, const_floats factor, const_floats late, floats now, floats spread,
) noexcept nogil:
    """Platoons [bins, lanes] as they reach the next stop line; ``now`` [lanes] scratch."""
    cdef int i, _
    cdef float whole = bins
    cdef const_floats next_ = late
    cdef floats to = spread
    for i in range(lanes):
        now[i] = 0.0
    for _ in range(bins):
        for i in range(lanes):
            now[i] += next_[i]
        next_ = next_ + lanes
    for i in range(lanes):
        now[i] = now[i] / whole
    next_ = late
    for _ in range(bins):
        for i in range(lanes):
            now[i] = now[i] + factor[i] * (next_[i] - now[i])
        next_ = next_ + lanes
    next_ = late
    for _ in range(bins):
        for i in range(lanes):
            now[i] = now[i] + factor[i] * (next_[i] - now[i])
            to[i] = now[i]
        next_ = next_ + lanes
        to = to + lanes
    return 0.0


cdef wide_float wait(
    int bins, int wide, float none, const_floats arrivals, const_floats backwards, floats queue,
    floats delay,
) noexcept nogil:
    """Vehicles waiting in the second of two cycles at each of ``wide`` offsets, into ``delay``.

    ``backwards`` [bins + wide]: what can be discharged, entry k in bin -k. ``none``: 0.
    """
    cdef int turn, b, d
    cdef float a0, a1, a2, a3, q0, q1, q2, q3
    cdef const_floats c0
    cdef const_floats c1
    cdef const_floats c2
    cdef const_floats c3
    for d in range(wide):
        queue[d] = delay[d] = 0.0
    for turn in range(2):
        b = 0
        while b + 4 <= bins:
            a0, a1, a2, a3 = arrivals[b], arrivals[b + 1], arrivals[b + 2], arrivals[b + 3]
            c0 = backwards + (bins - b)
            c1 = c0 - 1
            c2 = c0 - 2
            c3 = c0 - 3
            if turn == 0:
                for d in range(wide):
                    q0 = queue[d] + (a0 - c0[d])
                    q0 = q0 if q0 > none else none
                    q1 = q0 + (a1 - c1[d])
                    q1 = q1 if q1 > none else none
                    q2 = q1 + (a2 - c2[d])
                    q2 = q2 if q2 > none else none
                    q3 = q2 + (a3 - c3[d])
                    queue[d] = q3 if q3 > none else none
            else:
                for d in range(wide):
                    q0 = queue[d] + (a0 - c0[d])
                    q0 = q0 if q0 > none else none
                    q1 = q0 + (a1 - c1[d])
                    q1 = q1 if q1 > none else none
                    q2 = q1 + (a2 - c2[d])
                    q2 = q2 if q2 > none else none
                    q3 = q2 + (a3 - c3[d])
                    q3 = q3 if q3 > none else none
                    queue[d] = q3
                    delay[d] += (q0 + q1) + (q2 + q3)
            b += 4
        while b < bins:
            a0 = arrivals[b]
            c0 = backwards + (bins - b)
            for d in range(wide):
                q0 = queue[d] + (a0 - c0[d])
                q0 = q0 if q0 > none else none
                queue[d] = q0
                delay[d] += q0
            if turn == 0:
                for d in range(wide):
                    delay[d] = 0.0
            b += 1
    return 0.0


cdef wide_float add_scaled(
    int wide, float scale, const_floats values, floats sums,
) noexcept nogil:
    cdef int d
    for d in range(wide):
        sums[d] += scale * values[d]
    return 0.0


def stage_bins(
    const int[::1] step_ptr,          # IN  [junctions + 1]
    const int[::1] local_stage,       # IN  [steps] number of the step's stage in its junction
    const double[::1] change_s,       # IN  [steps] command to start of green
    const double[::1] green_s,        # IN  [steps] with what is held
    const double[::1] held_s,         # IN  [steps] green kept after the next command
    double bin_s,                     # IN
    const int[::1] bins,              # IN  [junctions]
    int threads,                      # IN
    short[:, ::1] shown,              # OUT [junctions, bins] 1 + local stage, 0 while changing
):
    """The stage shown in each bin of every junction's cycle."""
    cdef int junction, junctions = bins.shape[0]
    cdef int team = threads if junctions >= FEW else 1
    with nogil:
        for junction in prange(junctions, schedule="static", num_threads=team):
            show(
                step_ptr[junction], step_ptr[junction + 1], local_stage, change_s, green_s, held_s,
                bin_s, bins[junction], &shown[junction, 0],
            )


cdef void show(
    int first, int last, const int[::1] local_stage, const double[::1] change_s,
    const double[::1] green_s, const double[::1] held_s, double bin_s, int bins, short* shown,
) noexcept nogil:
    cdef int step, b, _, at, begin, end
    cdef double at_s = 0.0, step_s
    for b in range(bins):
        shown[b] = 0
    for step in range(first, last):
        step_s = change_s[step] + green_s[step] - held_s[step]
        begin = <int>rint((at_s + change_s[step]) / bin_s)
        end = <int>rint((at_s + step_s + held_s[step]) / bin_s)
        at = begin % bins
        for _ in range(begin, end):
            shown[at] = <short>(local_stage[step] + 1)
            at = at + 1 if at + 1 < bins else 0
        at_s += step_s


@cython.final
cdef class LinkProfiles:
    """What links between signals are made of; their delay at every difference of offsets.

    A *link* here is what one junction sends to another on one road. It has *ways* (feeds of the
    same travel time), ``link_way_ptr`` int32[links + 1]; those have *feeds* (movements),
    ``feed_ptr`` int32[ways + 1]; those connections, ``conn_ptr`` int32[feeds + 1], with
    ``conn_lane`` and ``conn_share`` of the lane's traffic. ``way_up``, ``way_link``
    int32[ways]; ``way_late_bins`` float64[ways] until the first of a platoon arrive and
    ``way_factor`` float32[ways] of its dispersion. ``feed_veh``: from ``feed_veh_ptr``
    int32[feeds] on what a feed can discharge in a bin while changing (nothing) and in each local
    stage. Downstream, ``link_down`` int32[links], lanes with the same lights are a *class*:
    ``class_ptr`` int32[links + 1], ``class_lane_ptr`` int32[classes + 1] into ``class_lane``,
    and ``class_veh_ptr`` int32[classes] into ``class_veh`` as for feeds.
    ``tells_up_to``, ``fades_over``: degrees of saturation, see `topis.control.profiles`.
    """

    cdef const int[::1] link_way_ptr, link_down, way_up, way_link, feed_ptr, conn_ptr, conn_lane
    cdef const int[::1] feed_veh_ptr, class_ptr, class_lane_ptr, class_lane, class_veh_ptr
    cdef const float[::1] way_factor, conn_share, feed_veh, class_veh
    cdef const double[::1] way_late_bins
    cdef float bin_s, tells_up_to, fades_over

    def __init__(
        self, *, link_way_ptr, link_down, way_up, way_link, way_late_bins, way_factor, feed_ptr,
        feed_veh_ptr, feed_veh, conn_ptr, conn_lane, conn_share, class_ptr, class_lane_ptr,
        class_lane, class_veh_ptr, class_veh, float bin_s, float tells_up_to, float fades_over,
    ):
        self.link_way_ptr = link_way_ptr
        self.link_down = link_down
        self.way_up = way_up
        self.way_link = way_link
        self.way_late_bins = way_late_bins
        self.way_factor = way_factor
        self.feed_ptr = feed_ptr
        self.feed_veh_ptr = feed_veh_ptr
        self.feed_veh = feed_veh
        self.conn_ptr = conn_ptr
        self.conn_lane = conn_lane
        self.conn_share = conn_share
        self.class_ptr = class_ptr
        self.class_lane_ptr = class_lane_ptr
        self.class_lane = class_lane
        self.class_veh_ptr = class_veh_ptr
        self.class_veh = class_veh
        self.bin_s = bin_s
        self.tells_up_to = tells_up_to
        self.fades_over = fades_over

    @staticmethod
    def scratch_size(int width):
        """Floats of scratch memory each thread needs for rows of ``width``."""
        return width * (4 * LANES + 7) + 4 * LANES

    def delays(
        self,
        const int[::1] bins,            # IN  [junctions] bins of the cycle, alike along a link
        const short[:, ::1] shown,      # IN  [junctions, width] of `stage_bins`
        const float[::1] flow_vps,      # IN  [lanes]
        float[:, ::1] scratch,          # SCRATCH [threads, `scratch_size`]
        int threads,                    # IN
        float[:, ::1] delay,            # OUT [links, width] vehicle-seconds a cycle
        unsigned char[::1] told,        # OUT [links] 0: no traffic, the row is zero
    ):
        """Delay of every link by how many bins its downstream cycle starts after the other.

        ``width`` is a multiple of 16 that no junction has more bins than.
        """
        cdef int chunk, links = delay.shape[0], chunks = (links + LANES - 1) // LANES
        with nogil:
            for chunk in prange(chunks, schedule="dynamic", chunksize=4, num_threads=threads):
                self.chunk(
                    chunk * LANES, min((chunk + 1) * LANES, links), bins, shown, flow_vps,
                    &scratch[threadid(), 0], delay, told,
                )

    cdef void chunk(
        self, int first, int last, const int[::1] bins, const short[:, ::1] shown,
        const float[::1] flow_vps, float* scratch, float[:, ::1] delay, unsigned char[::1] told,
    ) noexcept nogil:
        cdef int width = delay.shape[1]
        cdef float* rows = scratch
        cdef float* work = scratch + LANES * width
        cdef int way = self.link_way_ptr[first], end = self.link_way_ptr[last], stop, n, link, i
        for i in range(LANES * width):
            rows[i] = 0.0
        while way < end:
            n = bins[self.way_up[way]]
            stop = way + 1
            while stop < end and stop - way < LANES and bins[self.way_up[stop]] == n:
                stop += 1
            self.arrive(way, stop, n, shown, flow_vps, first, width, work, rows)
            way = stop
        for link in range(first, last):
            told[link] = self.table(
                link, bins[self.link_down[link]], &shown[self.link_down[link], 0], flow_vps, width,
                rows + (link - first) * width, work, &delay[link, 0],
            )

    cdef void arrive(
        self, int first, int last, int bins, const short[:, ::1] shown, const float[::1] flow_vps,
        int first_link, int width, float* work, float* rows,
    ) noexcept nogil:
        """Adds what some ways with the same cycle bring to the rows of their links."""
        cdef float* capacity = work
        cdef float* platoon = work + LANES * width
        cdef float* late = work + 2 * LANES * width
        cdef float* arriving = work + 3 * LANES * width
        cdef float* queue = arriving + LANES
        cdef float* factor = arriving + 2 * LANES
        cdef int lane, way, feed, k, c, b, before, most = 0, whole
        cdef float vps, part, one = 1.0
        cdef const float* veh
        cdef const short* stage
        cdef float* row
        for b in range(bins * LANES):
            platoon[b] = capacity[b] = late[b] = 0.0
        for lane in range(LANES):
            factor[lane] = 0.0
        for way in range(first, last):
            most = max(most, self.feed_ptr[way + 1] - self.feed_ptr[way])
        for k in range(most):
            for lane in range(LANES):
                arriving[lane] = 0.0
            for way in range(first, last):
                feed = self.feed_ptr[way] + k
                if feed >= self.feed_ptr[way + 1]:
                    continue
                lane = way - first
                vps = 0.0
                for c in range(self.conn_ptr[feed], self.conn_ptr[feed + 1]):
                    vps += flow_vps[self.conn_lane[c]] * self.conn_share[c]
                arriving[lane] = vps * self.bin_s
                veh = &self.feed_veh[self.feed_veh_ptr[feed]]
                stage = &shown[self.way_up[way], 0]
                for b in range(bins):
                    capacity[b * LANES + lane] = veh[stage[b]]
            leave(LANES, bins, arriving, capacity, queue, platoon)
        for way in range(first, last):
            lane = way - first
            factor[lane] = self.way_factor[way]
            whole = <int>self.way_late_bins[way]
            part = <float>(self.way_late_bins[way] - whole)
            # Bin 0 arrives in ``b``, partly in the one after it.
            b = whole % bins
            before = bins - 1
            for k in range(bins):
                late[b * LANES + lane] = (
                    (one - part) * platoon[k * LANES + lane] + part * platoon[before * LANES + lane]
                )
                before = k
                b = b + 1 if b + 1 < bins else 0
        disperse(LANES, bins, factor, late, queue, platoon)
        for way in range(first, last):
            lane = way - first
            row = rows + (self.way_link[way] - first_link) * width
            for b in range(bins):
                row[b] += platoon[b * LANES + lane]

    cdef unsigned char table(
        self, int link, int bins, const short* shown, const float[::1] flow_vps, int width,
        float* row, float* work, float* delay,
    ) noexcept nogil:
        """Delay of one link from what arrives in each bin of the upstream cycle."""
        cdef float* arrivals = work
        cdef float* even = work + width
        cdef float* queue = work + 2 * width
        cdef float* waiting = work + 3 * width
        cdef float* backwards = work + 4 * width
        cdef int b, k, lane, class_, wide = (bins + LANES - 1) // LANES * LANES
        cdef float total = 0.0, counted = 0.0, flow, offered, degree, weight, most, scale, rest
        cdef float cycle_s = bins * self.bin_s, before, one = 1.0, four = 4.0, two = 2.0
        cdef const float* veh
        for b in range(width):
            delay[b] = 0.0
        for b in range(bins):
            total += row[b]
        for class_ in range(self.class_ptr[link], self.class_ptr[link + 1]):
            for lane in range(self.class_lane_ptr[class_], self.class_lane_ptr[class_ + 1]):
                counted += flow_vps[self.class_lane[lane]]
        counted *= cycle_s
        if not (total > 0.0 and counted > 0.0):
            return 0
        # Counted downstream: what the platoon does not bring comes evenly. Platoons spread on
        # the way; a short moving mean keeps their number.
        scale = counted / total
        scale = scale if scale < one else one
        rest = (counted - total) / bins
        rest = rest if rest > 0.0 else 0.0
        for b in range(bins):
            row[b] = row[b] * scale + rest
        before = row[bins - 1]
        for b in range(bins):
            even[b] = (before + two * row[b] + row[b + 1 if b + 1 < bins else 0]) / four
            before = row[b]
        for class_ in range(self.class_ptr[link], self.class_ptr[link + 1]):
            flow = 0.0
            for lane in range(self.class_lane_ptr[class_], self.class_lane_ptr[class_ + 1]):
                flow += flow_vps[self.class_lane[lane]]
            offered = flow * cycle_s
            veh = &self.class_veh[self.class_veh_ptr[class_]]
            most = backwards[0] = veh[shown[0]]
            for k in range(1, bins):
                backwards[k] = veh[shown[bins - k]]
                most += backwards[k]
            degree = offered / (most if most > TINY_VEH else TINY_VEH)
            weight = (self.tells_up_to + self.fades_over - degree) / self.fades_over
            weight = weight if weight < one else one
            if not weight > 0.0:
                continue
            for k in range(bins, bins + wide):
                backwards[k] = backwards[k - bins]
            scale = MOST_FILLED / (degree if degree > TINY_VEH else TINY_VEH)
            scale = offered / counted * (scale if scale < one else one)
            for b in range(bins):
                arrivals[b] = even[b] * scale
            wait(bins, wide, 0.0, arrivals, backwards, queue, waiting)
            add_scaled(bins, weight * self.bin_s, waiting, delay)
        return 1
