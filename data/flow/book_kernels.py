"""What stands in an order book after each of its messages?

Levels of a side are sorted so that the best is last, where most changes are: bids by price, asks by minus price. A book
is an array of KEYS and one of sizes, (2, levels) each with bids first, the number of levels on each side, and a MEMORY
of whole numbers; a message may begin in one batch and end in another. The newest changes are kept in a ring, since a
snapshot that was asked for arrives after changes that came to the market later: they are put into it again.
"""

import math

import numpy as np
from numpy.typing import NDArray

from data.compiled import compiled

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Sides = NDArray[np.int8]
Bools = NDArray[np.bool_]

UNKNOWN = -1  # of a sequence number
UNSET = np.iinfo(np.int64).min  # of an instant; it is NaT's number too
NOTHING = np.iinfo(np.int64).max  # since when the ring covers the numbers, where it is empty

# MEMORY: the message that is open, how it is numbered, what the book is worth, and the tallies.
OPEN, TIME, RECEIVED, LAST, MESSAGE, SNAPSHOT, IGNORED = range(7)
SEQUENCE, SYNCED, WORTH, SEEN_WHOLE, DUE = range(7, 12)
HEAD, TAIL, COVERED, BEHIND, NEWEST = range(12, 17)  # of the ring: rows written and left, and since which number
MESSAGES, GAPS, CROSSED, REPEATED, REFUSED = range(17, 22)
MEMORY = 22

BUILDING, BUILT, WHOLE, LOST = range(4)  # WORTH: both sides not seen yet, seen, told by a snapshot, unknown after a gap

BID, ASK, BID_SIZE, ASK_SIZE = range(4)  # of a quote
STAMP, STAMP_RECEIVED, STAMP_UPDATE = range(3)  # of its whole numbers


@compiled(nogil=True)
def place_of(keys: Floats, count: int, key: float) -> int:
    """The first place whose key is not below `key`, among `count` that rise."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        if keys[middle] < key:
            low = middle + 1
        else:
            high = middle
    return low


@compiled(nogil=True)
def put(keys: Floats, sizes: Floats, count: int, key: float, size: float) -> int:
    """Set the size of one level, 0 taking it away; how many levels there are then."""
    at = place_of(keys, count, key)
    found = at < count and keys[at] == key
    if found and size > 0.0:
        sizes[at] = size
    elif found:
        for i in range(at, count - 1):
            keys[i], sizes[i] = keys[i + 1], sizes[i + 1]
        return count - 1
    elif size > 0.0:
        for i in range(count, at, -1):
            keys[i], sizes[i] = keys[i - 1], sizes[i - 1]
        keys[at], sizes[at] = key, size
        return count + 1
    return count


@compiled(nogil=True)
def start_of(first: int, last: int, previous: int) -> int:
    """The number that a change follows, as far as it says; its own where it does not."""
    if first != UNKNOWN:
        return first - 1
    return previous if previous != UNKNOWN else last


@compiled(nogil=True)
def breaks(memory: Ints, first: int, last: int, previous: int) -> bool:
    """Whether a change is not the one that follows; one that the book has already is marked as ignored.

    After a snapshot the first change may reach back before it (Binance, "How to manage a local order book correctly").
    """
    sequence = int(memory[SEQUENCE])
    if sequence == UNKNOWN or last == UNKNOWN:
        return False
    if memory[SYNCED] == 0:
        memory[IGNORED] = last <= sequence
        return last > sequence and start_of(first, last, previous) > sequence
    if last == sequence:
        memory[IGNORED] = 1
        memory[REPEATED] += 1
        return False
    if last < sequence:
        return True
    if previous != UNKNOWN:
        return previous != sequence
    return first != UNKNOWN and first != sequence + 1


@compiled(nogil=True)
def lose(memory: Ints, count: Ints) -> None:
    """Forget the book: until the next snapshot or, where none was ever seen, until both sides are seen anew."""
    count[:] = 0
    memory[WORTH] = LOST if memory[SEEN_WHOLE] else BUILDING
    memory[BEHIND] = 0
    forget(memory)


@compiled(nogil=True)
def forget(memory: Ints) -> None:
    """Empty the ring: what comes next does not follow what it holds."""
    memory[HEAD] = memory[TAIL] = 0
    memory[COVERED] = NOTHING


@compiled(nogil=True)
def begin(memory: Ints, count: Ints, snapshot: bool, first: int, last: int, previous: int) -> bool:
    """Open a message; whether it leaves a gap to the one before."""
    memory[OPEN], memory[IGNORED] = 1, 0
    memory[SNAPSHOT], memory[LAST] = snapshot, last
    memory[MESSAGES] += 1
    if snapshot:
        count[:] = 0
        memory[BEHIND] = last != UNKNOWN and last < memory[SEQUENCE]
        memory[WORTH], memory[SEEN_WHOLE] = WHOLE, 1
        if last != memory[SEQUENCE] and not memory[BEHIND]:
            forget(memory)
        if not memory[BEHIND]:
            memory[SEQUENCE], memory[SYNCED] = last, 0
        return False
    gap = breaks(memory, first, last, previous)
    if memory[IGNORED]:
        return False
    memory[SYNCED] = 1
    told = gap and memory[WORTH] != LOST
    memory[GAPS] += told
    if gap:
        lose(memory, count)
    if last != UNKNOWN:
        memory[SEQUENCE] = last
        if memory[COVERED] == NOTHING:
            memory[COVERED] = start_of(first, last, previous)
    return told


@compiled(nogil=True)
def keep(memory: Ints, ring: Floats, ring_last: Ints, side: int, price: float, size: float, last: int) -> None:
    """Remember one row of a change, the oldest giving way."""
    if memory[HEAD] - memory[TAIL] == len(ring_last):
        memory[COVERED] = ring_last[memory[TAIL] % len(ring_last)]
        memory[TAIL] += 1
    at = memory[HEAD] % len(ring_last)
    ring[at, 0], ring[at, 1], ring[at, 2], ring_last[at] = side, price, size, last
    memory[HEAD] += 1


@compiled(nogil=True)
def close(memory: Ints, keys: Floats, sizes: Floats, count: Ints, ring: Floats, ring_last: Ints) -> None:
    """End a message; on a snapshot that came late, the changes that it does not have yet are put again.

    Where these are no longer remembered it is taken as it is, as of a venue that numbers anew; the next change tells.
    """
    if not memory[BEHIND]:
        return
    memory[BEHIND] = 0
    if memory[COVERED] > memory[LAST]:
        forget(memory)
        memory[SEQUENCE], memory[SYNCED] = memory[LAST], 0
        return
    for n in range(memory[TAIL], memory[HEAD]):
        at = n % len(ring_last)
        if ring_last[at] > memory[LAST]:
            side = 0 if ring[at, 0] > 0.0 else 1
            count[side] = put(keys[side], sizes[side], count[side], ring[at, 0] * ring[at, 1], ring[at, 2])
    memory[TIME], memory[LAST] = memory[NEWEST], memory[SEQUENCE]


@compiled(nogil=True)
def quote(memory: Ints, keys: Floats, sizes: Floats, count: Ints, best: Floats) -> None:
    """The best bid and ask, their sizes, (4,): NaN and 0 of an empty side, all NaN of a book that is not known."""
    best[:] = math.nan
    bids, asks = count[0], count[1]
    if memory[WORTH] == BUILDING and bids > 0 and asks > 0:
        memory[WORTH] = BUILT
    if memory[WORTH] != BUILT and memory[WORTH] != WHOLE:
        return
    if bids > 0 and asks > 0 and keys[0, bids - 1] >= -keys[1, asks - 1]:
        memory[CROSSED] += 1
        return
    best[BID_SIZE] = best[ASK_SIZE] = 0.0
    if bids > 0:
        best[BID], best[BID_SIZE] = keys[0, bids - 1], sizes[0, bids - 1]
    if asks > 0:
        best[ASK], best[ASK_SIZE] = -keys[1, asks - 1], sizes[1, asks - 1]


@compiled(nogil=True)
def same(a: Floats, b: Floats) -> bool:
    """Whether two quotes agree, one unknown figure being like another."""
    agreed = True
    for i in range(len(a)):
        agreed = agreed and (a[i] == b[i] or (math.isnan(a[i]) and math.isnan(b[i])))
    return agreed


@compiled(nogil=True)
def measure(
    keys: Floats, sizes: Floats, count: Ints, best: Floats, bands: Floats, inverse: bool, size: Floats, value: Floats
) -> None:
    """Size and price times size (size alone of an inverse contract) within each band of the mid, (2, K) each.

    NaN without a mid, and of a band that goes beyond the farthest level told: there may be more than that.
    """
    size[:], value[:] = math.nan, math.nan
    mid = 0.5 * (best[BID] + best[ASK])
    if not mid > 0.0:
        return
    for side in range(2):
        sign = 1.0 if side == 0 else -1.0
        at, offered, worth = count[side] - 1, 0.0, 0.0
        for k in range(len(bands)):
            edge = sign * mid * (1.0 - sign * bands[k])
            while at >= 0 and keys[side, at] >= edge:
                offered += sizes[side, at]
                worth += sizes[side, at] * (1.0 if inverse else abs(keys[side, at]))
                at -= 1
            if at >= 0 or keys[side, 0] == edge:
                size[side, k], value[side, k] = offered, worth


@compiled(nogil=True)
def apply(
    memory: Ints,
    keys: Floats,
    sizes: Floats,
    count: Ints,
    ring: Floats,
    ring_last: Ints,
    snapshot: bool,
    side: int,
    price: float,
    size: float,
    last: int,
) -> None:
    """Put one row of the open message into the book; one that is no level loses it."""
    if side == 0 and last != UNKNOWN and math.isnan(price) and math.isnan(size):
        return  # a message of no level, which only carries the numbering on
    if not (price > 0.0 and price < np.inf and size >= 0.0 and size < np.inf and abs(side) == 1):
        memory[REFUSED] += 1
        lose(memory, count)
        memory[COVERED] = NOTHING if snapshot or last == UNKNOWN else last
        return
    if not snapshot and last != UNKNOWN:
        keep(memory, ring, ring_last, side, price, size, last)
    if memory[WORTH] != LOST:
        which = 0 if side > 0 else 1
        count[which] = put(keys[which], sizes[which], count[which], side * price, size)


@compiled(nogil=True)
def begins(memory: Ints, time: int, snapshot: bool, last: int, message: int) -> bool:
    """Whether a row is of another message than the one before."""
    if message != UNKNOWN or memory[MESSAGE] != UNKNOWN:
        new = message != memory[MESSAGE]
    else:
        new = time != memory[TIME] or last != memory[LAST]
    return bool(new or memory[OPEN] == 0 or snapshot != (memory[SNAPSHOT] == 1))


@compiled(nogil=True)
def show(memory: Ints, best: Floats, shown: Floats, quotes: Floats, stamps: Ints) -> int:
    """Write the quote, (1, 4) and (1, 3), where it is another than the one shown last; how many were written."""
    if same(best, shown):
        return 0
    quotes[0], shown[:] = best, best
    stamps[0, STAMP], stamps[0, STAMP_RECEIVED], stamps[0, STAMP_UPDATE] = memory[TIME], memory[RECEIVED], memory[LAST]
    return 1


@compiled(nogil=True)
def follow(
    time: Ints,
    received: Ints,
    side: Sides,
    price: Floats,
    size: Floats,
    snapshot: Bools,
    numbers: Ints,
    keys: Floats,
    sizes: Floats,
    count: Ints,
    memory: Ints,
    ring: Floats,
    ring_last: Ints,
    shown: Floats,
    bands: Floats,
    inverse: bool,
    step: int,
    quotes: Floats,
    stamps: Ints,
    depth: Floats,
    instants: Ints,
    gaps: Ints,
) -> tuple[int, int, int]:
    """Put rows into the book; how many quotes, samples of depth and gaps were written.

    `numbers` (R, 4) are first, last and previous update and the message. A quote is written at the end of a message
    that changed it, `shown` being the one written last; depth at each multiple of `step` ns (0 for none) that follows
    a message, once a later message shows that it is past; a gap as the place of the row that shows it.
    """
    quoted, sampled, missed = 0, 0, 0
    best = np.empty(4)
    for i in range(len(time)):
        first, last, previous, message = numbers[i, 0], numbers[i, 1], numbers[i, 2], numbers[i, 3]
        if begins(memory, time[i], snapshot[i], last, message):
            if memory[OPEN]:
                close(memory, keys, sizes, count, ring, ring_last)
                quote(memory, keys, sizes, count, best)
                quoted += show(memory, best, shown, quotes[quoted : quoted + 1], stamps[quoted : quoted + 1])
            if step > 0 and time[i] > memory[DUE]:
                if memory[DUE] != UNSET:
                    measure(keys, sizes, count, shown, bands, inverse, depth[sampled, 0], depth[sampled, 1])
                    instants[sampled] = memory[DUE]
                    sampled += 1
                memory[DUE] = -(-time[i] // step) * step
            if begin(memory, count, snapshot[i], first, last, previous):
                gaps[missed] = i
                missed += 1
            memory[MESSAGE] = message
        memory[TIME], memory[RECEIVED] = time[i], received[i]
        memory[NEWEST] = max(memory[NEWEST], time[i])
        if memory[IGNORED] == 0:
            apply(memory, keys, sizes, count, ring, ring_last, snapshot[i], side[i], price[i], size[i], last)
    return quoted, sampled, missed
