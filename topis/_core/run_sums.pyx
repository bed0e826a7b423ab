"""Rows of moving things to sums per place and period, in one pass over sorted rows.

Rows come in runs: the same thing on the same lane for seconds on end. Sums are kept in registers
while a run lasts and written once at its end, which is what makes it nearly as fast as reading.
"""

#: What stands for "no speed was measured".
cdef enum:
    NO_SPEED = 65535


cdef class RunSums:
    """Sums [places, periods], filled by `add` in any number of calls.

    ``count`` rows, ``things`` different things (a thing that leaves a place and comes back is
    counted again), ``measured`` rows with a speed, ``speed_sum`` of them, ``standing`` of them
    below ``standing_below``. Times before ``begin_ms`` or past the last period, and places
    out of range, are passed over and counted in ``outside``.
    """

    cdef long long[:, ::1] count, things, measured, speed_sum, standing
    cdef long long begin_ms, end_ms, period_ms
    cdef unsigned int last_place, last_thing
    cdef long long last_period
    cdef int standing_below
    cdef readonly long long outside

    def __init__(
        self, *, count, things, measured, speed_sum, standing, begin_ms, period_ms,
        standing_below,
    ):
        self.count = count
        self.things = things
        self.measured = measured
        self.speed_sum = speed_sum
        self.standing = standing
        self.begin_ms = begin_ms
        self.period_ms = period_ms
        self.end_ms = begin_ms + period_ms * self.count.shape[1]
        self.standing_below = standing_below
        self.last_place = 0
        self.last_thing = 0
        self.last_period = -1
        self.outside = 0

    def add(
        self, const unsigned int[::1] place, const unsigned int[::1] thing,
        const long long[::1] time_ms, const unsigned short[::1] speed,
    ):
        """Take in rows. All IN [rows]; the last run goes on in the next call."""
        with nogil:
            self._add(place, thing, time_ms, speed)

    cdef int _add(
        self, const unsigned int[::1] place, const unsigned int[::1] thing,
        const long long[::1] time_ms, const unsigned short[::1] speed,
    ) except -1 nogil:
        cdef Py_ssize_t rows = place.shape[0], first = 0, i
        cdef Py_ssize_t places = self.count.shape[0]
        cdef unsigned int here, who
        cdef unsigned short v
        cdef long long low, high, period, measured, speed_sum, standing
        cdef int below = self.standing_below
        while first < rows:
            here = place[first]
            who = thing[first]
            if here >= places or time_ms[first] < self.begin_ms or time_ms[first] >= self.end_ms:
                self.outside += 1
                first += 1
                continue
            period = (time_ms[first] - self.begin_ms) // self.period_ms
            low = self.begin_ms + period * self.period_ms
            high = low + self.period_ms
            measured = speed_sum = standing = 0
            i = first
            while (
                i < rows and place[i] == here and thing[i] == who
                and low <= time_ms[i] < high
            ):
                v = speed[i]
                if v != NO_SPEED:
                    measured += 1
                    speed_sum += v
                    standing += v < below
                i += 1
            self.count[here, period] += i - first
            self.measured[here, period] += measured
            self.speed_sum[here, period] += speed_sum
            self.standing[here, period] += standing
            if (
                here != self.last_place or who != self.last_thing
                or period != self.last_period
            ):
                self.things[here, period] += 1
            self.last_place = here
            self.last_thing = who
            self.last_period = period
            first = i
        return 0
