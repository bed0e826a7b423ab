"""Rows of camera tracks to what a camera tells each tick: vehicles in view, standing, passing.

One pass over rows in the archive's order (camera, track, time). Of each track the last frame of
a tick counts, as an instant's picture would; a line is passed where a track's distance to the
stop line falls below the line's, or would have by the next frame when it ends.
"""

from libc.stdint cimport int64_t

cdef enum:
    #: Rows of no measured speed.
    NO_SPEED = 65535


cdef class ViewCounts:
    """Sums into float32[ticks, sensors, 2]; see `topis.ingest.observe`.

    IN, by lane: ``along_x``, ``along_y``, ``along_m``: metres to the end of the lane are
    ``along_m`` - (``along_x`` x + ``along_y`` y), x and y in cm from the camera; ``stretch_ptr``
    into ``stretch_sensor``, ``near_m``, ``far_m`` (of the stretch, before the end of the lane);
    ``line_sensor`` (-1: none) and ``line_m``. ``lane_of_key`` int32: lane of a key of the
    dimension table, -1 unknown, -2 not to be looked at. ``vehicle_m``: length of a vehicle, which
    covers a line.
    """

    cdef const int[::1] lane_of_key, stretch_ptr, stretch_sensor, line_sensor
    cdef const float[::1] along_x, along_y, along_m, near_m, far_m, line_m
    cdef int standing_below
    cdef float vehicle_m
    cdef int64_t tick_ms, frame_ms
    # The track that is being followed.
    cdef int64_t camera, track, lane, tick
    cdef float before_m, next_m
    cdef bint standing, passed, pending
    cdef int64_t seen_ms
    cdef readonly int64_t unknown

    def __init__(
        self, *, lane_of_key, along_x, along_y, along_m, stretch_ptr, stretch_sensor, near_m,
        far_m, line_sensor, line_m, int standing_below, float vehicle_m, int64_t tick_ms,
        int64_t frame_ms,
    ):
        self.lane_of_key = lane_of_key
        self.along_x = along_x
        self.along_y = along_y
        self.along_m = along_m
        self.stretch_ptr = stretch_ptr
        self.stretch_sensor = stretch_sensor
        self.near_m = near_m
        self.far_m = far_m
        self.line_sensor = line_sensor
        self.line_m = line_m
        self.standing_below = standing_below
        self.vehicle_m = vehicle_m
        self.tick_ms = tick_ms
        self.frame_ms = frame_ms
        self.unknown = 0
        self.camera = self.track = self.lane = -1
        self.pending = False

    def add(
        self, const unsigned short[::1] camera, const unsigned int[::1] track,
        const int64_t[::1] time_ms, const int[::1] x_cm, const int[::1] y_cm,
        const unsigned short[::1] speed_cmps, const unsigned int[::1] lane_key,
        int64_t begin_ms, float[:, :, ::1] reading,
    ):
        """Take in rows, IN [rows]; ``reading`` INOUT: tick k ends at ``begin_ms`` + (k + 1) ticks.

        Rows outside its time are passed over; rows of unknown lanes are counted in ``unknown``.
        """
        cdef Py_ssize_t i
        cdef int64_t end_ms = begin_ms + self.tick_ms * reading.shape[0]
        cdef int64_t lane, tick
        cdef float before_m
        cdef float frame_share = <float>self.frame_ms / <float>self.tick_ms
        cdef int line
        with nogil:
            for i in range(camera.shape[0]):
                if time_ms[i] < begin_ms or time_ms[i] >= end_ms:
                    continue
                lane = -1
                if lane_key[i] < <unsigned int>self.lane_of_key.shape[0]:
                    lane = self.lane_of_key[lane_key[i]]
                if lane < 0:
                    self.unknown += lane == -1
                    continue
                tick = (time_ms[i] - begin_ms) // self.tick_ms
                before_m = self.along_m[lane] - (
                    self.along_x[lane] * x_cm[i] + self.along_y[lane] * y_cm[i]
                )
                if camera[i] != self.camera or track[i] != self.track or lane != self.lane:
                    self.settle(begin_ms, reading)
                    self.go_on(reading)
                    self.camera = camera[i]
                    self.track = track[i]
                    self.lane = lane
                    self.passed = False
                elif self.pending:
                    if tick != self.tick:
                        self.settle(begin_ms, reading)
                    line = self.line_sensor[lane]
                    if (
                        line >= 0 and not self.passed
                        and self.before_m > self.line_m[lane] >= before_m
                    ):
                        reading[tick, line, 0] += 1.0
                        self.passed = True
                line = self.line_sensor[lane]
                if line >= 0 and before_m <= self.line_m[lane] < before_m + self.vehicle_m:
                    reading[tick, line, 1] = min(reading[tick, line, 1] + frame_share, <float>1.0)
                self.tick = tick
                self.before_m = before_m
                self.next_m = 0.0
                if speed_cmps[i] != NO_SPEED:
                    self.next_m = <float>(speed_cmps[i] * self.frame_ms) / <float>100000.0
                self.seen_ms = time_ms[i]
                self.standing = (
                    speed_cmps[i] != NO_SPEED and speed_cmps[i] < self.standing_below
                )
                self.pending = True

    def finish(self, int64_t begin_ms, float[:, :, ::1] reading):
        """The last track counts as well; what comes after is another time."""
        self.settle(begin_ms, reading)
        self.go_on(reading)
        self.camera = self.track = self.lane = -1

    cdef void go_on(self, float[:, :, ::1] reading) noexcept nogil:
        """Who would have passed the line by the next frame, which does not show it, did so."""
        cdef int line
        if self.camera < 0 or self.passed:
            return
        line = self.line_sensor[self.lane]
        if line >= 0 and self.before_m > self.line_m[self.lane] >= self.before_m - self.next_m:
            reading[self.tick, line, 0] += 1.0
            self.passed = True

    cdef void settle(self, int64_t begin_ms, float[:, :, ::1] reading) noexcept nogil:
        """Who is still in view when the tick ends is counted in its stretch."""
        cdef int k, sensor
        cdef int64_t end_ms
        if not self.pending:
            return
        self.pending = False
        end_ms = begin_ms + self.tick_ms * (self.tick + 1)
        # A few frames may be missed; who was not seen for longer has left.
        if end_ms - self.seen_ms > 4 * self.frame_ms:
            return
        for k in range(self.stretch_ptr[self.lane], self.stretch_ptr[self.lane + 1]):
            if self.near_m[k] <= self.before_m < self.far_m[k]:
                sensor = self.stretch_sensor[k]
                reading[self.tick, sensor, 0] += 1.0
                if self.standing:
                    reading[self.tick, sensor, 1] += 1.0
                return
