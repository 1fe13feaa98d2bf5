/* What a launch, its blocks and its threads are. */

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "numbers.h"

enum { SHARED = 1 << 24, LOCAL = 1 << 25, CLUSTER = 1 << 28, RANK = 1 << 20, MANY = 0xffff, WARP = 32, PATIENCE = 20000, SLOWEST = 8, ENDLESS = 100000000 };
enum { TID = 0, NTID = 3, CTAID = 6, NCTAID = 9, CLUSTER_CTAID = 12, CLUSTER_NCTAID = 15, CLUSTERID = 18, NCLUSTERID = 21,
       LANEID = 24, WARPID, CTARANK, NCTARANK, ASKED, HELD };
enum { GLOBAL_SPACE, SHARED_SPACE, LOCAL_SPACE, ANY_SPACE };
enum { WEAK, RELAXED, ACQUIRE, RELEASE, BOTH };
enum state { RUNS, AT_BARRIER, IN_WARP, AT_CLUSTER, DONE };

typedef union {
    uint64_t u64; int64_t s64; uint32_t u32; int32_t s32; uint16_t u16; int16_t s16; uint8_t u8; int8_t s8; float f32; double f64;
    uint64_t b64; uint32_t b32; uint16_t b16;
} value;

typedef struct {
    int32_t code, line, guard, negated, target, o[8], space, width, kind, lanes, strength, mode, count;
    int64_t offset;
} instruction;

/* Who wrote a word last and who read it since; `at` is the count of barriers of that block, from 1, 0 for nobody. */
typedef struct { uint32_t at; uint16_t block, thread; } mark;
typedef struct { mark writer, reader; uint8_t bytes, constant; } word;

typedef struct { unsigned char *begin, *end; word *words; } range;

/* What the host gives: `first` is what the registers of a thread begin with. */
typedef struct {
    const instruction *code;
    const value *first;
    const uint64_t *bounds; /* pairs of addresses, in order */
    int32_t count, given, slots, ranges, shared, asked, local, cluster, waves, seed;
    int32_t grid[3], block[3];
} launch;

typedef struct { char message[400]; int32_t line, block, thread, checked; uint64_t instructions; } report;

typedef struct block block;
typedef struct {
    value *registers;
    unsigned char *local;
    block *home;
    const instruction *next;
    enum state state;
    int number;
    uint32_t fenced; /* the count of barriers at its last fence */
    value handed;
} thread;

struct block {
    thread *threads;
    unsigned char *shared;
    word *words;
    uint32_t *known, *heard, *seen; /* of every block: how many of its barriers are behind what this one may read */
    uint32_t at;
    int number, rank, waiting, left, arrived;
    uint32_t slow; /* of how many turns it misses how many */
};

typedef struct { uint64_t address; uint32_t *known; } counter;

static const launch *now;
static report *found;
static range ranges[64];
static block *blocks, *wave;
static int all_blocks, in_wave, threads_of_block, counters_used;
static counter counters[256];
static jmp_buf stop;
static uint64_t random_state, events; /* stores, barriers and ends: what spinning threads wait for */

static void fail(thread *t, const char *text, ...)
{
    va_list rest;
    va_start(rest, text);
    vsnprintf(found->message, sizeof found->message, text, rest);
    va_end(rest);
    found->line = t ? t->next->line : 0;
    found->block = t ? t->home->number : -1;
    found->thread = t ? t->number : -1;
    longjmp(stop, 1);
}

static uint32_t drawn(uint32_t below)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)((random_state >> 16) % below);
}

static void *fresh(size_t size)
{
    void *memory = calloc(size ? size : 1, 1);
    if (!memory)
        fail(NULL, "the host has no memory for this launch");
    return memory;
}
