"""Map matching of positions to directed links: a hidden Markov model, advanced point by point.

After Newson & Krumm (2009, ACM SIGSPATIAL GIS), with these changes. A vehicle's heading counts
where it moves. A vehicle that stands is hardly ever just short of a link's begin, inside a
junction: it seems so from behind the stop line. A step to any link costs at most ``jump``, so that
a history gone wrong heals, and what lies further than that behind the best can be dropped without
loss. Errors of points close together are alike, and would count again and again while a vehicle
waits: it takes a step once it moved ``step_m``; points in between are placed as seen from the last.

Kept per vehicle are the few best places it may have been at when it took its last step (`Beam`).
`MapMatch.match` answers at once with the best place as seen from there; `MapMatch.match_traces`
looks back from the end of each trace (Viterbi), which pays where points are sparse. One cell of
the grid lists every segment that a point in it may belong to, sorted by link.
"""

cimport cython
from cython.parallel cimport prange
from libc.math cimport fabsf, sqrtf
from libc.string cimport memset

cdef extern from *:
    """
    /* Arrays that do not overlap; a loop over them that stays a loop of its own, so that it is
       vectorised; memory asked for ahead of time. */
    typedef float *__restrict topis_floats;
    typedef const float *__restrict topis_const_floats;
    #if defined(__GNUC__) && !defined(__clang__)
    #define topis_vector_void __attribute__((noinline)) void
    #else
    #define topis_vector_void void
    #endif
    #if defined(__GNUC__)
    #define topis_fetch(place) __builtin_prefetch(place)
    #else
    #define topis_fetch(place)
    #endif
    """
    void fetch "topis_fetch"(const void* place) noexcept nogil
    ctypedef float* floats "topis_floats"
    ctypedef const float* const_floats "topis_const_floats"
    ctypedef void vector_void "topis_vector_void"

cdef enum:
    BEAM = 4
    MOST_CANDIDATES = 24
    #: Segments looked at together.
    CHUNK = 32
    #: Memory is asked for so many points before it is needed.
    AHEAD = 16
    #: Vehicles of neighbouring rows stay with one thread, whose cache holds them.
    ROWS_TOGETHER = 16
cdef float NEVER = -1e30
cdef float HARDLY = -1e12
#: Up to this time between points a measured speed tells the way better than two positions (ms).
cdef long long SPEED_TELLS_MS = 2000

cdef struct Beam:
    long long time_ms               # of the last point placed
    float speed_mps                 # then
    float x_m, y_m                  # of the last step
    float moved_m                   # since that
    int[BEAM] link                  # where it may have been at the step, best first
    float[BEAM] offset_m
    float[BEAM] score               # log of the probability, 0 for the best
    int size                        # 0: nothing is known

cdef struct Candidate:
    int link, back
    float offset_m, distance_m, score


@cython.final
cdef class MapMatch:
    """The map as arrays (`topis.ingest.match_arrays`), and the settings.

    Links are cut into straight segments: ``segment_link`` int32, ``segment_offset_m`` float32 of
    its start along the link. ``cell_ptr`` int32[rows * columns + 1], ``cell_segment`` int32: what
    is near each cell, sorted by link; ``cell_line`` float32[5, entries]: its start x, y (m), unit
    direction x, y, length (m), side by side, for they are looked at together. ``reach_ptr``
    int32[links + 1], ``reach_link`` int32, ``reach_m`` float32: ways from the end of a link to
    the start of another, the shortest first, all up to ``most_m``. ``length_m`` float32[links].
    ``unit`` float32[361, 2]: directions by degree clockwise from north.

    ``half_precision`` 1 / (2 sigma^2) of positions (1/m^2); ``heading_weight`` 1 / sigma^2 of
    headings (1/rad^2), the concentration of a von Mises distribution; ``slack_m`` and
    ``slack_share``: expected difference between way and movement, constant and per metre moved;
    ``jump`` the most a step costs; ``moving_mps`` the speed from which headings count; ``step_m``
    movement between steps; ``still_m`` what a standing vehicle seems to move at most; ``waiting``
    cost of standing short of a link's begin; ``forget_ms`` after which nothing is known.
    """

    cdef const float[:, ::1] cell_line, unit
    cdef const float[::1] segment_offset_m
    cdef const int[::1] segment_link, cell_ptr, cell_segment, reach_ptr, reach_link
    cdef const float[::1] reach_m, length_m
    cdef float west_m, south_m, per_cell, radius2_m2
    cdef int columns, rows
    cdef float half_precision, heading_weight, slack_m, slack_share, jump, moving_mps
    cdef float most_m, step_m, still_m, waiting
    cdef long long forget_ms

    def __init__(
        self, *, segment_link, segment_offset_m, cell_ptr, cell_segment, cell_line, reach_ptr,
        reach_link, reach_m, most_m, length_m, unit, west_m, south_m, cell_m, columns, rows,
        radius_m, half_precision, heading_weight, slack_m, slack_share, jump, moving_mps, step_m,
        still_m, waiting, forget_ms,
    ):
        self.segment_offset_m = segment_offset_m
        self.cell_line = cell_line
        self.segment_link = segment_link
        self.cell_ptr = cell_ptr
        self.cell_segment = cell_segment
        self.reach_ptr = reach_ptr
        self.reach_link = reach_link
        self.reach_m = reach_m
        self.most_m = most_m
        self.length_m = length_m
        self.unit = unit
        self.west_m, self.south_m = west_m, south_m
        self.per_cell = 1.0 / cell_m
        self.columns, self.rows = columns, rows
        self.radius2_m2 = radius_m * radius_m
        self.half_precision, self.heading_weight = half_precision, heading_weight
        self.slack_m, self.slack_share, self.jump = slack_m, slack_share, jump
        self.moving_mps, self.forget_ms = moving_mps, forget_ms
        self.step_m, self.still_m, self.waiting = step_m, still_m, waiting

    def match(
        self,
        const float[::1] x_m,               # IN  [points] east
        const float[::1] y_m,               # IN  north
        const float[::1] speed_mps,         # IN  NaN: unknown
        const float[::1] heading_deg,       # IN  clockwise from north, NaN: unknown
        const long long[::1] time_ms,       # IN  ascending for each vehicle
        const int[::1] vehicle,             # IN  its row in ``beams``
        Beam[::1] beams,                    # INOUT [vehicles]
        int[::1] link,                      # OUT [points] -1: none
        float[::1] offset_m,                # OUT along the link
        float[::1] distance_m,              # OUT to the link
        float[::1] confidence,              # OUT 0 to 1, among the places it may be at
        int threads,
    ):
        """Place each point, knowing its vehicle's points so far (in any order of vehicles).

        A point older than its vehicle's last is placed by itself and changes nothing.
        """
        cdef int worker
        for worker in prange(threads, nogil=True, num_threads=threads, schedule="static"):
            self.share(
                worker, threads, x_m, y_m, speed_mps, heading_deg, time_ms, vehicle, beams,
                link, offset_m, distance_m, confidence,
            )

    cdef int share(
        self, int worker, int threads, const float[::1] x_m, const float[::1] y_m,
        const float[::1] speed_mps, const float[::1] heading_deg, const long long[::1] time_ms,
        const int[::1] vehicle, Beam[::1] beams, int[::1] link, float[::1] offset_m,
        float[::1] distance_m, float[::1] confidence,
    ) except -1 nogil:
        """The points of one worker's vehicles."""
        cdef int i, row
        cdef Candidate[BEAM] chosen
        cdef Beam alone
        for i in range(vehicle.shape[0]):
            if i + AHEAD < vehicle.shape[0]:
                fetch(&beams[vehicle[i + AHEAD]])
                self.fetch_cell(x_m[i + AHEAD], y_m[i + AHEAD], False)
                self.fetch_cell(x_m[i + AHEAD // 2], y_m[i + AHEAD // 2], True)
            row = vehicle[i]
            if threads > 1 and row // ROWS_TOGETHER % threads != worker:
                continue
            if beams[row].size and time_ms[i] < beams[row].time_ms:
                alone.size = 0
                self.step(x_m[i], y_m[i], speed_mps[i], heading_deg[i], time_ms[i], &alone, chosen)
            else:
                self.step(
                    x_m[i], y_m[i], speed_mps[i], heading_deg[i], time_ms[i], &beams[row], chosen
                )
            link[i] = chosen[0].link
            offset_m[i] = chosen[0].offset_m
            distance_m[i] = chosen[0].distance_m
            confidence[i] = likelihood(chosen, 0)
        return 0

    cdef int cell_of(self, float x, float y) noexcept nogil:
        """Cell of the grid; -1 outside it, or where it is not known."""
        cdef float column = (x - self.west_m) * self.per_cell
        cdef float row = (y - self.south_m) * self.per_cell
        if 0.0 <= column < self.columns and 0.0 <= row < self.rows:
            return <int>row * self.columns + <int>column
        return -1

    cdef int fetch_cell(self, float x, float y, bint lines) except -1 nogil:
        """Ask memory for what a point to come needs: first where its cell's lines are, then them.

        Vehicles that report in random order touch memory at random: a fleet's tick takes 9 ms
        instead of 15.
        """
        cdef int k, cell = self.cell_of(x, y)
        if cell < 0:
            return 0
        if not lines:
            fetch(&self.cell_ptr[cell])
            return 0
        k = self.cell_ptr[cell]
        if k < self.cell_segment.shape[0]:
            fetch(&self.cell_segment[k])
            fetch(&self.cell_line[0, k])
            fetch(&self.cell_line[1, k])
            fetch(&self.cell_line[2, k])
            fetch(&self.cell_line[3, k])
            fetch(&self.cell_line[4, k])
        return 0

    def match_traces(
        self,
        const float[::1] x_m,               # IN  [points] as in `match`
        const float[::1] y_m,               # IN
        const float[::1] speed_mps,         # IN
        const float[::1] heading_deg,       # IN
        const long long[::1] time_ms,       # IN
        const int[::1] trace_ptr,           # IN  [traces + 1] points of each trace, in its order
        Candidate[:, ::1] past,             # OUT [points, BEAM] places as seen then, best first
        int[::1] past_step,                 # OUT [points] point of the last step, or -1
        int[::1] link,                      # OUT [points] as in `match`
        float[::1] offset_m,                # OUT
        float[::1] distance_m,              # OUT
        float[::1] confidence,              # OUT as seen then
        int threads,
    ):
        """Place each point, knowing the whole of its trace."""
        cdef int trace
        for trace in prange(
            trace_ptr.shape[0] - 1, nogil=True, num_threads=threads, schedule="static"
        ):
            self.forward(
                trace_ptr[trace], trace_ptr[trace + 1], x_m, y_m, speed_mps, heading_deg, time_ms,
                past, past_step,
            )
            look_back(
                trace_ptr[trace], trace_ptr[trace + 1], past, past_step,
                link, offset_m, distance_m, confidence,
            )

    cdef int forward(
        self, int first, int stop, const float[::1] x_m, const float[::1] y_m,
        const float[::1] speed_mps, const float[::1] heading_deg, const long long[::1] time_ms,
        Candidate[:, ::1] past, int[::1] past_step,
    ) except -1 nogil:
        """The points of one trace, each as seen when it came."""
        cdef int i, steps, last = -1
        cdef Beam beam
        beam.size = 0
        for i in range(first, stop):
            steps = self.step(
                x_m[i], y_m[i], speed_mps[i], heading_deg[i], time_ms[i], &beam, &past[i, 0]
            )
            past_step[i] = last if past[i, 0].back >= 0 else -1
            if steps:
                last = i
        return 0

    cdef int step(
        self, float x, float y, float speed, float heading, long long time_ms, Beam* beam,
        Candidate* chosen,
    ) except -1 nogil:
        """Place a point; if the vehicle came far enough, take the step. Returns 1 if it did.

        ``chosen``: the places it may be at, best first, then links of -1.
        """
        cdef Candidate[MOST_CANDIDATES] found
        cdef int k, n, place, count = 0
        cdef float slack, score, best
        cdef bint moves = speed == speed and heading == heading and speed > self.moving_mps
        memset(chosen, 0, BEAM * sizeof(Candidate))
        for k in range(BEAM):
            chosen[k].link = chosen[k].back = -1
        if beam.size and time_ms - beam.time_ms > self.forget_ms:
            beam.size = 0
        n = self.near(x, y, heading if moves else -1.0, speed < self.moving_mps, found)
        if n == 0:
            return 0
        best = NEVER
        if beam.size:
            beam.moved_m = self.movement(beam, x, y, speed, time_ms - beam.time_ms)
            slack = <float>1.0 / (self.slack_m + self.slack_share * beam.moved_m)
            # The link it was on first: what cannot come within ``jump`` of that needs no search.
            for k in range(n):
                if found[k].link == beam.link[0]:
                    self.come_from(beam, slack, NEVER, &found[k])
                    best = found[k].score
            for k in range(n):
                if found[k].link == beam.link[0]:
                    continue
                if found[k].score <= best - self.jump:
                    found[k].score = NEVER
                else:
                    self.come_from(beam, slack, best - self.jump, &found[k])
                    best = max(best, found[k].score)
        else:
            for k in range(n):
                best = max(best, found[k].score)
        for k in range(n):
            score = found[k].score - best
            if score <= -self.jump or (count == BEAM and score <= chosen[BEAM - 1].score):
                continue
            place = count if count < BEAM else BEAM - 1
            while place > 0 and chosen[place - 1].score < score:
                chosen[place] = chosen[place - 1]
                place -= 1
            chosen[place] = found[k]
            chosen[place].score = score
            count = min(count + 1, <int>BEAM)
        beam.time_ms, beam.speed_mps = time_ms, speed
        if beam.size and beam.moved_m < self.step_m:
            return 0
        for k in range(count):
            beam.link[k], beam.offset_m[k] = chosen[k].link, chosen[k].offset_m
            beam.score[k] = chosen[k].score
        beam.size = count
        beam.x_m, beam.y_m, beam.moved_m = x, y, 0.0
        return 1

    cdef float movement(
        self, const Beam* beam, float x, float y, float speed, long long since_ms
    ) noexcept nogil:
        """How far a vehicle came since its last step (m): as its speeds tell, or its positions."""
        cdef float east = x - beam.x_m, north = y - beam.y_m
        cdef float straight = sqrtf(east * east + north * north)
        if speed != speed or beam.speed_mps != beam.speed_mps:
            return straight
        if since_ms <= SPEED_TELLS_MS:
            return beam.moved_m + <float>0.0005 * (speed + beam.speed_mps) * <float>since_ms
        if max(speed, beam.speed_mps) < self.moving_mps and straight < self.still_m:
            return beam.moved_m
        return straight

    cdef int near(
        self, float x, float y, float heading, bint waits, Candidate* found
    ) except -1 nogil:
        """Links near a point, each by its likeliest place; ``heading`` below 0: unknown."""
        cdef float[CHUNK] score, along, d2
        cdef float best = NEVER, least = HARDLY, head_x = 0.0, head_y = 0.0, turned = 0.0
        cdef int cell, k, first, stop, size, segment, link, worst, i = 0, last = -1, n = 0
        cell = self.cell_of(x, y)
        if cell < 0:
            return 0
        if heading >= 0.0:
            k = <int>(heading + <float>0.5)
            head_x, head_y = self.unit[k, 0], self.unit[k, 1]
            turned = self.heading_weight
        first, stop = self.cell_ptr[cell], self.cell_ptr[cell + 1]
        while first < stop:
            size = min(stop - first, <int>CHUNK)
            weigh(
                size, x, y, head_x, head_y, turned, self.half_precision,
                self.radius2_m2, &self.cell_line[0, first], &self.cell_line[1, first],
                &self.cell_line[2, first], &self.cell_line[3, first], &self.cell_line[4, first],
                score, along, d2,
            )
            if waits:
                for k in range(size):
                    if along[k] <= 0.0:
                        score[k] -= self.waiting
            for k in range(size):
                best = max(best, score[k])
            # What lies this far behind by position alone can neither win nor be of use later.
            least = max(best - self.jump, HARDLY)
            for k in range(size):
                if score[k] < least:
                    continue
                segment = self.cell_segment[first + k]
                link = self.segment_link[segment]
                if link != last and n < MOST_CANDIDATES:
                    i = n
                    n += 1
                else:
                    if link != last:
                        i = 0
                        for worst in range(1, n):
                            if found[worst].score < found[i].score:
                                i = worst
                    if score[k] <= found[i].score:
                        continue
                last = link
                found[i].link, found[i].back, found[i].score = link, -1, score[k]
                found[i].offset_m = self.segment_offset_m[segment] + along[k]
                found[i].distance_m = d2[k]
            first += size
        i = 0
        for k in range(n):
            if found[k].score >= least:
                found[i] = found[k]
                found[i].distance_m = sqrtf(found[i].distance_m)
                i += 1
        return i

    cdef int come_from(
        self, const Beam* beam, float slack, float least, Candidate* to
    ) except -1 nogil:
        """Add the best step to a place: log of an exponential of | way - movement |.

        Places that cannot reach ``least`` get NEVER.
        """
        cdef int h, k, stop, link
        cdef float way, excess, limit, step, total, best = max(least - to.score, NEVER)
        cdef float moved = beam.moved_m
        for h in range(beam.size):
            if beam.score[h] <= best:
                break
            step = -self.jump
            link = beam.link[h]
            if link == to.link:
                step = -fabsf(to.offset_m - beam.offset_m[h] - moved) * slack
            else:
                # Ways are looked through from the shortest on, until they cost too much.
                way = self.length_m[link] - beam.offset_m[h] + to.offset_m - moved
                limit = min(self.jump, beam.score[h] - best)
                stop = self.reach_ptr[link + 1]
                for k in range(self.reach_ptr[link], stop + 1):
                    # Not among them, it may be any longer.
                    excess = way + (self.reach_m[k] if k < stop else self.most_m)
                    if excess * slack >= limit:
                        break
                    if k == stop:
                        step = -max(excess, <float>0.0) * slack
                    elif self.reach_link[k] == to.link:
                        step = -fabsf(excess) * slack
                        break
            total = beam.score[h] + max(step, -self.jump)
            if total > best:
                best = total
                to.back = h
        to.score = to.score + best if to.back >= 0 else NEVER
        return 0


cdef vector_void weigh(
    int n, float x, float y, float head_x, float head_y, float turned, float half_precision,
    float radius2_m2, const_floats x0, const_floats y0, const_floats unit_x, const_floats unit_y,
    const_floats length, floats score, floats along, floats d2,
) noexcept nogil:
    """How likely a point is on each of ``n`` segments, by position and heading."""
    cdef int k
    cdef float east, north, at, whole, far, never = NEVER, zero = 0.0, one = 1.0
    for k in range(n):
        east = x - x0[k]
        north = y - y0[k]
        at = east * unit_x[k] + north * unit_y[k]
        whole = length[k]
        at = whole if whole < at else at
        at = zero if zero > at else at
        along[k] = at
        east = east - at * unit_x[k]
        north = north - at * unit_y[k]
        at = east * east + north * north
        d2[k] = at
        # By how much it is too far: any at all counts for more than all else.
        far = at - radius2_m2
        far = zero if zero > far else far
        score[k] = (
            turned * (head_x * unit_x[k] + head_y * unit_y[k] - one) - half_precision * at
            + never * far
        )


cdef float likelihood(const Candidate* chosen, int k) noexcept nogil:
    """Share of a place in the probability of all that are kept.

    e^x is taken as (1 + x / 32)^32: within 0.02, and the same on every machine.
    """
    cdef int i, _
    cdef float part, own = 0.0, total = 0.0
    if chosen[k].link < 0:
        return 0.0
    for i in range(BEAM):
        if chosen[i].link < 0:
            break
        part = max(<float>1.0 + chosen[i].score * <float>0.03125, <float>0.0)
        for _ in range(5):
            part = part * part
        total += part
        if i == k:
            own = part
    return own / total


cdef int look_back(
    int first, int stop, const Candidate[:, ::1] past, const int[::1] past_step,
    int[::1] link, float[::1] offset_m, float[::1] distance_m, float[::1] confidence,
) except -1 nogil:
    """Follow the best last place back, step by step, to where what is known begins.

    Between two steps a vehicle is taken to be on the link of the one or the other.
    """
    cdef int i, j, came = -1, step = -1, after = -1
    for i in range(stop - 1, first - 1, -1):
        j = 0
        if past[i, 0].link >= 0:
            if step < 0 or i == step:
                j = 0 if step < 0 else came
                came, step, after = past[i, j].back, past_step[i], past[i, j].link
            else:
                while j < BEAM and not (
                    past[i, j].back == came
                    and (past[i, j].link == after or past[i, j].link == past[step, came].link)
                ):
                    j += 1
                if j == BEAM:
                    j = 0
        link[i], offset_m[i] = past[i, j].link, past[i, j].offset_m
        distance_m[i], confidence[i] = past[i, j].distance_m, likelihood(&past[i, 0], j)
    return 0
