"""Shortest ways between links, from each to all that begin within some distance of its end.

Made once for a map, so that a map matcher looks a way up instead of searching it at every point,
as fastmm and its forerunner FMM do (Yang & Gidofalvi 2018, Int. J. GIS 32: "UBODT").
"""

from libc.math cimport INFINITY


def link_ways(
    int first,                      # IN  link to begin with
    const int[::1] next_ptr,        # IN  [links + 1]
    const int[::1] next_link,       # IN  links that follow each link
    const float[::1] next_m,        # IN  way through the junction between them
    const float[::1] length_m,      # IN  [links]
    float most_m,                   # IN
    float[::1] way_m,               # INOUT [links] all infinite, before and after
    unsigned char[::1] waits,       # INOUT [links] all 0, before and after
    int[::1] queue,                 # OUT [links] scratch
    int[::1] touched,               # OUT [links] scratch
    int[::1] found_from,            # OUT [room] as long as there is room
    int[::1] found_link,            # OUT
    float[::1] found_m,             # OUT
):
    """Shortest ways from the end of each link to starts of links, up to ``most_m``.

    Returns (link to go on with, number found); a link whose ways do not fit is left to the next
    call. The result of a search in any order of relaxation is the same, to the bit.
    """
    cdef int link, at, to, k, head, size, seen, n = 0, links = length_m.shape[0]
    cdef float base, way
    cdef bint full = False
    with nogil:
        for link in range(first, links):
            head, size, seen, at, base = 0, 0, 0, link, 0.0
            while True:
                for k in range(next_ptr[at], next_ptr[at + 1]):
                    to = next_link[k]
                    way = base + next_m[k]
                    if way > most_m or way >= way_m[to]:
                        continue
                    if way_m[to] > most_m:
                        touched[seen] = to
                        seen += 1
                    way_m[to] = way
                    if not waits[to]:
                        waits[to] = 1
                        queue[(head + size) % links] = to
                        size += 1
                if size == 0:
                    break
                at = queue[head]
                head = (head + 1) % links
                size -= 1
                waits[at] = 0
                base = way_m[at] + length_m[at]
            full = n + seen > found_link.shape[0]
            for k in range(seen):
                to = touched[k]
                if not full:
                    found_from[n], found_link[n], found_m[n] = link, to, way_m[to]
                    n += 1
                way_m[to] = INFINITY
            if full:
                break
    return (link if full else links), n
