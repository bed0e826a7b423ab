"""Vehicles that stand before each stop line, with how sure that is: a filter lane by lane.

State: ``queue_veh`` and its variance. Between two looks it moves by what arrives and, at green, by
the wave in which standing vehicles start (Lighthill & Whitham 1955); what is seen corrects it, by
how much the two variances say (Kalman 1960). Half of what is seen are bounds ("at least to here",
"not as far as there"): they correct only a queue beyond them.
"""

from libc.math cimport fmaxf, fminf

cdef enum:
    UNSEEN = 0
    LOOPS = 1
    CAMERAS = 2

#: Standing vehicles start one after the other at this rate (veh/s): a wave of 6.5 m/s backwards.
cdef float STARTS_VPS = 0.87
#: The first starts this long after green (s).
cdef float REACTION_S = 1.5
#: A loop covered so long has a queue on it, one clear so long has none (s).
cdef float COVERED_S = 3.0
cdef float CLEAR_S = 3.0
#: From this share of a camera's view that stands the queue may reach beyond it.
cdef float FULL_VIEW = 0.85
#: Greens tell of the saturation flow from the time the fourth vehicle of a queue needs (s) on,
#: if the queue lasts for so long at least (s).
cdef float SETTLED_S = 8.0
cdef float LEAST_S = 6.0
#: What a lane's saturation flow may be (veh/s), and its change a day, as variance per second.
cdef float LEAST_SAT_VPS = 0.25
cdef float MOST_SAT_VPS = 0.7
cdef float SAT_DRIFT = 2e-8
#: A vehicle that passes a loop at a queue's headway came within this of the one before (s).
cdef float FOLLOWS_S = 3.5
#: No vote moves a queue further (veh).
cdef float MOST_PULL_VEH = 3.0
#: By how much a queue is less sure the longer it has grown or shrunk unseen.
cdef float FLOW_DOUBT = 0.25
cdef float START_DOUBT = 0.5
#: Nothing is surer than this (veh^2).
cdef float LEAST_VAR = 0.05


cdef class QueueFilter:
    """Arrays are [approach lanes]; see `topis.estimation.fusion`.

    IN: ``seen_by`` (0 nobody, 1 loops, 2 a camera), ``between_veh`` (room from the stop line to
    the upstream loop, 0 where there is none), ``view_veh`` (room in a camera's view),
    ``most_veh`` (room up to the signal before). INOUT: the state.
    """

    cdef const unsigned char[::1] seen_by
    cdef const float[::1] between_veh, view_veh, most_veh
    cdef float[::1] queue_veh, queue_var, age_s, green_s
    cdef float[::1] sat_flow_vps, sat_var, stood_veh, passed_veh, passed_s, idle_s

    def __init__(
        self, *, seen_by, between_veh, view_veh, most_veh, queue_veh, queue_var, age_s, green_s,
        sat_flow_vps, sat_var, stood_veh, passed_veh, passed_s, idle_s,
    ):
        self.seen_by = seen_by
        self.between_veh = between_veh
        self.view_veh = view_veh
        self.most_veh = most_veh
        self.queue_veh = queue_veh
        self.queue_var = queue_var
        self.age_s = age_s
        self.green_s = green_s
        self.sat_flow_vps = sat_flow_vps
        self.sat_var = sat_var
        self.stood_veh = stood_veh
        self.passed_veh = passed_veh
        self.passed_s = passed_s
        self.idle_s = idle_s

    def update(
        self, const float[::1] green, const float[::1] arrive_vps,
        const float[::1] standing_veh, const float[::1] left_veh, const float[::1] covered_s,
        const float[::1] clear_s, const float[::1] flowing, float dt_s,
    ):
        """One tick. All IN [lanes].

        ``green``: 0 red, 1 green, between where it has to give way. ``arrive_vps``: how fast
        vehicles come to the back of the queue; ``standing_veh`` in a camera's view;
        ``left_veh`` over the stop line in the tick; ``covered_s`` since when the
        farthest loop is covered, ``clear_s`` since when that at the stop line is not (0: it is);
        ``flowing``: 1 where those who wait get away at green, 0 where something blocks them.
        """
        cdef int lane
        cdef float come, start
        with nogil:
            for lane in range(green.shape[0]):
                self.green_s[lane] = self.green_s[lane] + dt_s if green[lane] > 0.0 else 0.0
                self.age_s[lane] += dt_s
                come = arrive_vps[lane] * dt_s
                start = 0.0
                if self.green_s[lane] > REACTION_S:
                    start = STARTS_VPS * dt_s * flowing[lane] * green[lane]
                if start > 0.0 and self.queue_veh[lane] + come <= start:
                    # Nobody stands: who comes drives through. Each second of it makes it surer.
                    self.queue_veh[lane] = 0.0
                    self.queue_var[lane] = fmaxf(
                        self.queue_var[lane] * (1.0 - fminf(0.25 * dt_s, 0.5)), LEAST_VAR
                    )
                else:
                    self.queue_veh[lane] += come - start
                    # Arrivals are random, how many is only known on average, and so is how soon
                    # drivers start: a mean that is wrong goes on being wrong.
                    self.queue_var[lane] += (
                        come * (1.0 + FLOW_DOUBT * self.queue_veh[lane]) + START_DOUBT * start
                    )
                    if self.queue_veh[lane] > self.most_veh[lane]:
                        self.queue_veh[lane] = self.most_veh[lane]
                if self.seen_by[lane] == CAMERAS:
                    self.by_camera(lane, standing_veh[lane])
                    self.watch_headways(lane, left_veh[lane], dt_s)
                elif self.seen_by[lane] == LOOPS:
                    self.by_loops(lane, green[lane] > 0.0, covered_s[lane], clear_s[lane])
                    self.watch_headways(lane, left_veh[lane], dt_s)

    cdef void by_camera(self, int lane, float standing_veh) noexcept nogil:
        # Each vehicle is missed now and then, and "standing" is a speed near a threshold.
        cdef float variance = 0.05 + 0.02 * standing_veh
        self.age_s[lane] = 0.0
        if standing_veh < FULL_VIEW * self.view_veh[lane]:
            self.correct(lane, standing_veh, variance)
        elif self.queue_veh[lane] < standing_veh:
            self.correct(lane, standing_veh, variance)

    cdef void by_loops(
        self, int lane, bint green, float covered_s, float clear_s
    ) noexcept nogil:
        cdef float room = self.between_veh[lane]
        if clear_s >= CLEAR_S:
            # Who stands, stands at the line first.
            self.age_s[lane] = 0.0
            if self.queue_veh[lane] > 0.0:
                self.correct(lane, 0.0, 0.3)
            return
        if not green and clear_s <= 0.0 and self.queue_veh[lane] < 1.0:
            self.age_s[lane] = 0.0
            self.correct(lane, 1.0, 0.3)
        if room <= 0.0:
            return
        if covered_s >= COVERED_S:
            if self.queue_veh[lane] < room:
                self.age_s[lane] = 0.0
                self.correct(lane, room, 1.0)
        elif not green and self.queue_veh[lane] > room:
            # The queue does not reach the upstream loop.
            self.age_s[lane] = 0.0
            self.correct(lane, room, 1.0)

    cdef void watch_headways(self, int lane, float left_veh, float dt_s) noexcept nogil:
        """Saturation flow: what passes in the settled part of a queue's discharge, over its time.

        As in HCM 6th ed., ch. 31: from the fourth vehicle on, until the queue that stood has gone.
        """
        cdef float gain, rate, variance
        self.sat_var[lane] += SAT_DRIFT * dt_s
        self.idle_s[lane] = 0.0 if left_veh > 0.0 else self.idle_s[lane] + dt_s
        if self.green_s[lane] <= dt_s:
            self.stood_veh[lane] = self.queue_veh[lane]
        if (
            self.green_s[lane] > SETTLED_S and self.idle_s[lane] < FOLLOWS_S
            and self.passed_s[lane] >= 0.0
            and self.green_s[lane] * self.sat_flow_vps[lane] < self.stood_veh[lane]
        ):
            self.passed_veh[lane] += left_veh
            self.passed_s[lane] += dt_s
            return
        if self.passed_s[lane] >= LEAST_S and self.passed_veh[lane] >= 3.0:
            # Ends with the pause after the last of the queue, which is none of its headways.
            rate = self.passed_veh[lane] / fmaxf(self.passed_s[lane] - self.idle_s[lane], 1.0)
            if LEAST_SAT_VPS < rate < MOST_SAT_VPS:
                # The end of the count is out by a vehicle, headways vary by a third.
                variance = rate * rate * (0.1 / self.passed_veh[lane]) + (
                    0.3 / (self.passed_s[lane] * self.passed_s[lane])
                )
                gain = self.sat_var[lane] / (self.sat_var[lane] + variance)
                self.sat_flow_vps[lane] += gain * (rate - self.sat_flow_vps[lane])
                self.sat_var[lane] *= 1.0 - gain
        # Only the queue that stood at the start of green tells.
        self.passed_veh[lane] = 0.0
        self.passed_s[lane] = -1.0 if self.green_s[lane] > SETTLED_S else 0.0

    cdef void correct(self, int lane, float seen_veh, float variance) noexcept nogil:
        cdef float gain = self.queue_var[lane] / (self.queue_var[lane] + variance)
        self.queue_veh[lane] += gain * (seen_veh - self.queue_veh[lane])
        self.queue_var[lane] = fmaxf(self.queue_var[lane] * (1.0 - gain), LEAST_VAR)

    def vote(
        self, const int[::1] lane, const float[::1] tail_veh, const signed char[::1] kind,
        const float[::1] variance,
    ):
        """Probes' votes, IN [votes]: the back of the queue of a lane is at ``tail_veh``.

        ``kind``: 0 it is there, 1 there or farther, -1 not as far. None moves a queue by more
        than `MOST_PULL_VEH`.
        """
        cdef int k, i
        cdef float before, gain
        for k in range(lane.shape[0]):
            i = lane[k]
            if kind[k] > 0 and self.queue_veh[i] >= tail_veh[k]:
                continue
            if kind[k] < 0 and self.queue_veh[i] <= tail_veh[k]:
                continue
            before = self.queue_veh[i]
            gain = self.queue_var[i] / (self.queue_var[i] + variance[k])
            self.queue_veh[i] += fmaxf(
                -MOST_PULL_VEH, fminf(MOST_PULL_VEH, gain * (tail_veh[k] - before))
            )
            self.queue_var[i] = fmaxf(self.queue_var[i] * (1.0 - gain), LEAST_VAR)
            self.age_s[i] = 0.0
