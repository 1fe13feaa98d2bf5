/* What instructions compute that C has no operator for. */

static inline uint64_t inserted(uint64_t what, uint64_t into, uint32_t from, uint32_t length, int width)
{
    from &= 255;
    length &= 255;
    if (from >= (uint32_t)width || !length)
        return into;
    uint64_t mask = (length >= 64 ? ~0ull : (1ull << length) - 1) << from;
    return (into & ~mask) | ((what << from) & mask);
}

static inline uint32_t extracted_u(uint32_t a, uint32_t from, uint32_t length)
{
    from &= 255;
    length &= 255;
    uint64_t mask = length >= 32 ? 0xffffffffu : (1ull << length) - 1;
    return from >= 32 ? 0 : (uint32_t)((a >> from) & mask);
}

static inline int32_t extracted_s(int32_t a, uint32_t from, uint32_t length)
{
    from &= 255;
    length &= 255;
    if (!length)
        return 0;
    uint32_t last = from + length - 1 < 31 ? from + length - 1 : 31;
    uint32_t sign = (uint32_t)a >> last & 1, bits = extracted_u((uint32_t)a, from, length), kept = last + 1 > from ? last + 1 - from : 0;
    return (int32_t)(sign && kept < 32 ? bits | ~0u << kept : bits);
}

static inline uint32_t permuted(uint32_t a, uint32_t b, uint32_t by)
{
    uint64_t both = (uint64_t)b << 32 | a;
    uint32_t made = 0;
    for (int k = 0; k < 4; k++) {
        uint32_t choice = by >> 4 * k & 15, byte = (uint32_t)(both >> 8 * (choice & 7)) & 255;
        made |= (choice & 8 ? (byte & 128 ? 255 : 0) : byte) << 8 * k;
    }
    return made;
}

static inline uint32_t looked_up(uint32_t a, uint32_t b, uint32_t c, uint32_t table)
{
    uint32_t made = 0;
    for (int k = 0; k < 32; k++)
        made |= (table >> ((a >> k & 1) << 2 | (b >> k & 1) << 1 | (c >> k & 1)) & 1) << k;
    return made;
}

static inline int32_t dot4(uint32_t a, uint32_t b, int32_t total)
{
    uint32_t sum = (uint32_t)total;
    for (int k = 0; k < 4; k++)
        sum += (uint32_t)((int8_t)(a >> 8 * k) * (int8_t)(b >> 8 * k));
    return (int32_t)sum;
}

/* A number where the other is NaN; -0 is less than 0. */
#define CHOICE(name, type, sign, first)                                              \
    static inline type name(type a, type b)                                          \
    {                                                                                \
        if (isnan(a)) return b;                                                      \
        if (isnan(b)) return a;                                                      \
        if (a == b) return (signbit(a) != 0) == first ? a : b;                       \
        return a sign b ? a : b;                                                     \
    }
CHOICE(leastf, float, <, 1)
CHOICE(least, double, <, 1)
CHOICE(greatestf, float, >, 0)
CHOICE(greatest, double, >, 0)

/* Rounded numbers as integers, which end at the least and the greatest; NaN is 0, or the top bit alone where 64 bits take part. */
#define WHOLE(name, type, low, high, beyond)                                         \
    static inline type name(double x, int wide)                                      \
    {                                                                                \
        if (isnan(x)) return sizeof(type) == 8 || wide ? (type)1 << (8 * sizeof(type) - 1) : 0; \
        return x <= (double)low ? low : x >= beyond ? high : (type)x;                \
    }
WHOLE(to_s8, int8_t, INT8_MIN, INT8_MAX, 128.0)
WHOLE(to_u8, uint8_t, 0, UINT8_MAX, 256.0)
WHOLE(to_s16, int16_t, INT16_MIN, INT16_MAX, 32768.0)
WHOLE(to_u16, uint16_t, 0, UINT16_MAX, 65536.0)
WHOLE(to_s32, int32_t, INT32_MIN, INT32_MAX, 2147483648.0)
WHOLE(to_u32, uint32_t, 0, UINT32_MAX, 4294967296.0)
WHOLE(to_s64, int64_t, INT64_MIN, INT64_MAX, 9223372036854775808.0)
WHOLE(to_u64, uint64_t, 0, UINT64_MAX, 18446744073709551616.0)
