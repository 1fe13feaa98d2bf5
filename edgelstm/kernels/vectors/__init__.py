"""The vector sets that kernels are written with.

A kernel factory receives one set `v` and binds what it needs to local names. `numba_vectors` gives the set that
compiles to LLVM vectors, `plain_vectors` the twin in NumPy that defines what every member means. V is a vector of
v.lanes float32, M a mask of as many booleans. Pointers are indexed in elements;
p[i] reads and writes single elements. Operators + - * / and unary - work on V and V, or V and a number.

Constants
    v.lanes                         float32 lanes of a vector
    v.registers                     how many vectors the machine's registers hold
    v.dot                           how this machine multiplies bytes, one of dots.WAYS
    v.half                          the float32 members for the first half of every vector, which are faster; vectors lie as
                                    far apart, and v.half.lanes is v.lanes. None where there is no gain
    v.offset                        what is added to a small integer before it is stored as an activation byte: 128 or 0
Memory (no alignment needed)
    load(p, i) -> V                 p[i : i + lanes]; words of an i32* are taken as float32, here and in blocks
    store(p, i, x)                  the reverse
    load_part(p, i, n) -> V         the first n lanes from p[i : i + n], zero beyond; touches no other memory; n may
                                    be <= 0 or above lanes
    store_part(p, i, n, x)          writes the first n lanes only
    load_u8(p, i) -> V              lanes bytes of a u8*, as float32
    is_null(p) -> bool
Memory that threads share, int32
    atomic_add(p, i, n) -> int32    p[i] += n, whole; gives what was there; in one order for all threads
    atomic_store(p, i, n)           p[i] = n; what was written before is seen by whoever loads it
    atomic_load(p, i) -> int32
    prefetch(p, i)                  asks for the cache line of p[i]
    call(address)                   calls the function without parameters that lies there
Making vectors
    splat(s) -> V                   a number in every lane
    zero() -> V
    index() -> V                    0, 1, 2, ... lanes - 1
Element by element (arguments may be numbers where one of them is a V)
    fma(a, b, c)                    a * b + c, in one rounding where the target can
    min(a, b), max(a, b)            a < b ? a : b, a > b ? a : b; so NaN in either gives b: write min(bound, x) to pass
                                    on a NaN of x
    absolute(x), sqrt(x), copysign(magnitude, sign)
    nearest(x)                      rounded half to even, for any |x|; NaN and infinities stay
    round_small(x)                  the same and cheaper, for |x| < 2 ** 22; NaN stays, anything elsewhere
    floor(x), ceil(x), truncate(x)
    largest(m, x)                   the larger of m, which is not negative, and |x|; NaN if either is NaN
    pow2(n)                         2 ** n for integral n in [-126, 127]; anything elsewhere
    nearest_power(x, rate) -> V, V  n and 2 ** n, n being an integer nearest to x * rate, for |x * rate| <= 126; NaN gives NaN
                                    for n and anything for 2 ** n
    exponent(x), mantissa(x)        x = mantissa * 2 ** exponent with mantissa in [1, 2), for positive normal x
Masks
    less(a, b), less_equal(a, b), equal(a, b) -> M      false where either is NaN
    both(m, n), either(m, n), invert(m) -> M
    any_set(m), all_set(m) -> bool
    select(m, a, b) -> V            a where m, else b
Across lanes
    sum(x), least(x), greatest(x) -> float32            least and greatest give NaN if any lane is NaN
Blocks: tuples of rows * vectors vectors, for register blocking; element m * vectors + g is column vector g of row m.
Counts and `vectors` are constants; block[e] with a constant e is one of the vectors.
    zero_block(count) -> block
    load_block(p, i, di, rows, vectors) -> block            element from p[i + m * di + g * lanes : ...]
    fma_block(block, x, i, di, w, j, dj, vectors) -> block  adds x[i + m * di] * w[j + m * dj + g * lanes : ...]
    fold_block(block, count) -> block                       `count` vectors: the sum of elements e, e + count, ...
    store_block(p, i, di, n, block, vectors)                the reverse of load_block; columns from n on are not touched
Bytes and 16-bit halves; whatever p points to, i counts its elements
    octets(p, i) -> u8*             p[i] and what follows, as bytes
    words(p, i) -> i32*             the same as 32-bit words
    store_octets(p, i, x, offset)   lanes bytes: x, rounded half to even, plus a constant integer, modulo 256; for
                                    |x| < 2 ** 21, of NaN any byte
    load_s8(p, i) -> V              lanes signed bytes, as float32
    load_bfloat16(p, i) -> V        lanes bfloat16, as float32
    load_s8_part(p, i, n), load_bfloat16_part(p, i, n) -> V    the first n of them, zero beyond; touch no other memory
Blocks of sums: vectors of lanes int32. w and c are read as 32-bit words whatever they point
to, vectors side by side; i, di, j, dj count elements of their pointers. All of it starts on 4-byte boundaries.
    zero_sums(count) -> sums
    load_sums(p, i, di, rows, vectors) -> sums              element from the words at p[i + m * di], vector g of them
    spread_sums(p, i, di, rows, vectors) -> sums            the word at p[i + m * di] in every lane
    fold_block(sums, count) -> sums                         as for floats
    dot_block(sums, x, i, di, w, j, dj, vectors) -> sums    adds products of four bytes each: x[i + m * di] and the next
                                    three, activations within [-127, 127] with v.offset added, so without a sign where
                                    that is 128, times those of word vector g at w[j + m * dj], within [-127, 127]
    nibble_block(sums, x, i, di, w, j, vectors, 2) -> sums  adds products of 32: the 32 bytes at x[i + m * di], within
                                    [-127, 127], no offset added, times the nibbles of word vectors g, vectors + g, ...
                                    3 * vectors + g at w[j]; of the r-th the four low halves of a word meet bytes 4 r
                                    to 4 r + 3, the high halves those 16 further; with 1 in place of 2 the first 16 only
    scaled_block(sums, c, j, vectors) -> block              element as float32 * float vector g at c[j]
    fma_group(block, sums, c, j, vectors) -> block          adds element as float32 * bfloat16 vector g, two of which share
                                    a word vector at c[j], the even one in the low halves
    fma_rows(block, total, s, i, di, vectors) -> block      total + block * s[i + m * di]
    fma_pairs(block, x, i, di, w, j, dj, vectors) -> block  adds x[i + m * di] times the low halves of the word vector g at
                                    w[j + m * dj], and x[i + m * di + 1] times the high halves, both bfloat16
Numbers
    f32(s) -> float32               a number as float32: a Python float among float32 scalars would widen to float64
Functions
    inline(f)                       a helper that kernels call, compiled into each caller
    outline(f)                      a helper that is compiled once a kernel
"""
