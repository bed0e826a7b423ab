"""Vehicles through a network of lanes, each a queue: first in, first out, at green, where there
is room ahead. Queues that stand in each other's way round a block would do so for ever: who is
first of a lane for longer than ``patience_s`` turns off the streets where there is no room, and
takes what gap there is.

A second at a time, lane by lane; within the second times are continuous. What leaves a lane is a
*passage*: who, when it came onto the lane, when it would have passed the end unhindered and when
it did. All memory is the caller's and survives between calls, so that how a day is cut into calls
does not matter.
"""

from libc.stdint cimport int64_t, uint64_t

cdef enum:
    NOBODY = -1
    # Lamp codes, see `topis.model.lamp`.
    PERMISSIVE = 2


cdef inline double _draw(uint64_t number, uint64_t hop) noexcept nogil:
    """A number in [0, 1) that follows from the two alone (SplitMix64, Steele et al. 2014)."""
    cdef uint64_t z = number * <uint64_t>0x9E3779B97F4A7C15 + hop * <uint64_t>0xD1B54A32D192ED03
    z = (z ^ (z >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * <uint64_t>0x94D049BB133111EB
    z = z ^ (z >> 31)
    return (z >> 11) * (1.0 / 9007199254740992.0)


cdef class StreetQueues:
    """See `topis.ingest.synth_traffic`, which compiles a network into these arrays."""

    # IN, the network
    cdef const int[::1] link_conn_ptr, lane_conn_ptr, link_storage
    cdef const int[::1] lane_link, conn_from_lane, conn_to_lane, conn_group, conn_move
    cdef const double[::1] conn_below, lane_free_s, headway_s
    cdef const int[::1] yield_ptr, yield_idx
    # IN, the signals: the code of group g at second t is
    # code[code_ptr[g] + (t - offset_s[g]) % (code_ptr[g + 1] - code_ptr[g])]
    cdef const int[::1] code_ptr, offset_s
    cdef const unsigned char[::1] code
    # INOUT, the lanes
    cdef int[::1] head, tail, coming, entered, arrived, gone, link_count
    cdef double[::1] free_s, last_enter_s, last_arrive_s, last_leave_s, conn_last_s
    # INOUT, the vehicles under way
    cdef int[::1] behind, conn, ahead, sequence, unused
    cdef int64_t[::1] number, hops
    cdef double[::1] enter_s, arrive_s
    cdef readonly int free_places
    cdef double startup_s, crossing_s, gap_s, patience_s, slowest

    def __init__(
        self, *, link_conn_ptr, lane_conn_ptr, link_storage, lane_link, conn_from_lane,
        conn_to_lane, conn_group, conn_move, conn_below, lane_free_s, yield_ptr, yield_idx,
        code_ptr, offset_s, code,
        head, tail, coming, entered, arrived, gone, link_count, free_s, last_enter_s,
        last_arrive_s, last_leave_s, conn_last_s, behind, conn, ahead, sequence, unused, number,
        hops, enter_s, arrive_s, headway_s, double startup_s, double crossing_s,
        double gap_s, double patience_s, double slowest,
    ):
        self.link_conn_ptr = link_conn_ptr
        self.lane_conn_ptr = lane_conn_ptr
        self.link_storage = link_storage
        self.lane_link = lane_link
        self.conn_from_lane = conn_from_lane
        self.conn_to_lane = conn_to_lane
        self.conn_group = conn_group
        self.conn_move = conn_move
        self.conn_below = conn_below
        self.lane_free_s = lane_free_s
        self.yield_ptr = yield_ptr
        self.yield_idx = yield_idx
        self.code_ptr = code_ptr
        self.offset_s = offset_s
        self.code = code
        self.head = head
        self.tail = tail
        self.coming = coming
        self.entered = entered
        self.arrived = arrived
        self.gone = gone
        self.link_count = link_count
        self.free_s = free_s
        self.last_enter_s = last_enter_s
        self.last_arrive_s = last_arrive_s
        self.last_leave_s = last_leave_s
        self.conn_last_s = conn_last_s
        self.behind = behind
        self.conn = conn
        self.ahead = ahead
        self.sequence = sequence
        self.unused = unused
        self.number = number
        self.hops = hops
        self.enter_s = enter_s
        self.arrive_s = arrive_s
        self.free_places = unused.shape[0]
        self.headway_s = headway_s
        self.startup_s = startup_s
        self.crossing_s = crossing_s
        self.gap_s = gap_s
        self.patience_s = patience_s
        self.slowest = slowest

    def run(
        self, int64_t begin_s, int seconds, const int[::1] entry_ptr, int[::1] entry_next,
        const int[::1] entry_lane, const double[::1] entry_s, const int64_t[::1] entry_number,
        int[::1] out_lane, int[::1] out_conn, int[::1] out_ahead,
        int64_t[::1] out_number, double[::1] out_enter_s, double[::1] out_arrive_s,
        double[::1] out_depart_s,
    ):
        """Some seconds; returns the number of passages written.

        ``entry_ptr`` IN int32[sources + 1] into ``entry_*`` IN [entries], each source's by time:
        who comes onto which lane (any of its link's) from outside. ``entry_next`` INOUT [sources]:
        the first that has not come in yet; who finds no room waits outside. ``out_*`` OUT:
        the passages, in no order.

        Raises
        ------
        MemoryError
            The passages do not fit.
        """
        cdef int64_t t
        cdef Py_ssize_t made = 0, lane, source
        cdef int k
        cdef bint full = False
        with nogil:
            for t in range(begin_s, begin_s + seconds):
                for source in range(entry_next.shape[0]):
                    k = entry_next[source]
                    while k < entry_ptr[source + 1] and entry_s[k] < t + 1:
                        if not self.enter(entry_lane[k], entry_s[k], entry_number[k], t):
                            break
                        k += 1
                    entry_next[source] = k
                for lane in range(self.head.shape[0]):
                    while self.head[lane] != NOBODY:
                        if made == out_lane.shape[0]:
                            full = True
                            break
                        if not self.leave(
                            <int>lane, t, made, out_lane, out_conn, out_ahead, out_number,
                            out_enter_s, out_arrive_s, out_depart_s,
                        ):
                            break
                        made += 1
                if full:
                    break
        if full:
            raise MemoryError("more passages than there is room for")
        return made

    cdef bint enter(self, int lane, double at_s, int64_t number, int64_t t) noexcept nogil:
        cdef int link = self.lane_link[lane]
        if self.free_places == 0 or self.link_count[link] >= self.link_storage[link]:
            return False
        self.free_places -= 1
        cdef int who = self.unused[self.free_places]
        self.number[who] = number
        self.hops[who] = 0
        self.put(who, lane, at_s if at_s > t else <double>t, False)
        return True

    cdef void put(self, int who, int lane, double at_s, bint stays) noexcept nogil:
        """Onto a link: which way it will go on, and the lane for that with the fewest on it.

        ``stays``: it comes from the part of the road before and stays in its lane, if that leads
        anywhere.
        """
        cdef int link = self.lane_link[lane], first, last, k, best
        cdef double draw, below, base = 0.0, top = 1.0, apart_s
        first = self.link_conn_ptr[link]
        last = self.link_conn_ptr[link + 1]
        if stays and self.lane_conn_ptr[lane] < self.lane_conn_ptr[lane + 1]:
            k = self.lane_conn_ptr[lane]
            base = self.conn_below[k - 1] if k > first else 0.0
            top = self.conn_below[self.lane_conn_ptr[lane + 1] - 1]
            if top > base:
                first = k
                last = self.lane_conn_ptr[lane + 1]
            else:
                base, top = 0.0, 1.0
        self.hops[who] += 1
        # No way on, or none that anyone takes: out of the network.
        if first == last or self.conn_below[self.link_conn_ptr[link + 1] - 1] <= 0.0:
            self.conn[who] = NOBODY
        else:
            draw = base + (top - base) * _draw(
                <uint64_t>self.number[who], <uint64_t>self.hops[who]
            )
            best = first
            while best < last - 1 and draw >= self.conn_below[best]:
                best += 1
            below = base
            for k in range(first, last):
                # Where no draw leads, on a lane for cycles, no vehicle goes.
                if self.conn_move[k] == self.conn_move[best] and self.conn_below[k] > below and (
                    self.on_lane(self.conn_from_lane[k]) < self.on_lane(self.conn_from_lane[best])
                ):
                    best = k
                below = self.conn_below[k]
            self.conn[who] = best
            lane = self.conn_from_lane[best]
        draw = _draw(<uint64_t>self.number[who], 0)
        # Nobody overtakes, or comes nearer than one drives.
        apart_s = self.headway_s[lane] / 2.0
        if at_s < self.last_enter_s[lane] + apart_s:
            at_s = self.last_enter_s[lane] + apart_s
        self.enter_s[who] = at_s
        self.last_enter_s[lane] = at_s
        self.arrive_s[who] = at_s + self.lane_free_s[lane] * (1.0 + self.slowest * draw)
        if self.arrive_s[who] < self.last_arrive_s[lane] + apart_s:
            self.arrive_s[who] = self.last_arrive_s[lane] + apart_s
        self.last_arrive_s[lane] = self.arrive_s[who]
        self.behind[who] = NOBODY
        self.ahead[who] = 0
        self.sequence[who] = self.entered[lane]
        self.entered[lane] += 1
        self.link_count[link] += 1
        if self.tail[lane] == NOBODY:
            self.head[lane] = who
        else:
            self.behind[self.tail[lane]] = who
        if self.coming[lane] == NOBODY:
            self.coming[lane] = who
        self.tail[lane] = who

    cdef inline int on_lane(self, int lane) noexcept nogil:
        return self.entered[lane] - self.gone[lane]

    cdef inline unsigned char shows(self, int group, int64_t t) noexcept nogil:
        cdef int first = self.code_ptr[group], length = self.code_ptr[group + 1] - first
        cdef int64_t into = (t - self.offset_s[group]) % length
        return self.code[first + (into + length if into < 0 else into)]

    cdef bint leave(
        self, int lane, int64_t t, Py_ssize_t made, int[::1] out_lane, int[::1] out_conn,
        int[::1] out_ahead, int64_t[::1] out_number, double[::1] out_enter_s,
        double[::1] out_arrive_s, double[::1] out_depart_s,
    ) noexcept nogil:
        """The first of the lane, if it may go in this second."""
        cdef int who = self.coming[lane], way, group, k, to_link
        cdef unsigned char code, before
        cdef bint gives_way = False, impatient
        cdef double at_s
        # Who reaches the queue finds so many ahead.
        while who != NOBODY and self.arrive_s[who] < t + 1:
            self.ahead[who] = self.sequence[who] - self.gone[lane]
            self.arrived[lane] = self.sequence[who] + 1
            who = self.behind[who]
        self.coming[lane] = who
        who = self.head[lane]
        way = self.conn[who]
        at_s = self.arrive_s[who]
        if way != NOBODY:
            group = self.conn_group[way]
            gives_way = group < 0
            if group >= 0:
                code = self.shows(group, t)
                before = self.shows(group, t - 1)
                if code < PERMISSIVE:
                    # Who waits in the junction for a gap leaves it when the green has ended.
                    if before != PERMISSIVE or at_s >= t:
                        return False
                else:
                    gives_way = code == PERMISSIVE
                    if at_s < t and before < PERMISSIVE:
                        if self.free_s[lane] < t + self.startup_s:
                            self.free_s[lane] = t + self.startup_s
        if at_s < self.free_s[lane]:
            at_s = self.free_s[lane]
        # It could have gone before, had nothing stood in its way.
        if at_s < t:
            at_s = <double>t
        if at_s >= t + 1:
            return False
        if way != NOBODY:
            impatient = (
                at_s - self.arrive_s[who] >= self.patience_s
                and at_s - self.last_leave_s[lane] >= self.patience_s
            )
            if gives_way and not impatient:
                for k in range(self.yield_ptr[way], self.yield_ptr[way + 1]):
                    if self.conn_last_s[self.yield_idx[k]] > at_s - self.gap_s:
                        return False
            to_link = self.lane_link[self.conn_to_lane[way]]
            if self.link_count[to_link] >= self.link_storage[to_link]:
                if not impatient:
                    return False
                way = NOBODY
            else:
                self.conn_last_s[way] = at_s
        out_lane[made] = lane
        out_conn[made] = way
        out_ahead[made] = self.ahead[who]
        out_number[made] = self.number[who]
        out_enter_s[made] = self.enter_s[who]
        out_arrive_s[made] = self.arrive_s[who]
        out_depart_s[made] = at_s
        self.free_s[lane] = at_s + self.headway_s[lane]
        self.last_leave_s[lane] = at_s
        self.gone[lane] += 1
        self.head[lane] = self.behind[who]
        if self.head[lane] == NOBODY:
            self.tail[lane] = NOBODY
        self.link_count[self.lane_link[lane]] -= 1
        if way == NOBODY:
            self.unused[self.free_places] = who
            self.free_places += 1
        else:
            # Between the parts of a road there is no junction to cross.
            if self.conn_group[way] >= 0:
                at_s += self.crossing_s
            self.put(who, self.conn_to_lane[way], at_s, self.conn_group[way] < 0)
        return True
