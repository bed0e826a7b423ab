"""When vehicles of one lane pass a signal: first in, first out, at green, a headway apart."""


def pass_signal(
    const double[::1] arrive_s, double green_from_s, double green_s, double cycle_s,
    double headway_s, double startup_s, double[::1] depart_s,
):
    """Departures of a point queue.

    ``arrive_s`` IN [vehicles], when each would pass without a signal, ascending. Green begins
    at ``green_from_s`` and every ``cycle_s`` after, for ``green_s``. Who has to wait for green
    starts ``startup_s`` into it. ``depart_s`` OUT [vehicles].
    """
    cdef Py_ssize_t i
    cdef double t, into, free_s = -1e18
    with nogil:
        for i in range(arrive_s.shape[0]):
            t = arrive_s[i] if arrive_s[i] > free_s else free_s
            into = (t - green_from_s) % cycle_s
            if into < 0.0:
                into += cycle_s
            if into >= green_s:
                t += cycle_s - into + startup_s
            depart_s[i] = t
            free_s = t + headway_s
