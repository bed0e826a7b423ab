"""Queues behind a stop line for every difference of two signals' offsets at once."""


cdef void queues(
    Py_ssize_t bins, const double* arrivals, const double* capacity, double* queue, double* delay
) noexcept nogil:
    cdef Py_ssize_t b, d
    cdef int turn
    cdef double waits
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


def queue_by_offset(
    const double[::1] arrivals, const double[::1] capacity, double[::1] queue, double[::1] delay
):
    """Vehicles waiting, summed over the second of two cycles, for each offset; ends in ``delay``.

    ``arrivals`` IN double[bins], in the upstream cycle, ``capacity`` IN double[2 * bins]: what can
    be discharged in each bin of the downstream cycle backwards, twice over (entry k: bin -k);
    ``queue``, ``delay`` OUT double[bins]. Entry d: the downstream cycle starts d bins later.
    """
    with nogil:
        queues(arrivals.shape[0], &arrivals[0], &capacity[0], &queue[0], &delay[0])


def queue_rows(
    const double[:, ::1] arrivals, const double[:, ::1] capacity, const long long[::1] way,
    double[::1] queue, double[:, ::1] delay,
):
    """`queue_by_offset` of many links.

    ``arrivals`` IN, ``delay`` OUT double[links, bins]; ``capacity`` IN double[ways, 2 * bins], of
    which ``way`` int64[links] is the row of each link; ``queue`` double[bins]: scratch.
    """
    cdef Py_ssize_t k
    with nogil:
        for k in range(arrivals.shape[0]):
            queues(
                arrivals.shape[1], &arrivals[k, 0], &capacity[way[k], 0], &queue[0], &delay[k, 0]
            )
