"""What may be known against a row that is kept: the bits of the column ``quality``.

docs/data.md says the same for people; a test keeps both equal.
"""

from __future__ import annotations

#: Came more than a minute after a later row of the same entity.
LATE = 1
#: Its sender's clock is off by more than five seconds.
SKEWED = 2
#: No vehicle gets there so fast.
JUMP = 4

MEANINGS = {
    LATE: ("late", "came more than 60 s after a later one of the same entity, in one source"),
    SKEWED: ("skewed", "from a sender whose clock is off by more than 5 s"),
    JUMP: ("jump", "a place that the vehicle cannot have got to from the others it reported"),
}
