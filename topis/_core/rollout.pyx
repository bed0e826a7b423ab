"""Rolling-horizon search: what to show next at a junction, by playing out each choice.

A junction is a set of *streams* (approach lanes, and crossings as streams of walkers) and
a set of stages. Streams are fluid point queues in steps of one second. Each choice
("keep", or "go on for x seconds, then show stage s") is played to the horizon, after it a
base policy (the stage that would discharge most, a change weighed by the time it costs)
or the plan goes on. The choice of least cost wins; only its first move is ever carried
out. The form of the search is that of rollout algorithms (Bertsekas 1997, J. Heuristics
3), used for signals in the spirit of COP (Sen & Head 1997, Transp. Sci. 31).
"""

from array import array

cimport cython
from libc.math cimport NAN
from cython.parallel cimport prange, threadid

from topis._core.vectors cimport const_floats, floats, vector_float
from topis._core.rollout_vectors cimport (
    chosen, gains_avx2, has_avx2, has_avx512, second_16, second_avx2,
)

cdef enum:
    EXTENSIONS = 8
    MOST_STAGES = 64
    # Accrued cost is compared with the best so far every so many steps.
    PRUNE_EVERY = 4
    # What is known of a cost: all of it, that it is no less, that it is no more.
    EXACT = 0
    AT_LEAST = 1
    AT_MOST = 2
#: Seconds of extension tried before a change; 0 must come first.
cdef int[EXTENSIONS] EXTEND_S = [0, 2, 4, 7, 10, 14, 19, 25]
#: Part of a vehicle's own passage that must be free before it is through, and what one waits
#: at least that is not served within the horizon (s).
cdef float ONE_MORE_VEH = 0.5
cdef float BEYOND_S = 10.0
#: Traffic with priority that arrives within this time leaves no gap (s).
cdef float GAP_S = 2.5
#: Vehicles of a stream that wait inside the junction for a gap, and leave at yellow.
cdef float SNEAKERS_VEH = 1.0

#: Base policy: least share of its worth that a change keeps; what going on is worth at least;
#: room that a queue needs behind the stop line.
cdef float LEAST_GAIN = 0.05
cdef float NEVER_NONE = 1e-6
cdef float ONE_VEH = 1.0

#: No front is as far from open.
cdef float NEVER_OPEN = -1e30
#: Two ways to add up the same costs differ by a smaller share than this.
cdef float ROUNDING = 1e-4

#: Room inside a junction that is not joined.
cdef float ENDLESS_VEH = 1e9

cdef bint AVX2 = has_avx2()
cdef bint AVX512 = has_avx512()

cdef struct Table:
    # One junction's slice of the arrays; see `RolloutSearch`.
    int streams, stages, wide, horizon
    float decay
    const float* rate
    const float* rate_of
    const float* pass_share
    const float* cap
    const float* weight
    const float* refill
    const int* inner_from
    const int* inner_to
    const float* inner_share
    const float* inner_room
    int inner
    const int* hold_s
    const int* lost_s
    const int* min_green_s
    const int* yield_ptr
    const int* yield_stream
    const int* foes
    const int* foe_ptr
    const int* foe
    const float* gives
    const float* yield_share
    const short* plan
    float plan_weight
    float* arrive
    float* soon
    float* ahead
    float* met
    float* could
    float* gone
    float* inside
    float* wait
    float* busy
    float* passes
    float* rate_change

cdef struct Play:
    # A junction in the middle of being played out.
    int now_s, stage, green_s, next_stage, hold_s, lost_s
    float charged, fade
    const float* rate
    float* queue
    float* open
    float* room
    float* cost


cdef float second(
    int n, int foes, float fade, float stop_s, const_floats rate, const_floats own,
    const_floats gives, const_floats yield_share, const int* foe,
    const_floats arrive, const_floats ahead, const_floats weight, const_floats cap,
    const_floats refill, const_floats inside, floats queue, floats open_, floats room,
    floats cost, floats gone, floats wait, floats busy, floats passes,
) noexcept nogil:
    """One second of ``n`` streams (a multiple of 4): gaps, arrivals, discharge, cost, room.

    Turns that give way (``gives`` 1, others 0) go when those with priority have no queue, in
    their gaps: ``foe`` [foes, n] are the streams each waits for, n where there is none; ``own``
    the stage's ``pass_share``. ``foes`` -1: nobody gives way.
    """
    cdef int i, _
    cdef float x, d, stopped, passing, lead, front, one = 1.0, never = NEVER_OPEN
    if foes >= 0:
        for i in range(n):
            wait[i] = queue[i] + GAP_S * arrive[i]
            busy[i] = 0.0
        wait[n] = 0.0
        for _ in range(foes):
            for i in range(n):
                busy[i] += wait[foe[i]]
            foe = foe + n
        for i in range(n):
            x = busy[i] if busy[i] < one else one
            passing = own[i] - yield_share[i] * x
            passes[i] = passing
            front = open_[i]
            lead = passing if gives[i] > 0.0 else never
            # Who stood at the front for a gap gets it.
            x = front + (one - x) * (own[i] - front)
            open_[i] = x if lead > front else front
    else:
        for i in range(n):
            passes[i] = own[i]
    for i in range(n):
        x = queue[i] + arrive[i]
        d = cap[i] * rate[i] * open_[i]
        d = x if x < d else d
        d = room[i] if room[i] < d else d
        d = inside[i] if inside[i] < d else d
        room[i] = room[i] - d + refill[i]
        open_[i] = open_[i] - open_[i] * (one - passes[i]) * d
        x = x - d
        stopped = x if x < one else one
        cost[i] = cost[i] + fade * weight[i] * (x + d * ahead[i] + stop_s * arrive[i] * stopped)
        queue[i] = x
        gone[i] = d
    return 0.0


cdef vector_float least_of(int n, const_floats a, const_floats b, floats least) noexcept nogil:
    cdef int i
    for i in range(n):
        least[i] = a[i] if a[i] < b[i] else b[i]
    return 0.0


cdef vector_float turn_over(
    int n, const_floats shown, const_floats following, floats open_
) noexcept nogil:
    """Who stood blocked at the front is whom the next stage is likely to let go."""
    cdef int i
    cdef float others, one = 1.0
    for i in range(n):
        others = one - open_[i]
        others = following[i] if following[i] > others else others
        # By bits instead of a jump, which would often be guessed wrong.
        open_[i] = chosen(following[i] != shown[i], others, open_[i])
    return 0.0


cdef inline float about(int n, float start, const_floats cost) noexcept nogil:
    """Nearly the sum of costs, added up four by four."""
    cdef int i = 0
    cdef float a = start, b = 0.0, c = 0.0, d = 0.0
    while i < n:
        a += cost[i]
        b += cost[i + 1]
        c += cost[i + 2]
        d += cost[i + 3]
        i += 4
    return (a + b) + (c + d)


cdef vector_float gains(
    int n, int wide, int shown, float worth_s, const_floats rate_of, const_floats queue,
    const_floats soon, const_floats cap, const_floats weight, const_floats room,
    const_floats open_, floats sum_,
) noexcept nogil:
    """What each of ``wide`` stages would discharge within ``worth_s``, returned for ``shown``."""
    cdef int i, s
    cdef float q, most, own = NEVER_NONE
    # An index worked out as row times width would be fetched one by one: it might wrap around.
    cdef const_floats row = rate_of
    for s in range(wide):
        sum_[s] = 0.0
    for i in range(n):
        q = queue[i] + soon[i]
        most = cap[i] * worth_s
        q = (q if q < most else most) * weight[i]
        q = q if room[i] >= ONE_VEH else 0.0
        own += q * open_[i] * row[shown]
        for s in range(wide):
            sum_[s] += q * row[s]
        row = row + wide
    return own


@cython.final
cdef class RolloutSearch:
    """Arrays of all junctions; a junction's streams and stages are contiguous.

    ``stream_ptr`` int32[junctions + 1], each junction padded to a multiple of 4 streams
    (padding has no traffic). ``stage_ptr`` int32[junctions + 1]. ``rate_ptr``
    int32[junctions]: start of the junction's [stage, stream] block in ``rate`` (share of
    capacity a stage lets go, once its front may go) and ``pass_share`` (share of the
    stream's traffic that may go in the stage; the others block it). ``wide``
    int32[junctions]: stages rounded up to
    a multiple of 4; ``rate_of_ptr``: start of the [stream, wide] transpose in ``rate_of``.
    ``hold_s`` / ``lost_s`` int32[stages, most]: seconds after the command in which the
    stage that ends still serves, and in which only what both stages serve goes.
    ``inner_ptr`` int32[junctions + 1]: pairs of streams, ``inner_from`` and ``inner_to``
    (numbers within the junction), of which the first discharges ``inner_share`` of its
    traffic into the second, which takes no more than ``inner_room`` vehicles.
    ``yield_ptr`` int32[stages + 1]: streams of which ``yield_share`` gives way in the stage,
    to the streams ``foe_stream`` in ``foe_ptr``: while those have a queue it does not go.
    """

    cdef const int[::1] stream_ptr, stage_ptr, rate_ptr, rate_of_ptr, wide, min_green_s
    cdef const int[:, ::1] hold_s, lost_s
    cdef const int[::1] horizon_s
    cdef const float[::1] decay, inner_share, inner_room
    cdef const int[::1] inner_ptr, inner_from, inner_to
    cdef const int[::1] yield_ptr, yield_stream
    # As many columns as the junction has streams: see `second`.
    cdef int[::1] foes, foe_start, foe
    cdef float[::1] gives, yield_share
    cdef int horizon, most_streams, base_every_s
    cdef float ahead_share, stop_s, worth_s

    def __init__(
        self, *, stream_ptr, stage_ptr, rate_ptr, rate_of_ptr, wide, min_green_s, hold_s, lost_s,
        decay, horizon_s, inner_ptr, inner_from, inner_to, inner_share, inner_room,
        yield_ptr, yield_stream, yield_share, foe_ptr, foe_stream, int most_horizon_s,
        int base_every_s, float ahead_share, float stop_s, float worth_s,
    ):
        cdef int j
        self.stream_ptr = stream_ptr
        self.stage_ptr = stage_ptr
        self.rate_ptr = rate_ptr
        self.rate_of_ptr = rate_of_ptr
        self.wide = wide
        self.min_green_s = min_green_s
        self.hold_s = hold_s
        self.lost_s = lost_s
        self.decay = decay
        self.horizon_s = horizon_s
        self.inner_ptr = inner_ptr
        self.inner_from = inner_from
        self.inner_to = inner_to
        self.inner_share = inner_share
        self.inner_room = inner_room
        self.yield_ptr = yield_ptr
        self.yield_stream = yield_stream
        self.spread(yield_share, foe_ptr, foe_stream)
        self.horizon = most_horizon_s
        self.base_every_s = base_every_s
        self.ahead_share = ahead_share
        self.stop_s = stop_s
        self.worth_s = worth_s
        self.most_streams = 4
        for j in range(wide.shape[0]):
            self.most_streams = max(self.most_streams, stream_ptr[j + 1] - stream_ptr[j])

    def spread(
        self, const float[::1] yield_share, const int[::1] foe_ptr, const int[::1] foe_stream
    ):
        """What is known of turns that give way, by stage and stream instead of as rows."""
        cdef int j, s, k, f, i, n, junctions = self.wide.shape[0], cells = 0, at
        cdef Py_ssize_t size = 0
        self.foes = array("i", [-1]) * self.min_green_s.shape[0]
        self.foe_start = array("i", [0]) * self.min_green_s.shape[0]
        for j in range(junctions):
            n = self.stream_ptr[j + 1] - self.stream_ptr[j]
            cells = max(cells, self.rate_ptr[j] + n * (self.stage_ptr[j + 1] - self.stage_ptr[j]))
            for s in range(self.stage_ptr[j], self.stage_ptr[j + 1]):
                for k in range(self.yield_ptr[s], self.yield_ptr[s + 1]):
                    self.foes[s] = max(self.foes[s], foe_ptr[k + 1] - foe_ptr[k])
                self.foe_start[s] = size
                size += n * max(self.foes[s], 0)
        self.gives = array("f", [0.0]) * cells
        self.yield_share = array("f", [0.0]) * cells
        self.foe = array("i", [0]) * size
        for j in range(junctions):
            n = self.stream_ptr[j + 1] - self.stream_ptr[j]
            for s in range(self.stage_ptr[j], self.stage_ptr[j + 1]):
                for k in range(n * max(self.foes[s], 0)):
                    self.foe[self.foe_start[s] + k] = n
                for k in range(self.yield_ptr[s], self.yield_ptr[s + 1]):
                    i = self.yield_stream[k]
                    at = self.rate_ptr[j] + n * (s - self.stage_ptr[j]) + i
                    self.gives[at] = 1.0
                    self.yield_share[at] = yield_share[k]
                    for f in range(foe_ptr[k + 1] - foe_ptr[k]):
                        self.foe[self.foe_start[s] + n * f + i] = foe_stream[foe_ptr[k] + f]

    @property
    def scratch_size(self):
        """Floats of scratch memory each thread needs."""
        return self.most_streams * (5 * self.horizon + 7 + 4 * (EXTENSIONS + 1))

    def decide(
        self, const int[::1] due, const int[::1] shown, const int[::1] green_s,
        const float[::1] rate, const float[::1] rate_of, const float[::1] pass_share,
        const float[::1] cap_vps, const float[::1] weight, const float[::1] queue_veh,
        const int[::1] arrival_of,
        const float[:, ::1] arrival_vps, const float[::1] steady_vps, const float[::1] open_share,
        const float[::1] room_veh, const float[::1] refill_vps,
        const unsigned char[::1] allowed, const short[:, ::1] plan, const float[::1] plan_weight,
        float[:, ::1] scratch, int threads,
        int[::1] choice, float[::1] cost, float[::1] keep_cost, float[:, ::1] planned_vps,
        const float[:, ::1] ahead_s, float[:, ::1] wait_s,
        float[::1] stage_cost, unsigned char[::1] stage_bound, int[::1] extend_s,
        int[::1] next_stage,
    ):
        """Search at the junctions ``due``.

        IN ``shown`` int32[junctions]: local number of the stage that is green; ``green_s`` how
        long. Per stream: ``cap_vps`` its saturation flow; ``weight`` of a vehicle's delay;
        ``queue_veh`` standing; ``arrival_of``: row of ``arrival_vps`` [rows, at least horizon]
        with its arrivals, -1 if none, and ``steady_vps`` that come on top; ``open_share``
        probability that its front is not blocked; ``room_veh`` that the road behind takes, and
        ``refill_vps`` at which it gets room. ``allowed`` uint8[stages]: whether a stage may be
        chosen. ``plan`` int16[junctions, horizon]: stage planned, -1 none; ``plan_weight``:
        cost of each second off it.
        OUT [junctions] ``choice``: local stage; ``cost`` of it, ``keep_cost`` of keeping;
        ``planned_vps`` [streams, longest horizon]: what would leave in each second; ``wait_s``
        how long one that arrives in it would wait. IN ``ahead_s`` [streams, longest horizon]:
        wait at the next signal of who leaves in each second.
        OUT [stages] ``stage_cost``: of going to the stage now, of the shown one the least of all
        plays that begin by keeping it; NaN where the stage may not be chosen. ``stage_bound``:
        0 the cost is exact; 1 it is at least that (the play was stopped, it could not win); 2 at
        most (so were plays that keep the stage for some seconds and then change). OUT
        [junctions] ``next_stage``: the stage that the best play changes to, -1 if the base policy
        chooses, and ``extend_s``: after how many seconds.
        """
        cdef int k, count = due.shape[0]
        with nogil:
            for k in prange(count, schedule="dynamic", chunksize=8, num_threads=threads):
                self.junction(
                    due[k], shown, green_s, rate, rate_of, pass_share, cap_vps, weight,
                    queue_veh, arrival_of, arrival_vps, steady_vps, open_share, room_veh,
                    refill_vps, allowed, plan, plan_weight, &scratch[threadid(), 0], choice,
                    cost, keep_cost, planned_vps, ahead_s, wait_s, stage_cost, stage_bound,
                    extend_s, next_stage,
                )

    cdef int junction(
        self, int j, const int[::1] shown, const int[::1] green_s,
        const float[::1] rate, const float[::1] rate_of, const float[::1] pass_share,
        const float[::1] cap_vps, const float[::1] weight, const float[::1] queue_veh,
        const int[::1] arrival_of,
        const float[:, ::1] arrival_vps, const float[::1] steady_vps, const float[::1] open_share,
        const float[::1] room_veh, const float[::1] refill_vps,
        const unsigned char[::1] allowed, const short[:, ::1] plan, const float[::1] plan_weight,
        float* scratch, int[::1] choice, float[::1] cost, float[::1] keep_cost,
        float[:, ::1] planned_vps, const float[:, ::1] ahead_s, float[:, ::1] wait_s,
        float[::1] stage_cost, unsigned char[::1] stage_bound, int[::1] extend_s,
        int[::1] next_stage,
    ) except -1 nogil:
        cdef int first = self.stream_ptr[j], stage0 = self.stage_ptr[j]
        cdef int n = self.stream_ptr[j + 1] - first, i, t, x, s, source
        cdef int best = shown[j], span = <int>self.worth_s
        cdef int best_x = 1, best_s = -1
        cdef float value, least, stay, stopped = 1e30
        cdef bint whole
        cdef Table table
        cdef Play play
        cdef float* saved = scratch + n * (5 * self.horizon + 7)
        cdef float* work = saved + 4 * n * EXTENSIONS
        cdef int inner0 = self.inner_ptr[j]
        table.streams = n
        table.stages = self.stage_ptr[j + 1] - stage0
        table.wide = self.wide[j]
        table.horizon = self.horizon_s[j]
        table.decay = self.decay[j]
        table.rate = &rate[self.rate_ptr[j]]
        table.rate_of = &rate_of[self.rate_of_ptr[j]]
        table.pass_share = &pass_share[self.rate_ptr[j]]
        table.cap = &cap_vps[first]
        table.weight = &weight[first]
        table.refill = &refill_vps[first]
        table.hold_s = &self.hold_s[stage0, 0]
        table.lost_s = &self.lost_s[stage0, 0]
        table.min_green_s = &self.min_green_s[stage0]
        table.inner = self.inner_ptr[j + 1] - inner0
        table.inner_from = &self.inner_from[inner0]
        table.inner_to = &self.inner_to[inner0]
        table.inner_share = &self.inner_share[inner0]
        table.inner_room = &self.inner_room[inner0]
        table.plan = &plan[j, 0]
        table.plan_weight = plan_weight[j]
        table.arrive = scratch
        table.soon = scratch + n * self.horizon
        table.ahead = scratch + 2 * n * self.horizon
        table.met = scratch + 3 * n * self.horizon
        table.could = scratch + 4 * n * self.horizon
        table.gone = scratch + 5 * n * self.horizon
        table.inside = table.gone + 3 * n
        for i in range(n):
            table.inside[i] = ENDLESS_VEH
        table.wait = table.gone + 4 * n
        table.busy = table.gone + 6 * n
        table.yield_ptr = &self.yield_ptr[stage0]
        table.foes = &self.foes[stage0]
        table.foe_ptr = &self.foe_start[stage0]
        table.gives = &self.gives[self.rate_ptr[j]]
        table.yield_share = &self.yield_share[self.rate_ptr[j]]
        table.yield_stream = table.foe = NULL
        if self.yield_stream.shape[0] > 0:
            table.yield_stream = &self.yield_stream[0]
        if self.foe.shape[0] > 0:
            table.foe = &self.foe[0]
        table.rate_change = table.gone + n
        table.passes = table.gone + 2 * n
        for i in range(n):
            source = arrival_of[first + i]
            for t in range(table.horizon):
                table.arrive[t * n + i] = steady_vps[first + i]
                if source >= 0:
                    table.arrive[t * n + i] += arrival_vps[source, t]
                table.ahead[t * n + i] = self.ahead_share * ahead_s[first + i, t]
        # Arrivals within the time over which the base policy weighs a change, from each second.
        for i in range(n):
            value = 0.0
            for t in range(table.horizon - 1, -1, -1):
                value += table.arrive[t * n + i]
                if t + span < table.horizon:
                    value -= table.arrive[(t + span) * n + i]
                table.soon[t * n + i] = value
            for t in range(max(table.horizon - span, 1), table.horizon):
                # Past the horizon it goes on as it was.
                table.soon[t * n + i] = table.soon[(max(table.horizon - span, 1) - 1) * n + i]
        # Going on with the shown stage is played once; each extension starts from a copy.
        play.queue = work
        play.open = work + n
        play.room = work + 2 * n
        play.cost = work + 3 * n
        for i in range(n):
            play.queue[i] = queue_veh[first + i]
            play.open[i] = open_share[first + i]
            play.room[i] = room_veh[first + i]
            play.cost[i] = 0.0
        play.now_s = 0
        play.stage = shown[j]
        play.green_s = green_s[j]
        play.next_stage = -1
        play.hold_s = play.lost_s = 0
        play.charged = 0.0
        play.fade = 1.0
        self.show(&table, &play)
        for x in range(EXTENSIONS):
            while play.now_s < EXTEND_S[x] and play.now_s < table.horizon:
                self.step(&table, &play)
            for i in range(4 * n):
                saved[x * 4 * n + i] = work[i]
        # Keep: nothing before the next decision, then as the base policy or the plan goes.
        for i in range(4 * n):
            work[i] = saved[4 * n + i]
        play.now_s = EXTEND_S[1]
        play.fade = table.decay ** EXTEND_S[1]
        play.green_s = green_s[j] + EXTEND_S[1]
        play.charged = self.off_plan(&table, play.stage, 0, EXTEND_S[1])
        self.show(&table, &play)
        least = self.play_on(&table, &play, 1e30, &allowed[stage0])
        keep_cost[j] = stay = least
        for s in range(table.stages):
            stage_cost[stage0 + s] = NAN
            stage_bound[stage0 + s] = EXACT
        for x in range(EXTENSIONS):
            if EXTEND_S[x] >= table.horizon:
                break
            for s in range(table.stages):
                if s == shown[j] or not allowed[stage0 + s]:
                    continue
                play.next_stage = -1
                play.hold_s = play.lost_s = 0
                for i in range(4 * n):
                    work[i] = saved[x * 4 * n + i]
                play.now_s = EXTEND_S[x]
                play.fade = table.decay ** EXTEND_S[x]
                play.stage = shown[j]
                play.green_s = green_s[j] + EXTEND_S[x]
                play.charged = self.off_plan(&table, shown[j], 0, EXTEND_S[x])
                self.show(&table, &play)
                self.change(&table, &play, s)
                value = self.play_on(&table, &play, least, &allowed[stage0])
                whole = play.now_s >= table.horizon
                if x == 0:
                    stage_cost[stage0 + s] = value
                    stage_bound[stage0 + s] = EXACT if whole else AT_LEAST
                elif whole:
                    stay = value if value < stay else stay
                else:
                    stopped = value if value < stopped else stopped
                if value < least:
                    least = value
                    best = s if x == 0 else shown[j]
                    best_x = x
                    best_s = s
        choice[j] = best
        cost[j] = least
        stage_cost[stage0 + shown[j]] = stay
        stage_bound[stage0 + shown[j]] = AT_MOST if stopped < stay else EXACT
        extend_s[j] = EXTEND_S[best_x]
        next_stage[j] = best_s
        self.tell(&table, &play, saved, best_x, best_s, shown[j], green_s[j],
                  &allowed[stage0], &planned_vps[first, 0], &wait_s[first, 0])
        return 0

    cdef void tell(
        self, const Table* table, Play* play, const float* saved, int x, int s, int shown,
        int green_s, const unsigned char* allowed, float* planned_vps,
        float* wait_s,
    ) noexcept nogil:
        """Play the best choice once more, to tell the neighbours what leaves when.

        ``wait_s``: how long one that arrives in each second would wait.
        """
        cdef int i, t, leaves, n = table.streams
        cdef float through, ready
        cdef float* met = table.met
        cdef float* could = table.could
        for i in range(4 * n):
            play.queue[i] = saved[i]
        play.now_s = 0
        play.stage = shown
        play.green_s = green_s
        play.next_stage = -1
        play.hold_s = play.lost_s = 0
        play.charged = 0.0
        play.fade = 1.0
        self.show(table, play)
        while play.now_s < table.horizon:
            if play.now_s == EXTEND_S[x] and s >= 0:
                self.change(table, play, s)
            elif play.now_s >= EXTEND_S[x]:
                self.go_on(table, play, allowed)
            t = play.now_s
            for i in range(n):
                # Queue met, and what could leave.
                met[t * n + i] = play.queue[i]
                ready = table.cap[i] * play.rate[i] * play.open[i]
                could[t * n + i] = ready if ready < play.room[i] else play.room[i]
            self.step(table, play)
            for i in range(n):
                could[t * n + i] = min(could[t * n + i], table.inside[i])
                planned_vps[i * self.horizon + t] = table.gone[i]
        for i in range(n):
            leaves = 0
            through = 0.0
            for t in range(table.horizon):
                # ``through``: what leaves from second t up to and including ``leaves`` - 1.
                while leaves < table.horizon and (
                    leaves <= t or through < met[t * n + i] + ONE_MORE_VEH
                ):
                    through += could[leaves * n + i]
                    leaves += 1
                wait_s[i * self.horizon + t] = leaves - 1 - t
                if through < met[t * n + i] + ONE_MORE_VEH:
                    wait_s[i * self.horizon + t] = table.horizon - t + BEYOND_S
                through -= could[t * n + i]

    cdef float off_plan(self, const Table* table, int stage, int first, int last) noexcept nogil:
        cdef float total = 0.0
        cdef int t
        if table.plan_weight > 0.0:
            for t in range(first, last):
                if table.plan[t] >= 0 and table.plan[t] != stage:
                    total += table.plan_weight * table.decay ** t
        return total

    cdef void show(self, const Table* table, Play* play) noexcept nogil:
        """Take up the rates of the stage that is green."""
        play.rate = table.rate + play.stage * table.streams

    cdef void change(self, const Table* table, Play* play, int stage) noexcept nogil:
        """Begin a change of stage."""
        play.next_stage = stage
        play.hold_s = table.hold_s[play.stage * self.hold_s.shape[1] + stage]
        play.lost_s = table.lost_s[play.stage * self.lost_s.shape[1] + stage]
        if play.hold_s == 0:
            self.clear(table, play)

    cdef void clear(self, const Table* table, Play* play) noexcept nogil:
        """Yellow: who waits inside for a gap leaves; what both stages serve goes on."""
        cdef int i, k, n = table.streams
        cdef float leaving, one = 1.0
        cdef const float* new = table.rate + play.next_stage * n
        for k in range(table.yield_ptr[play.stage], table.yield_ptr[play.stage + 1]):
            i = table.yield_stream[k]
            leaving = SNEAKERS_VEH * (one - play.open[i])
            leaving = play.queue[i] if play.queue[i] < leaving else leaving
            leaving = play.room[i] if play.room[i] < leaving else leaving
            play.queue[i] -= leaving
            play.room[i] -= leaving
        least_of(n, new, play.rate, table.rate_change)
        play.rate = table.rate_change

    cdef void step(self, const Table* table, Play* play) noexcept nogil:
        """One second: arrivals, discharge, cost."""
        cdef int i, k, n = table.streams, foes = -1, row = play.stage * n
        cdef float* gone = table.gone
        cdef float* inside = table.inside
        cdef float x, fade = play.fade
        cdef float* queue = play.queue
        if play.next_stage < 0 or play.hold_s > 0:
            foes = table.foes[play.stage]
        for k in range(table.inner):
            inside[table.inner_from[k]] = ENDLESS_VEH
        for k in range(table.inner):
            # What stands inside a joined junction leaves little room behind the outer stop line.
            i = table.inner_from[k]
            x = table.inner_room[k] - queue[table.inner_to[k]]
            x = x if x > 0.0 else 0.0
            inside[i] = x if x < inside[i] else inside[i]
        if AVX512 and n == 16:
            second_16(
                foes, fade, self.stop_s, play.rate, table.pass_share + row, table.gives + row,
                table.yield_share + row, table.foe + table.foe_ptr[play.stage],
                table.arrive + play.now_s * n, table.ahead + play.now_s * n, table.weight,
                table.cap, table.refill, inside, queue, play.open, play.room, play.cost, gone,
            )
        elif AVX2:
            second_avx2(
                n, foes, fade, self.stop_s, play.rate, table.pass_share + row, table.gives + row,
                table.yield_share + row, table.foe + table.foe_ptr[play.stage],
                table.arrive + play.now_s * n, table.ahead + play.now_s * n, table.weight,
                table.cap, table.refill, inside, queue, play.open, play.room, play.cost, gone,
                table.wait,
            )
        else:
            second(
                n, foes, fade, self.stop_s, play.rate, table.pass_share + row, table.gives + row,
                table.yield_share + row, table.foe + table.foe_ptr[play.stage],
                table.arrive + play.now_s * n, table.ahead + play.now_s * n, table.weight,
                table.cap, table.refill, inside, queue, play.open, play.room, play.cost, gone,
                table.wait, table.busy, table.passes,
            )
        for k in range(table.inner):
            queue[table.inner_to[k]] += table.inner_share[k] * gone[table.inner_from[k]]
        if table.plan_weight > 0.0 and table.plan[play.now_s] >= 0:
            if (play.next_stage if play.next_stage >= 0 else play.stage) != table.plan[play.now_s]:
                play.charged += fade * table.plan_weight
        play.now_s += 1
        play.fade *= table.decay
        if play.next_stage < 0:
            play.green_s += 1
        elif play.hold_s > 0:
            play.hold_s -= 1
            if play.hold_s == 0:
                self.clear(table, play)
        elif play.lost_s > 0:
            play.lost_s -= 1
        if play.next_stage >= 0 and play.hold_s == 0 and play.lost_s == 0:
            turn_over(
                n, table.pass_share + play.stage * n, table.pass_share + play.next_stage * n,
                play.open,
            )
            play.stage = play.next_stage
            play.next_stage = -1
            play.green_s = 0
            self.show(table, play)

    cdef float play_on(
        self, const Table* table, Play* play, float bound, const unsigned char* allowed,
    ) noexcept nogil:
        """Cost to the horizon; stops early beyond ``bound``."""
        cdef int i, n = table.streams
        cdef float total, one = 1.0
        while play.now_s < table.horizon:
            self.go_on(table, play, allowed)
            self.step(table, play)
            if (
                play.now_s % PRUNE_EVERY == 0
                and about(n, play.charged, play.cost) >= bound * (one - ROUNDING)
            ):
                total = play.charged
                for i in range(n):
                    total += play.cost[i]
                if total >= bound:
                    return total
        total = play.charged
        for i in range(n):
            total += play.cost[i]
        return total

    cdef void go_on(
        self, const Table* table, Play* play, const unsigned char* allowed,
    ) noexcept nogil:
        """What follows the choice: the plan where there is one, else the base policy."""
        cdef int wanted = play.stage
        if play.next_stage >= 0 or play.green_s < table.min_green_s[play.stage]:
            return
        if table.plan_weight > 0.0 and table.plan[play.now_s] >= 0:
            wanted = table.plan[play.now_s]
        elif play.green_s % self.base_every_s == 0:
            wanted = self.base_policy(table, play, allowed)
        if wanted != play.stage:
            self.change(table, play, wanted)

    cdef int base_policy(
        self, const Table* table, const Play* play, const unsigned char* allowed,
    ) noexcept nogil:
        """Stage that would discharge most, a change weighed by the time it costs."""
        cdef float[MOST_STAGES] sum_
        cdef int s, best = play.stage
        cdef int wide = table.wide if table.wide < MOST_STAGES else MOST_STAGES
        cdef float value, top, lost, one = 1.0, least = LEAST_GAIN
        cdef const int* change_s = table.lost_s + play.stage * self.lost_s.shape[1]
        if AVX2:
            top = gains_avx2(
                table.streams, wide, play.stage, NEVER_NONE, self.worth_s, ONE_VEH, table.rate_of,
                play.queue, table.soon + play.now_s * table.streams, table.cap, table.weight,
                play.room, play.open, sum_, table.busy,
            )
        else:
            top = gains(
                table.streams, wide, play.stage, self.worth_s, table.rate_of, play.queue,
                table.soon + play.now_s * table.streams, table.cap, table.weight, play.room,
                play.open, sum_,
            )
        for s in range(table.stages if table.stages < MOST_STAGES else MOST_STAGES):
            if s == play.stage or not allowed[s]:
                continue
            lost = one - change_s[s] / self.worth_s
            value = sum_[s] * (lost if lost > least else least)
            if value > top:
                top = value
                best = s
        return best
