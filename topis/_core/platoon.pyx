"""Queues behind a stop line for every difference of two signals' offsets at once."""


def queue_by_offset(
    const double[::1] arrivals, const double[::1] capacity, double[::1] queue, double[::1] delay
):
    """Vehicles waiting, summed over the second of two cycles, for each offset; ends in ``delay``.

    ``arrivals`` IN double[bins], in the upstream cycle, ``capacity`` IN double[2 * bins]: what can
    be discharged in each bin of the downstream cycle backwards, twice over (entry k: bin -k);
    ``queue``, ``delay`` OUT double[bins]. Entry d: the downstream cycle starts d bins later.
    """
    cdef Py_ssize_t bins = arrivals.shape[0], b, d
    cdef int turn
    cdef double waits
    with nogil:
        for d in range(bins):
            queue[d] = delay[d] = 0.0
        for turn in range(2):
            for b in range(bins):
                for d in range(bins):
                    waits = queue[d] + arrivals[b] - capacity[bins - b + d]
                    queue[d] = waits if waits > 0.0 else 0.0
                if turn:
                    for d in range(bins):
                        delay[d] += queue[d]
