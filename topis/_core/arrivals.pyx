"""Arrivals at every stop line over the next minute: those in view, those sent on from upstream.

What leaves an upstream stop line arrives at the next one a travel time later. Departures
are laid into a ring of seconds per lane; a lane's ring is scaled so that its mean agrees
with the flow measured there, which makes up for turn shares not known well.
"""

from libc.math cimport ceilf

#: Time over which the flow laid into a ring is averaged (s).
cdef float AVERAGE_S = 240.0
#: A ring that tells of a smaller share of a lane's flow is not stretched to all of it.
cdef float LEAST_FED = 0.5
cdef float MOST_GAIN = 2.0
#: Platoons spread: share of a departure one second early, on time, one second late.
cdef float[3] SPREAD = [0.25, 0.5, 0.25]


cdef class ArrivalForecast:
    """Arrays over approach lanes; ``feed_*`` list, lane by lane, where its traffic goes on to.

    ``feed_ptr`` int32[lanes + 1], ``feed_to`` int32[feeds] (approach lane), ``feed_share``
    float32[feeds], ``feed_s`` int32[feeds] travel time, below the length of the ring;
    ``seen_s`` float32[lanes]: how far ahead the lane's own sensors see; ``internal``
    uint8[lanes]: whether it is fed inside its own junction; ``fed`` uint8[lanes]: whether
    another junction feeds it.
    """

    cdef const int[::1] feed_ptr, feed_to, feed_s
    cdef const float[::1] feed_share, seen_s
    cdef const unsigned char[::1] internal, fed
    cdef float[:, ::1] ring
    cdef float[::1] fed_vps
    cdef long long now_s
    cdef float elapsed_s

    def __init__(
        self, *, feed_ptr, feed_to, feed_share, feed_s, seen_s, internal, fed, ring, fed_vps,
    ):
        self.feed_ptr = feed_ptr
        self.feed_to = feed_to
        self.feed_share = feed_share
        self.feed_s = feed_s
        self.seen_s = seen_s
        self.internal = internal
        self.fed = fed
        self.ring = ring
        self.fed_vps = fed_vps
        self.now_s = -1
        self.elapsed_s = 0.0

    def update(
        self, long long now_s, const float[::1] departed_veh, const float[::1] flow_vps,
        const float[:, ::1] coming_vps, float[:, ::1] arrival_vps, float[::1] fed_scale,
    ):
        """One tick.

        IN ``departed_veh`` [lanes] left in it; ``flow_vps`` measured arrivals; ``coming_vps``
        [lanes, seconds in view]. OUT ``arrival_vps`` [lanes, horizon]: mean over each second, as
        far as it is known or not fed from upstream; ``fed_scale`` [lanes] by which feeds count.
        """
        cdef int lane, k, t, place, slot, length = self.ring.shape[1], count = flow_vps.shape[0]
        cdef int horizon = arrival_vps.shape[1], in_view = coming_vps.shape[1], seen, told
        cdef long long since
        cdef float gain, due, flow, scale, rest
        with nogil:
            since = now_s - self.now_s if self.now_s >= 0 else 0
            if since < 0 or since >= length:
                self.ring[:, :] = 0.0
                since = 0
            self.elapsed_s += since
            # Seconds that have passed are told to the average and cleared for reuse.
            gain = 1.0 / min(max(self.elapsed_s, 30.0), AVERAGE_S)
            for lane in range(count):
                for k in range(since):
                    place = (self.now_s + k) % length
                    due = self.ring[lane, place]
                    self.ring[lane, place] = 0.0
                    self.fed_vps[lane] += gain * (due - self.fed_vps[lane])
            self.now_s = now_s
            for lane in range(count):
                if departed_veh[lane] <= 0.0:
                    continue
                for k in range(self.feed_ptr[lane], self.feed_ptr[lane + 1]):
                    for t in range(3):
                        slot = (now_s + self.feed_s[k] + t - 1) % length
                        self.ring[self.feed_to[k], slot] += (
                            SPREAD[t] * self.feed_share[k] * departed_veh[lane]
                        )
            for lane in range(count):
                flow = flow_vps[lane]
                scale, rest = 1.0, flow
                if self.fed[lane]:
                    rest = max(flow - self.fed_vps[lane], 0.0)
                    if self.fed_vps[lane] > LEAST_FED * flow:
                        scale = min(flow / max(self.fed_vps[lane], 1e-6), MOST_GAIN)
                        rest = 0.0
                if self.internal[lane]:
                    rest = 0.0
                fed_scale[lane] = scale
                seen = min(<int>ceilf(self.seen_s[lane]), horizon)
                told = max(min(length, horizon), seen)
                for t in range(seen):
                    arrival_vps[lane, t] = coming_vps[lane, t] if t < in_view else 0.0
                # The ring from now on: up to its end, then from its start.
                place = (now_s + seen) % length
                for t in range(seen, min(told, seen + length - place)):
                    arrival_vps[lane, t] = scale * self.ring[lane, place + t - seen] + rest
                for t in range(seen + length - place, told):
                    arrival_vps[lane, t] = (
                        scale * self.ring[lane, place + t - seen - length] + rest
                    )
                for t in range(told, horizon):
                    arrival_vps[lane, t] = rest
        return 0


def add_planned(
    const int[::1] feed_ptr,            # IN  [lanes + 1], as in `ArrivalForecast`
    const int[::1] feed_to,             # IN
    const float[::1] feed_share,        # IN
    const int[::1] feed_s,              # IN
    const float[::1] fed_scale,         # IN  [lanes] from the forecast
    const float[::1] seen_s,            # IN  [lanes]
    const float[::1] flow_vps,          # IN  [lanes] mean departures, where no plan tells
    long long now_s,                    # IN
    const long long[::1] told_s,        # IN  [rows] when each plan was told
    const int[::1] horizon_s,           # IN  [rows] how far it reaches
    const float[:, ::1] planned_vps,    # IN  [rows, longest horizon]
    const int[::1] planned_of,          # IN  [lanes] row of the lane, -1 if none
    const int[::1] asked_s,             # IN  [lanes] how many seconds are asked for
    const float[:, ::1] forecast_vps,   # IN  [lanes, at least the seconds asked for]
    float[:, ::1] arrival_vps,          # OUT [lanes, at least the seconds asked for]
):
    """The forecast, and what upstream junctions plan to send later than what it has.

    Beyond what is asked for of a lane its row stands as it was.
    """
    cdef int lane, k, t, to, row, first, begins, ends, horizon
    cdef long long place
    cdef float share, flow
    with nogil:
        for lane in range(flow_vps.shape[0]):
            for t in range(asked_s[lane]):
                arrival_vps[lane, t] = forecast_vps[lane, t]
        for lane in range(flow_vps.shape[0]):
            row = planned_of[lane]
            for k in range(feed_ptr[lane], feed_ptr[lane + 1]):
                to = feed_to[k]
                horizon = asked_s[to]
                share = feed_share[k] * fed_scale[to]
                flow = flow_vps[lane]
                first = min(max(feed_s[k], <int>seen_s[to]), horizon)
                # The plan tells of these seconds, the flow of those before and after.
                begins = ends = first
                if row >= 0:
                    begins = <int>clamped(feed_s[k] - (now_s - told_s[row]), first, horizon)
                    ends = <int>clamped(
                        feed_s[k] - (now_s - told_s[row]) + horizon_s[row], begins, horizon
                    )
                for t in range(first, begins):
                    arrival_vps[to, t] += share * flow
                if ends > begins:
                    place = begins - feed_s[k] + (now_s - told_s[row])
                    for t in range(begins, ends):
                        arrival_vps[to, t] += share * planned_vps[row, place + t - begins]
                for t in range(ends, horizon):
                    arrival_vps[to, t] += share * flow


cdef inline long long clamped(long long value, long long low, long long high) noexcept nogil:
    return min(max(value, low), high)


def waits_ahead(
    const int[::1] feed_ptr,            # IN  [lanes + 1], as in `ArrivalForecast`
    const int[::1] feed_to,             # IN
    const float[::1] feed_share,        # IN
    const int[::1] feed_s,              # IN
    long long now_s,                    # IN
    const long long[::1] told_s,        # IN  [rows] when each row of waits was told
    const int[::1] horizon_s,           # IN  [rows] how far it reaches
    const float[:, ::1] wait_s,         # IN  [rows, longest horizon]
    const int[::1] row_of,              # IN  [lanes] row of the lane, -1 if none
    const float[::1] crowded,           # IN  [rows] 0 to 1: how much its waits count
    const int[::1] asked_s,             # IN  [lanes] how many seconds are asked for
    float[:, ::1] ahead_s,              # OUT [rows, longest horizon]
):
    """Wait at the next signal of a vehicle that leaves a stop line in each of the next seconds.

    Waits that lie beyond what is told are taken to be as the mean of what is. Beyond what is asked
    for of a lane its row stands as it was.
    """
    cdef int lane, k, t, row, to, horizon, begins, ends, longest
    cdef long long place
    cdef float mean, weight
    with nogil:
        for lane in range(row_of.shape[0]):
            row = row_of[lane]
            if row < 0:
                continue
            longest = asked_s[lane]
            for t in range(longest):
                ahead_s[row, t] = 0.0
            if longest == 0:
                continue
            for k in range(feed_ptr[lane], feed_ptr[lane + 1]):
                to = row_of[feed_to[k]]
                if to < 0:
                    continue
                weight = crowded[to] * feed_share[k]
                if weight == 0.0:
                    # Nobody waits there, and most lanes are empty at any time.
                    continue
                horizon = horizon_s[to]
                mean = 0.0
                for t in range(horizon):
                    mean += wait_s[to, t]
                mean /= max(horizon, 1)
                place = feed_s[k] + now_s - told_s[to]
                begins = <int>clamped(-place, 0, longest)
                ends = <int>clamped(horizon - place, begins, longest)
                for t in range(begins):
                    ahead_s[row, t] += weight * mean
                for t in range(begins, ends):
                    ahead_s[row, t] += weight * wait_s[to, place + t]
                for t in range(ends, longest):
                    ahead_s[row, t] += weight * mean
