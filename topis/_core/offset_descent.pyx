"""Offsets of a whole city by descent on the tables of its links.

One junction after the other, to the best of all offsets or one step at a time (Hunt et al. 1981,
TRRL LR 1014). Junctions of a *turn* share no link, so that they may be looked at at once: the
answer is that of one after the other, whatever the threads.
"""

from cython.parallel cimport prange, threadid

from topis._core.vectors cimport const_floats, floats, wide_float

cdef enum:
    # Fewer junctions than this are not worth a second thread.
    FEW = 128


cdef wide_float add_forwards(int count, const_floats values, floats sums) noexcept nogil:
    cdef int d
    for d in range(count):
        sums[d] += values[d]
    return 0.0


cdef wide_float add_backwards(int count, const_floats last, floats sums) noexcept nogil:
    """``last``: address of the value for entry 0; the next is before it."""
    cdef int d
    for d in range(count):
        sums[d] += last[-d]
    return 0.0


cdef inline int wrapped(int bin, int bins) noexcept nogil:
    """Within 0 and bins - 1, from less than a cycle outside."""
    if bin < 0:
        return bin + bins
    return bin - bins if bin >= bins else bin


def descend(
    const int[::1] turn_ptr,            # IN  [turns + 1]
    const int[::1] turn_junction,       # IN  junctions of each turn, no two of them linked
    const int[::1] around_ptr,          # IN  [junctions + 1] links at each junction
    const int[::1] around_link,         # IN
    const int[::1] around_other,        # IN  junction at the other end
    const unsigned char[::1] around_in,  # IN  1 where the link comes in, 0 where it goes out
    const int[::1] bins,                # IN  [junctions]
    const float[:, ::1] delay,          # IN  [links, width] of `LinkProfiles.delays`
    int most_sweeps,                    # IN
    float equal_share,                  # IN  a smaller share of delay saved is none
    float[:, ::1] scratch,              # SCRATCH [threads, width]
    int threads,                        # IN
    unsigned char[::1] look,            # INOUT [junctions] 1 where to look, 0 where all is done
    int[::1] offset,                    # INOUT [junctions] in bins, 0 to bins - 1
):
    """Each junction to the best of all its offsets, as long as some move; sweeps done.

    In a sweep all that are to be looked at are, in the order of the turns; a move makes the
    neighbours look again.
    """
    cdef int _, turn, first, last, k, team, moved = 1, turns = turn_ptr.shape[0] - 1, done = 0
    with nogil:
        for _ in range(most_sweeps):
            moved = 0
            for turn in range(turns):
                first = turn_ptr[turn]
                last = turn_ptr[turn + 1]
                team = threads if last - first >= FEW else 1
                for k in prange(first, last, schedule="static", num_threads=team):
                    moved += to_best(
                        turn_junction[k], around_ptr, around_link, around_other, around_in, bins,
                        delay, equal_share, &scratch[threadid(), 0], look, offset,
                    )
            done += 1
            if not moved:
                break
    return done


cdef int to_best(
    int junction, const int[::1] around_ptr, const int[::1] around_link,
    const int[::1] around_other, const unsigned char[::1] around_in, const int[::1] bins,
    const float[:, ::1] delay, float equal_share, float* cost, unsigned char[::1] look,
    int[::1] offset,
) noexcept nogil:
    cdef int k, d, shift, n = bins[junction], best = 0, now = offset[junction]
    cdef const float* table
    cdef float least, one = 1.0
    if not look[junction]:
        return 0
    look[junction] = 0
    for d in range(n):
        cost[d] = 0.0
    for k in range(around_ptr[junction], around_ptr[junction + 1]):
        table = &delay[around_link[k], 0]
        shift = offset[around_other[k]]
        if around_in[k]:
            # This one at d: d - shift bins after the other.
            add_forwards(shift, table + (n - shift), cost)
            add_forwards(n - shift, table, cost + shift)
        else:
            # The other one: shift - d after this one.
            add_backwards(shift + 1, table + shift, cost)
            add_backwards(n - shift - 1, table + (n - 1), cost + shift + 1)
    least = cost[0]
    for d in range(1, n):
        if cost[d] < least:
            least = cost[d]
            best = d
    if not least < cost[now] * (one - equal_share):
        return 0
    offset[junction] = best
    for k in range(around_ptr[junction], around_ptr[junction + 1]):
        look[around_other[k]] = 1
    return 1


def step_all(
    const int[::1] turn_ptr,            # IN  as for `descend`
    const int[::1] turn_junction,       # IN
    const int[::1] around_ptr,          # IN
    const int[::1] around_link,         # IN
    const int[::1] around_other,        # IN
    const unsigned char[::1] around_in,  # IN
    const int[::1] bins,                # IN  [junctions]
    const float[:, ::1] delay,          # IN  [links, width]
    const int[::1] reach,               # IN  [junctions] most bins moved, and most sweeps
    float step_worth,                   # IN  share of delay a step must save
    int threads,                        # IN
    unsigned char[::1] look,            # INOUT [junctions] as for `descend`
    int[::1] offset,                    # INOUT [junctions] in bins, 0 to bins - 1
    int[::1] way,                       # OUT [junctions] bins moved
):
    """Each junction a bin earlier, later or not at all, as long as it is worth it; sweeps done."""
    cdef int sweep, turn, first, last, k, team, moved, most = 0, done = 0
    cdef int turns = turn_ptr.shape[0] - 1
    with nogil:
        for k in range(way.shape[0]):
            way[k] = 0
            most = max(most, reach[k])
        for sweep in range(most):
            moved = 0
            for turn in range(turns):
                first = turn_ptr[turn]
                last = turn_ptr[turn + 1]
                team = threads if last - first >= FEW else 1
                for k in prange(first, last, schedule="static", num_threads=team):
                    moved += by_step(
                        turn_junction[k], sweep, around_ptr, around_link, around_other, around_in,
                        bins, delay, reach, step_worth, look, offset, way,
                    )
            done += 1
            if not moved:
                break
    return done


cdef int by_step(
    int junction, int sweep, const int[::1] around_ptr, const int[::1] around_link,
    const int[::1] around_other, const unsigned char[::1] around_in, const int[::1] bins,
    const float[:, ::1] delay, const int[::1] reach, float step_worth, unsigned char[::1] look,
    int[::1] offset, int[::1] way,
) noexcept nogil:
    cdef int k, at, n = bins[junction], now = offset[junction], step = 0
    cdef const float* table
    cdef float earlier = 0.0, stay = 0.0, later = 0.0, least, one = 1.0
    if not look[junction] or sweep >= reach[junction]:
        return 0
    look[junction] = 0
    for k in range(around_ptr[junction], around_ptr[junction + 1]):
        table = &delay[around_link[k], 0]
        if around_in[k]:
            at = wrapped(now - offset[around_other[k]], n)
            earlier += table[wrapped(at - 1, n)]
            later += table[wrapped(at + 1, n)]
        else:
            at = wrapped(offset[around_other[k]] - now, n)
            earlier += table[wrapped(at + 1, n)]
            later += table[wrapped(at - 1, n)]
        stay += table[at]
    least = earlier
    step = -1
    if stay < least:
        least = stay
        step = 0
    if later < least:
        least = later
        step = 1
    if abs(way[junction] + step) > reach[junction] or not least < stay * (one - step_worth):
        return 0
    offset[junction] = wrapped(now + step, n)
    way[junction] += step
    look[junction] = 1
    for k in range(around_ptr[junction], around_ptr[junction + 1]):
        look[around_other[k]] = 1
    return 1


def along_tree(
    const int[::1] link_up,             # IN  [links]
    const int[::1] link_down,           # IN  [links]
    const int[::1] order,               # IN  links, those with most at stake first
    const int[::1] best,                # IN  [links] difference of least delay in bins
    const int[::1] bins,                # IN  [junctions]
    int[::1] parent,                    # SCRATCH [junctions]
    int[::1] offset,                    # OUT [junctions] in bins
):
    """Offsets that suit the links with most at stake, each junction placed once.

    Kruskal's tree: junctions placed already move together. ``offset`` of a junction counts from
    its ``parent`` while the tree grows.
    """
    cdef int k, link, up, down, a, b, n
    with nogil:
        for k in range(parent.shape[0]):
            parent[k] = k
            offset[k] = 0
        for k in range(order.shape[0]):
            link = order[k]
            up = link_up[link]
            down = link_down[link]
            n = bins[up]
            a = root_of(up, n, parent, offset)
            b = root_of(down, n, parent, offset)
            if a == b:
                continue
            parent[b] = a
            # Those of up and down count from a and b; a root's own is zero.
            offset[b] = (offset[up] + best[link] - offset[down]) % n
            if offset[b] < 0:
                offset[b] += n
        for k in range(parent.shape[0]):
            root_of(k, bins[k], parent, offset)


cdef int root_of(int junction, int bins, int[::1] parent, int[::1] offset) noexcept nogil:
    """The root of a junction, which becomes its parent."""
    cdef int root = junction, total = 0, at = junction, above, own
    while parent[root] != root:
        total += offset[root]
        root = parent[root]
    while parent[at] != root and at != root:
        above = parent[at]
        own = offset[at]
        offset[at] = total % bins
        parent[at] = root
        total -= own
        at = above
    return root
