"""Queue, gap and arrival flow of every approach lane, one tick at a time.

Cameras count what stands in view; loops are balanced in against out between the upstream
loop and the stop line, corrected by what must be true when a loop is empty or covered;
lanes without a working sensor follow an assumed flow, with a margin for doubt, bounded by
probes.
"""

from libc.math cimport sqrtf

cdef enum:
    UNSEEN = 0
    LOOPS = 1
    CAMERAS = 2

#: A loop that is covered this long has a queue on it; one clear this long has none (s).
cdef float COVERED_S = 2.0
cdef float CLEAR_S = 3.0
cdef float COVERED_SHARE = 0.95
#: Vehicles on a looped lane that its count of vehicles may tell of.
cdef float VOUCHED_VEH = 8.0
#: A vehicle that takes less than this many times its free time over the loop drives freely.
cdef float FREE_PASS = 1.4
#: Seconds over which arrival flow is averaged.
cdef float FLOW_AVERAGE_S = 240.0
#: Extra time a stopping vehicle spends moving in a camera's view, averaged over all (s).
cdef float STOPPING_EXTRA_S = 2.5
#: From this share of the view that stands the queue may reach beyond it.
cdef float FULL_VIEW = 0.7
#: Seconds over which what leaves is averaged: about a cycle.
cdef float OUT_AVERAGE_S = 60.0
#: A queue has begun to move this long after green; one that does not for as long is blocked (s).
cdef float STARTED_S = 4.0
#: Green that an unseen queue needs to start (s).
cdef float UNSEEN_START_S = 3.0
#: Time in which a blocked lane is believed to be so, and in which that is forgotten at red (s).
cdef float BELIEVE_S = 5.0
cdef float FORGET_S = 60.0
#: What "no vehicle in sight" is told as (s).
cdef float LONG_GAP_S = 99.0


cdef class LaneTracker:
    """Arrays are [approach lanes] unless noted; see `topis.estimation.estimator`."""

    # IN
    cdef const unsigned char[::1] seen_by
    cdef const int[::1] camera_ptr, camera_sensor
    cdef const float[::1] camera_weight, camera_near_s, camera_far_s, view_veh
    cdef const int[::1] stop_sensor, advance_sensor
    cdef const float[::1] between_veh, transit_s, view_s, free_pass_s
    cdef const float[::1] sat_flow_vps, assumed_vps
    # INOUT
    cdef float[::1] queue_veh, vehicles_veh, gap_s, flow_vps
    cdef float[::1] between, beyond, transit, covered_s, clear_s, departed_veh
    cdef float[::1] green_s, idle_s, flowing, out_vps
    cdef const float[::1] most_beyond_veh
    cdef float[:, ::1] coming_vps
    cdef float elapsed_s

    def __init__(
        self, *, seen_by, camera_ptr, camera_sensor, camera_weight, camera_near_s,
        camera_far_s, view_veh, departed_veh, coming_vps,
        green_s, idle_s, flowing, out_vps, most_beyond_veh, stop_sensor,
        advance_sensor, between_veh, transit_s, view_s, free_pass_s, sat_flow_vps,
        assumed_vps, queue_veh, vehicles_veh, gap_s, flow_vps, between, beyond, transit,
        covered_s, clear_s,
    ):
        self.seen_by = seen_by
        self.camera_ptr = camera_ptr
        self.camera_sensor = camera_sensor
        self.camera_weight = camera_weight
        self.camera_near_s = camera_near_s
        self.camera_far_s = camera_far_s
        self.view_veh = view_veh
        self.departed_veh = departed_veh
        self.green_s = green_s
        self.idle_s = idle_s
        self.flowing = flowing
        self.out_vps = out_vps
        self.most_beyond_veh = most_beyond_veh
        self.coming_vps = coming_vps
        self.stop_sensor = stop_sensor
        self.advance_sensor = advance_sensor
        self.between_veh = between_veh
        self.transit_s = transit_s
        self.view_s = view_s
        self.free_pass_s = free_pass_s
        self.sat_flow_vps = sat_flow_vps
        self.assumed_vps = assumed_vps
        self.queue_veh = queue_veh
        self.vehicles_veh = vehicles_veh
        self.gap_s = gap_s
        self.flow_vps = flow_vps
        self.between = between
        self.beyond = beyond
        self.transit = transit
        self.covered_s = covered_s
        self.clear_s = clear_s
        self.elapsed_s = 0.0

    def update(self, const float[:, ::1] reading, const unsigned char[::1] green, float dt_s):
        """One tick.

        ``reading`` IN float32[sensors, 2]; ``green`` IN uint8[lanes], whether any signal of
        the lane is green; ``dt_s`` IN time since the last tick, 0 for the first.
        """
        cdef int lane
        cdef float gain
        self.coming_vps[:, :] = 0.0
        self.elapsed_s += dt_s
        gain = min(dt_s / min(max(self.elapsed_s, 30.0), FLOW_AVERAGE_S), 1.0)
        with nogil:
            for lane in range(green.shape[0]):
                if self.seen_by[lane] == CAMERAS:
                    self.by_camera(lane, reading, green[lane], dt_s, gain)
                elif self.seen_by[lane] == LOOPS:
                    self.by_loops(lane, reading, green[lane], dt_s, gain)
                else:
                    self.by_assumption(lane, green[lane], dt_s)
                if dt_s > 0.0:
                    self.out_vps[lane] += min(dt_s / OUT_AVERAGE_S, 1.0) * (
                        self.departed_veh[lane] / dt_s - self.out_vps[lane]
                    )

    cdef int by_camera(
        self, int lane, const float[:, ::1] reading, bint green, float dt_s, float gain,
    ) except -1 nogil:
        cdef float vehicles = 0.0, stopped = 0.0, moving
        cdef int k, sensor
        for k in range(self.camera_ptr[lane], self.camera_ptr[lane + 1]):
            sensor = self.camera_sensor[k]
            vehicles += self.camera_weight[k] * reading[sensor, 0]
            stopped += self.camera_weight[k] * reading[sensor, 1]
            self.spread(
                lane, self.camera_weight[k] * (reading[sensor, 0] - reading[sensor, 1]),
                self.camera_near_s[k], self.camera_far_s[k],
            )
        moving = vehicles - stopped
        if self.stop_sensor[lane] >= 0:
            self.departed_veh[lane] = reading[self.stop_sensor[lane], 0]
            self.watch_flow(lane, stopped >= 1.0, green, dt_s)
        else:
            self.departed_veh[lane] = 0.0
            if green:
                self.departed_veh[lane] = dt_s * min(
                    self.sat_flow_vps[lane], moving / self.view_s[lane]
                )
        # Mean headway of what moves in view; a standing vehicle wants the green now.
        if stopped > 0.5:
            self.gap_s[lane] = 0.0
        elif vehicles > 0.0:
            self.gap_s[lane] = min(self.view_s[lane] / vehicles, LONG_GAP_S)
        else:
            self.gap_s[lane] = LONG_GAP_S
        if stopped < FULL_VIEW * self.view_veh[lane]:
            self.beyond[lane] = 0.0
            # Little's law on the moving vehicles: number in view = flow x time in view.
            self.flow_vps[lane] += gain * (
                moving / (self.view_s[lane] + STOPPING_EXTRA_S) - self.flow_vps[lane]
            )
        else:
            # The queue reaches past the view: it grows unseen at the flow known before.
            self.beyond[lane] = max(
                0.0, self.beyond[lane] + self.flow_vps[lane] * dt_s - self.departed_veh[lane]
            )
            self.beyond[lane] = min(self.beyond[lane], self.most_beyond_veh[lane])
        self.queue_veh[lane] = stopped + self.beyond[lane]
        self.vehicles_veh[lane] = vehicles + self.beyond[lane]
        return 0

    cdef void watch_flow(self, int lane, bint waiting, bint green, float dt_s) noexcept nogil:
        """Whether those who wait get away when it is green: 1 they do, 0 something blocks them."""
        cdef float moves
        self.green_s[lane] = self.green_s[lane] + dt_s if green else 0.0
        self.idle_s[lane] = (
            0.0 if self.departed_veh[lane] > 0.0 or not green else self.idle_s[lane] + dt_s
        )
        if not green:
            self.flowing[lane] += min(dt_s / FORGET_S, 1.0) * (1.0 - self.flowing[lane])
        elif self.green_s[lane] >= STARTED_S:
            moves = 0.0 if waiting and self.idle_s[lane] >= STARTED_S else 1.0
            self.flowing[lane] += min(dt_s / BELIEVE_S, 1.0) * (moves - self.flowing[lane])

    cdef void spread(self, int lane, float vehicles, float near_s, float far_s) noexcept nogil:
        """Add vehicles on their way, evenly over the times they may reach the stop line."""
        cdef int t, last = <int>min(far_s + 1.0, <float>self.coming_vps.shape[1])
        cdef float low, high
        if vehicles <= 0.0:
            return
        for t in range(<int>near_s, last):
            low = max(near_s, <float>t)
            high = min(far_s, <float>(t + 1))
            if high > low:
                self.coming_vps[lane, t] += vehicles * (high - low) / (far_s - near_s)

    cdef int by_loops(
        self, int lane, const float[:, ::1] reading, bint green, float dt_s, float gain,
    ) except -1 nogil:
        cdef int stop = self.stop_sensor[lane], advance = self.advance_sensor[lane]
        cdef float out = reading[stop, 0], stop_share = reading[stop, 1]
        cdef float into, share
        if advance >= 0:
            into = reading[advance, 0]
            share = reading[advance, 1]
        else:
            into = out
            share = stop_share
        self.departed_veh[lane] = out
        self.covered_s[lane] = self.covered_s[lane] + dt_s if share >= COVERED_SHARE else 0.0
        self.clear_s[lane] = self.clear_s[lane] + dt_s if stop_share <= 0.0 else 0.0
        # While the upstream loop is covered arrivals are hidden and the flow known before stands;
        # over the stop line goes, sooner or later, who has come.
        if (advance < 0 or self.covered_s[lane] < COVERED_S) and dt_s > 0.0:
            self.flow_vps[lane] += gain * (into / dt_s - self.flow_vps[lane])
        if advance >= 0:
            self.transit[lane] += into - self.transit[lane] * min(
                1.0, dt_s / self.transit_s[lane]
            )
            self.between[lane] = max(0.0, self.between[lane] + into - out)
            if self.clear_s[lane] >= CLEAR_S:
                # Nobody at the line: only who has just come over the upstream loop is left.
                self.between[lane] = min(self.between[lane], self.transit[lane])
            if stop_share >= COVERED_SHARE:
                self.between[lane] = max(self.between[lane], 1.0)
            if self.covered_s[lane] >= COVERED_S and not green:
                self.between[lane] = self.between_veh[lane]
            self.between[lane] = min(self.between[lane], self.between_veh[lane])
        else:
            self.between[lane] = 1.0 if stop_share >= COVERED_SHARE else min(out, 1.0)
        # The queue reaches past the last loop: it grows unseen at the flow known before.
        if self.covered_s[lane] >= COVERED_S:
            self.beyond[lane] += self.flow_vps[lane] * dt_s
        elif self.beyond[lane] > 0.0:
            self.beyond[lane] += self.flow_vps[lane] * dt_s - into
            if share <= 0.0 and green and self.clear_s[lane] >= CLEAR_S:
                self.beyond[lane] = 0.0
            elif green and into > 0.0 and share * dt_s < FREE_PASS * self.free_pass_s[lane] * into:
                # Who passes at road speed was not standing behind: the queue is nearly over.
                self.beyond[lane] *= 0.5
            self.beyond[lane] = max(self.beyond[lane], 0.0)
        self.beyond[lane] = min(self.beyond[lane], self.most_beyond_veh[lane])
        self.watch_flow(lane, self.between[lane] >= 1.0 and stop_share > 0.0, green, dt_s)
        self.queue_veh[lane] = self.between[lane] + self.beyond[lane]
        # What stands beyond the loops is a guess that grows: only so much of it is vouched for.
        self.vehicles_veh[lane] = min(
            self.queue_veh[lane], max(self.between_veh[lane], VOUCHED_VEH)
        )
        if share > 0.0 or stop_share > 0.0 or into > 0.0:
            self.gap_s[lane] = 0.0
        else:
            self.gap_s[lane] = min(self.gap_s[lane] + dt_s, LONG_GAP_S)
        return 0

    cdef int by_assumption(self, int lane, bint green, float dt_s) except -1 nogil:
        """A queue that nobody sees: ``between`` is expected, ``beyond`` the doubt about it.

        Arrivals are random (Poisson), so a queue expected to be n may be longer by root n.
        Green has to clear that too: what is left behind unseen would wait a second cycle.
        """
        cdef float queue = self.between[lane] + self.assumed_vps[lane] * dt_s
        cdef float doubt
        # No more than the road holds.
        queue = min(queue, self.view_veh[lane] + self.most_beyond_veh[lane])
        self.departed_veh[lane] = 0.0
        self.green_s[lane] = self.green_s[lane] + dt_s if green else 0.0
        if not green:
            self.beyond[lane] = sqrtf(queue)
        elif self.green_s[lane] >= UNSEEN_START_S:
            self.departed_veh[lane] = min(
                queue + self.beyond[lane], self.sat_flow_vps[lane] * dt_s
            )
            if self.departed_veh[lane] < queue:
                queue -= self.departed_veh[lane]
            else:
                doubt = self.departed_veh[lane] - queue
                self.beyond[lane] = max(self.beyond[lane] - doubt, <float>0.0)
                queue = 0.0
        self.between[lane] = queue
        self.queue_veh[lane] = queue + self.beyond[lane]
        self.vehicles_veh[lane] = self.queue_veh[lane]
        self.gap_s[lane] = 0.0 if self.queue_veh[lane] > 0.5 else LONG_GAP_S
        self.flow_vps[lane] = self.assumed_vps[lane]
        return 0

    def bound(
        self, const int[::1] lane, const float[::1] distance_m, const float[::1] speed_mps,
        float spacing_m,
    ):
        """Correct by probes. IN [reports]: approach lane, distance to the stop line, speed.

        A standing probe has a queue ahead of it; one that drives freely has none behind
        which it waits.
        """
        cdef int k, i
        cdef float ahead
        for k in range(lane.shape[0]):
            i = lane[k]
            if self.seen_by[i] == CAMERAS:
                continue
            ahead = distance_m[k] / spacing_m
            if speed_mps[k] < 1.4:
                if self.queue_veh[i] < ahead + 1.0:
                    if self.seen_by[i] == LOOPS:
                        self.beyond[i] = max(self.beyond[i], ahead + 1.0 - self.between[i])
                    else:
                        self.between[i] = ahead + 1.0
                    self.queue_veh[i] = ahead + 1.0
                self.vehicles_veh[i] = max(self.vehicles_veh[i], ahead + 1.0)
            elif speed_mps[k] > 8.0 and self.seen_by[i] == UNSEEN:
                self.between[i] = min(self.between[i], ahead)
                self.beyond[i] = min(self.beyond[i], ahead - self.between[i])
                self.queue_veh[i] = min(self.queue_veh[i], ahead)
                self.vehicles_veh[i] = self.queue_veh[i]
