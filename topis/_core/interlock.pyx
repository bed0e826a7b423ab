"""The interlocking: stage requests to lamp states that are safe by construction.

Greens end as late as their clearance allows (staggered), all new greens of a stage start
together, once every conflicting group has been clear for its intergreen. A green ends
only after its minimum; a change under way is finished before the next; a group that has
been red for its maximum is served next whatever is asked.
"""

cdef enum:
    RED = 0
    YELLOW = 1
    PERMISSIVE = 2
    PRIORITY = 3
    KEEP = -1
    LOCAL = -2
    ACCEPTED = 0
    UNKNOWN_STAGE = 1
    CONFLICTING_STAGE = 2
    MIN_GREEN = 3
    CHANGING = 4
    MAX_RED = 5


cdef inline bint green(unsigned char code) noexcept nogil:
    return code == PERMISSIVE or code == PRIORITY


cdef class Interlock:
    """Timers and lamps of all junctions; see `topis.safety.guard` for the arrays' meaning."""

    # IN: the network, never written.
    cdef const int[::1] junction_group_ptr, junction_stage_ptr, stage_code_ptr
    cdef const unsigned char[::1] stage_code, stage_safe
    cdef const int[::1] stage_min_green_ms, group_min_green_ms, group_yellow_ms
    cdef const int[::1] group_max_red_ms, group_serving_stage
    cdef const int[::1] conflict_ptr, conflict_idx, conflict_ms
    # INOUT: owned by the guard, shared as arrays.
    cdef unsigned char[::1] group_code
    cdef long long[::1] group_since_ms, green_end_ms, end_ms
    cdef int[::1] stage, coming
    cdef long long[::1] since_ms, start_ms

    def __init__(
        self, *, junction_group_ptr, junction_stage_ptr, stage_code_ptr, stage_code, stage_safe,
        stage_min_green_ms, group_min_green_ms, group_yellow_ms, group_max_red_ms,
        group_serving_stage, conflict_ptr, conflict_idx, conflict_ms,
        group_code, group_since_ms, green_end_ms, end_ms, stage, coming, since_ms, start_ms,
    ):
        self.junction_group_ptr = junction_group_ptr
        self.junction_stage_ptr = junction_stage_ptr
        self.stage_code_ptr = stage_code_ptr
        self.stage_code = stage_code
        self.stage_safe = stage_safe
        self.stage_min_green_ms = stage_min_green_ms
        self.group_min_green_ms = group_min_green_ms
        self.group_yellow_ms = group_yellow_ms
        self.group_max_red_ms = group_max_red_ms
        self.group_serving_stage = group_serving_stage
        self.conflict_ptr = conflict_ptr
        self.conflict_idx = conflict_idx
        self.conflict_ms = conflict_ms
        self.group_code = group_code
        self.group_since_ms = group_since_ms
        self.green_end_ms = green_end_ms
        self.end_ms = end_ms
        self.stage = stage
        self.coming = coming
        self.since_ms = since_ms
        self.start_ms = start_ms

    def step(self, long long now_ms, const int[::1] request, unsigned char[::1] refused):
        """One tick of every junction not under local control.

        ``request`` IN int32[junctions]: a stage, KEEP or LOCAL. ``refused`` OUT
        uint8[junctions]: reason, 0 when nothing was refused.
        """
        cdef int junction
        with nogil:
            for junction in range(request.shape[0]):
                refused[junction] = ACCEPTED
                if request[junction] != LOCAL:
                    refused[junction] = self.decide(junction, request[junction], now_ms)
                    self.carry_on(junction, now_ms)

    cdef int decide(self, int junction, int wanted, long long now_ms) except -1 nogil:
        """Begin the change that is wanted, or say why not."""
        cdef int overdue, reason = ACCEPTED
        if self.coming[junction] >= 0:
            return CHANGING if wanted >= 0 and wanted != self.coming[junction] else ACCEPTED
        overdue = self.overdue_stage(junction, now_ms)
        if overdue >= 0 and wanted != overdue:
            wanted = overdue
            reason = MAX_RED
        if wanted == KEEP or wanted == self.stage[junction]:
            return reason
        if wanted < self.junction_stage_ptr[junction] \
                or wanted >= self.junction_stage_ptr[junction + 1]:
            return UNKNOWN_STAGE
        if not self.stage_safe[wanted]:
            return CONFLICTING_STAGE
        if not self.may_end(junction, wanted, now_ms):
            return reason if reason != ACCEPTED else MIN_GREEN
        self.begin(junction, wanted, now_ms)
        return reason

    cdef int overdue_stage(self, int junction, long long now_ms) except -2 nogil:
        """Stage that serves the group furthest over its maximum red, -1 if none is over."""
        cdef int i, stage = -1
        cdef long long over, most = -1
        for i in range(self.junction_group_ptr[junction], self.junction_group_ptr[junction + 1]):
            if green(self.group_code[i]) or self.group_serving_stage[i] < 0:
                continue
            over = now_ms - self.green_end_ms[i] - self.group_max_red_ms[i]
            if over > most:
                most = over
                stage = self.group_serving_stage[i]
        return stage

    cdef bint may_end(self, int junction, int target, long long now_ms) noexcept nogil:
        """Whether every green that the target stage ends has had its minimum."""
        cdef int first = self.junction_group_ptr[junction]
        cdef int i, code_at = self.stage_code_ptr[target] - first
        if self.stage[junction] >= 0 and (
            now_ms - self.since_ms[junction] < self.stage_min_green_ms[self.stage[junction]]
        ):
            return False
        for i in range(first, self.junction_group_ptr[junction + 1]):
            if green(self.group_code[i]) and not green(self.stage_code[code_at + i]) \
                    and now_ms - self.group_since_ms[i] < self.group_min_green_ms[i]:
                return False
        return True

    cdef int begin(self, int junction, int target, long long now_ms) except -1 nogil:
        """Fix when the target stage starts and when each green that ends is to end."""
        cdef int first = self.junction_group_ptr[junction]
        cdef int last = self.junction_group_ptr[junction + 1]
        cdef int i, k, code_at = self.stage_code_ptr[target] - first
        cdef long long start = now_ms, end, need
        for i in range(first, last):
            end = now_ms if green(self.group_code[i]) else self.green_end_ms[i]
            if self.group_code[i] == YELLOW:
                start = max(start, self.group_since_ms[i] + self.group_yellow_ms[i])
            if green(self.stage_code[code_at + i]):
                continue
            if green(self.group_code[i]):
                start = max(start, end + self.group_yellow_ms[i])
            for k in range(self.conflict_ptr[i], self.conflict_ptr[i + 1]):
                if self.starts(self.conflict_idx[k], code_at):
                    start = max(start, end + self.conflict_ms[k])
        for i in range(first, last):
            if green(self.group_code[i]) and not green(self.stage_code[code_at + i]):
                need = self.group_yellow_ms[i]
                for k in range(self.conflict_ptr[i], self.conflict_ptr[i + 1]):
                    if self.starts(self.conflict_idx[k], code_at):
                        need = max(need, self.conflict_ms[k])
                self.end_ms[i] = start - need
        self.coming[junction] = target
        self.start_ms[junction] = start
        return 0

    cdef bint starts(self, int group, int code_at) noexcept nogil:
        """Whether a group that is not green now is green in the stage at ``code_at``."""
        return green(self.stage_code[code_at + group]) and not green(self.group_code[group])

    cdef bint clear(self, int junction, int code_at, long long now_ms) noexcept nogil:
        """Whether all that ends for the stage at ``code_at`` is clear, as it did end.

        Ticks may fall later than `begin` planned, so an end may have come late.
        """
        cdef int i, k
        for i in range(self.junction_group_ptr[junction], self.junction_group_ptr[junction + 1]):
            if self.group_code[i] == YELLOW:
                return False
            if green(self.stage_code[code_at + i]):
                continue
            if green(self.group_code[i]):
                return False
            for k in range(self.conflict_ptr[i], self.conflict_ptr[i + 1]):
                if self.starts(self.conflict_idx[k], code_at) \
                        and now_ms < self.green_end_ms[i] + self.conflict_ms[k]:
                    return False
        return True

    cdef int carry_on(self, int junction, long long now_ms) except -1 nogil:
        """End the greens and yellows that are due; start the coming stage when it is due."""
        cdef int first = self.junction_group_ptr[junction]
        cdef int last = self.junction_group_ptr[junction + 1]
        cdef int i, code_at, target = self.coming[junction]
        cdef bint just_red = False
        code_at = self.stage_code_ptr[target] - first if target >= 0 else 0
        for i in range(first, last):
            if target >= 0 and green(self.group_code[i]) and now_ms >= self.end_ms[i] \
                    and not green(self.stage_code[code_at + i]):
                self.show(i, YELLOW if self.group_yellow_ms[i] > 0 else RED, now_ms)
            if self.group_code[i] == YELLOW \
                    and now_ms - self.group_since_ms[i] >= self.group_yellow_ms[i]:
                self.show(i, RED, now_ms)
                # Yellow taken over from local control must not be seen to turn green.
                just_red |= target >= 0 and green(self.stage_code[code_at + i])
        if target >= 0 and not just_red and now_ms >= self.start_ms[junction] \
                and self.clear(junction, code_at, now_ms):
            for i in range(first, last):
                self.show(i, self.stage_code[code_at + i], now_ms)
            self.stage[junction] = target
            self.since_ms[junction] = now_ms
            self.coming[junction] = -1
        return 0

    cdef void show(self, int group, unsigned char code, long long now_ms) noexcept nogil:
        """Set a lamp; its time restarts only when its meaning (go, yellow, stop) changes."""
        cdef unsigned char old = self.group_code[group]
        if green(old) and not green(code):
            self.green_end_ms[group] = now_ms
        if green(old) != green(code) or (old == YELLOW) != (code == YELLOW):
            self.group_since_ms[group] = now_ms
        self.group_code[group] = code
