"""Long sequences in parts: what the product of a part's inputs leaves for the cell is read while it is in the cache."""

PART = 2**16  # words between the two kernels: 256 KiB, which leaves most of a second-level cache to the weights
LEAST_ROWS = 32  # so many rows must share the weights of the product, which are read anew for every part
MOST_PARTS = 32  # each has two entries in the table of calls


def time_parts(steps: int, batch: int, width: int) -> list[tuple[int, int]]:
    """Begin and end of every part of the time, in order, all but the last equally long, for rows of `width` words."""
    most = -(-max(LEAST_ROWS, PART // max(width, 1)) // max(batch, 1))
    count = max(1, min(-(-steps // most), MOST_PARTS))
    length = -(-steps // (4 * count)) * 4  # products take rows by fours
    return [(begin, min(begin + length, steps)) for begin in range(0, steps, max(length, 1))] or [(0, 0)]
