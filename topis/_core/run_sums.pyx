"""Rows of moving things to sums per place and period, in one pass over sorted rows.

Rows come in runs: the same thing on the same lane for seconds on end. Sums are kept in registers
while a run lasts and written once at its end, which is what makes it nearly as fast as reading.
"""

#: What stands for "no speed was measured".
cdef enum:
    NO_SPEED = 65535


#: Where in a cell each sum stands: side by side, so that a run touches one line of cache.
cdef enum:
    COUNT = 0
    THINGS = 1
    MEASURED = 2
    SPEED_SUM = 3
    STANDING = 4

ctypedef fused thing_t:
    unsigned int
    unsigned long long


cdef class RunSums:
    """Sums int64[places, periods, 5], filled by `add` in any number of calls.

    In this order: rows; different things (a thing that leaves a place and comes back is counted
    again); rows with a speed; the sum of their speeds; those of them below ``standing_below``.
    Times before ``begin_ms`` or past the last period, and places out of range, are passed over and
    counted in ``outside``.
    """

    cdef long long[:, :, ::1] sums
    cdef long long begin_ms, end_ms, period_ms
    cdef unsigned int last_place
    cdef unsigned long long last_thing
    cdef long long last_period
    cdef int standing_below
    cdef readonly long long outside

    def __init__(self, *, sums, begin_ms, period_ms, standing_below):
        self.sums = sums
        self.begin_ms = begin_ms
        self.period_ms = period_ms
        self.end_ms = begin_ms + period_ms * self.sums.shape[1]
        self.standing_below = standing_below
        self.last_place = 0
        self.last_thing = 0
        self.last_period = -1
        self.outside = 0

    def add(
        self, const unsigned int[::1] place, const thing_t[::1] thing,
        const long long[::1] time_ms, const unsigned short[::1] speed,
    ):
        """Take in rows. All IN [rows]; the last run goes on in the next call."""
        cdef Py_ssize_t rows = place.shape[0], first = 0, i
        cdef Py_ssize_t places = self.sums.shape[0]
        cdef unsigned int here
        cdef thing_t who
        cdef unsigned short v
        cdef long long low = 0, high = 0, period = 0, measured, speed_sum, standing
        cdef long long *cell
        cdef int below = self.standing_below
        if rows == 0 or places == 0 or self.sums.shape[1] == 0:
            self.outside += rows
            return
        with nogil:
            while first < rows:
                here = place[first]
                who = thing[first]
                if not low <= time_ms[first] < high:
                    if time_ms[first] < self.begin_ms or time_ms[first] >= self.end_ms:
                        self.outside += 1
                        first += 1
                        continue
                    period = (time_ms[first] - self.begin_ms) // self.period_ms
                    low = self.begin_ms + period * self.period_ms
                    high = low + self.period_ms
                if here >= places:
                    self.outside += 1
                    first += 1
                    continue
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
                cell = &self.sums[here, period, 0]
                cell[COUNT] += i - first
                cell[MEASURED] += measured
                cell[SPEED_SUM] += speed_sum
                cell[STANDING] += standing
                if (
                    here != self.last_place or who != self.last_thing
                    or period != self.last_period
                ):
                    cell[THINGS] += 1
                self.last_place = here
                self.last_thing = who
                self.last_period = period
                first = i
