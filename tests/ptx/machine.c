/* Runs the threads of a launch one after the other, each until it waits for others.

   `cases.h` has the instructions that only compute, `numbers.h` the codes of the others. */
#include "state.h"
#include "arithmetic.h"
#include "accesses.h"
#include "meetings.h"

static void loaded(value *to, const unsigned char *from, int width, int kind)
{
    uint64_t bits = 0;
    memcpy(&bits, from, width);
    if (kind == 1 && width < 8 && bits >> (8 * width - 1))
        bits |= ~0ull << (8 * width);
    to->u64 = bits;
}

static value combined(const instruction *i, value a, value b, value c)
{
    value r = b;
    switch (i->mode) {
    case 0:
        if (i->kind == 2 && i->width == 4) r.f32 = a.f32 + b.f32;
        else if (i->kind == 2) r.f64 = a.f64 + b.f64;
        else r.u64 = a.u64 + b.u64;
        break;
    case 1: r = i->kind == 1 ? (i->width == 4 ? a.s32 < b.s32 : a.s64 < b.s64) ? a : b
                             : (i->width == 4 ? a.u32 < b.u32 : a.u64 < b.u64) ? a : b; break;
    case 2: r = i->kind == 1 ? (i->width == 4 ? a.s32 > b.s32 : a.s64 > b.s64) ? a : b
                             : (i->width == 4 ? a.u32 > b.u32 : a.u64 > b.u64) ? a : b; break;
    case 4: if ((i->width == 4 ? a.u32 == b.u32 : a.u64 == b.u64)) r = c; else r = a; break;
    case 5: r.u64 = a.u64 & b.u64; break;
    case 6: r.u64 = a.u64 | b.u64; break;
    case 7: r.u32 = a.u32 >= b.u32 ? 0 : a.u32 + 1; break;
    }
    return r;
}

static void atomic(thread *t, const instruction *i)
{
    value *r = t->registers, none = { 0 }, old;
    int first = i->lanes; /* whether there is a result */
    uint64_t address = r[i->o[i->count - 1]].u64 + i->offset;
    unsigned char *place = reached(t, i, address, i->width, 1, 1);
    loaded(&old, place, i->width, 0);
    value new = combined(i, old, r[i->o[first]], i->count > first + 2 ? r[i->o[first + 1]] : none);
    memcpy(place, &new, i->width);
    if (first)
        r[i->o[0]] = old;
    if (i->space != SHARED_SPACE)
        synchronised(t, address, i->strength);
}

static void fence(thread *t, const instruction *i)
{
    if (i->mode)
        return;
    t->fenced = t->home->at;
    if (t->home->known)
        join(t->home->heard, t->home->seen);
}

#define D (r[i->o[0]])
#define A (r[i->o[1]])
#define B (r[i->o[2]])
#define C (r[i->o[3]])
#define E (r[i->o[4]])

/* Until the thread waits; `next` stays at an instruction that it waits at. */
static void run(thread *t)
{
    value *r = t->registers;
    uint64_t count = 0;
    for (;;) {
        const instruction *i = t->next;
        if (++count > ENDLESS)
            fail(t, "runs without end");
        if (i->guard >= 0 && (r[i->guard].u64 != 0) == i->negated) {
            t->next++;
            continue;
        }
        switch (i->code) {
        case CODE_ret:
            found->instructions += count;
            ended(t);
            return;
        case CODE_trap:
            fail(t, "reaches a trap");
            break;
        case CODE_bra:
            t->next = now->code + i->target;
            continue;
        case CODE_load: {
            uint64_t address = r[i->o[i->count - 1]].u64 + i->offset;
            unsigned char *place = reached(t, i, address, i->width * i->lanes, 0, i->strength);
            for (int k = 0; k < i->lanes; k++)
                loaded(r + i->o[k], place + k * i->width, i->width, i->kind);
            if (i->strength) {
                synchronised(t, address, i->strength == RELAXED ? WEAK : i->strength);
                found->instructions += count;
                t->next++;
                return;
            }
            break;
        }
        case CODE_store: {
            uint64_t address = r[i->o[i->count - 1]].u64 + i->offset;
            unsigned char *place = reached(t, i, address, i->width * i->lanes, 1, i->strength);
            events++;
            for (int k = 0; k < i->lanes; k++)
                memcpy(place + k * i->width, r + i->o[k], i->width);
            if (i->strength)
                synchronised(t, address, i->strength);
            break;
        }
        case CODE_atomic:
            atomic(t, i);
            found->instructions += count;
            t->next++;
            return;
        case CODE_prefetch:
            if (!holding(r[i->o[0]].u64 + i->offset, 1))
                fail(t, "asks for an address outside of all arrays");
            break;
        case CODE_fence:
            fence(t, i);
            break;
        case CODE_mapped:
            D.u64 = (uint64_t)CLUSTER + (uint64_t)B.u32 * RANK + (A.u32 - SHARED);
            if (B.u32 >= (uint32_t)now->cluster)
                fail(t, "asks for block %u of a cluster of %d", B.u32, now->cluster);
            break;
        case CODE_barrier:
            found->instructions += count;
            if (r[i->o[0]].u32 || i->count > 1)
                fail(t, "another barrier than that of all threads");
            t->state = AT_BARRIER;
            t->next++;
            if (++t->home->waiting == t->home->left)
                passed(t->home);
            return;
        case CODE_arrive:
            if (i->mode)
                fail(t, "a barrier of a cluster without release");
            break;
        case CODE_wait:
            found->instructions += count;
            t->state = AT_CLUSTER;
            t->next++;
            t->home->arrived++;
            met(t->home);
            return;
        case CODE_shuffle:
        case CODE_warp:
            found->instructions += count;
            if (i->code == CODE_shuffle)
                t->handed = r[i->o[i->count == 6 ? 2 : 1]];
            t->state = IN_WARP;
            exchanged(t);
            return;
#include "cases.h"
        default:
            fail(t, "instruction %d", i->code);
        }
        t->next++;
    }
}

/* ---- Launches. */

static void begun(block *b, int number)
{
    const int32_t *g = now->grid, *d = now->block;
    b->number = number;
    b->at = 1;
    b->rank = number % now->cluster;
    b->slow = drawn(SLOWEST);
    b->waiting = b->arrived = 0;
    b->left = threads_of_block;
    memset(b->words, 0, sizeof(word) * (now->shared / 4 + 1));
    memset(b->shared, 0xff, now->shared);
    int at[3] = { number % g[0], number / g[0] % g[1], number / g[0] / g[1] };
    for (int k = 0; k < threads_of_block; k++) {
        thread *t = b->threads + k;
        int own[3] = { k % d[0], k / d[0] % d[1], k / d[0] / d[1] };
        value *r = t->registers;
        memset(r, 0xff, sizeof(value) * now->slots);
        memcpy(r, now->first, sizeof(value) * now->given);
        for (int x = 0; x < 3; x++) {
            r[TID + x].u64 = own[x];
            r[NTID + x].u64 = d[x];
            r[CTAID + x].u64 = at[x];
            r[NCTAID + x].u64 = g[x];
            r[CLUSTER_CTAID + x].u64 = x ? 0 : b->rank;
            r[CLUSTER_NCTAID + x].u64 = x ? 1 : now->cluster;
            r[CLUSTERID + x].u64 = x ? at[x] : at[x] / now->cluster;
            r[NCLUSTERID + x].u64 = x ? g[x] : g[x] / now->cluster;
        }
        r[LANEID].u64 = k % WARP;
        r[WARPID].u64 = k / WARP;
        r[CTARANK].u64 = b->rank;
        r[NCTARANK].u64 = now->cluster;
        r[ASKED].u64 = now->asked;
        r[HELD].u64 = now->shared;
        t->home = b;
        t->next = now->code;
        t->state = RUNS;
        t->number = k;
        t->fenced = 0;
    }
}

static void prepared(block *b, int meets)
{
    b->threads = fresh(sizeof(thread) * threads_of_block);
    b->shared = aligned_alloc(256, (now->shared + 511) / 256 * 256);
    b->words = fresh(sizeof(word) * (now->shared / 4 + 1));
    value *registers = fresh(sizeof(value) * now->slots * threads_of_block);
    unsigned char *local = fresh((size_t)now->local * threads_of_block);
    for (int k = 0; k < threads_of_block; k++) {
        b->threads[k].registers = registers + (size_t)k * now->slots;
        b->threads[k].local = local + (size_t)k * now->local;
    }
    if (meets) {
        b->known = fresh(sizeof(uint32_t) * all_blocks);
        b->heard = fresh(sizeof(uint32_t) * all_blocks);
        b->seen = fresh(sizeof(uint32_t) * all_blocks);
    }
}

static void freed(block *b)
{
    if (!b->threads)
        return;
    free(b->threads[0].registers);
    free(b->threads[0].local);
    free(b->threads);
    free(b->shared);
    free(b->words);
    free(b->known);
    free(b->heard);
    free(b->seen);
}

static int coprime(int step, int count)
{
    while (count) {
        int rest = step % count;
        step = count;
        count = rest;
    }
    return step == 1;
}

/* All threads that can run, in an order drawn anew each time. Whether any could. */
static int turn(block *b)
{
    int any = 0, step, from = drawn(threads_of_block);
    do
        step = 1 + drawn(threads_of_block);
    while (!coprime(step, threads_of_block));
    for (int k = 0; k < threads_of_block; k++) {
        thread *t = b->threads + (from + (long)k * step) % threads_of_block;
        if (t->state == RUNS) {
            any = 1;
            run(t);
        }
    }
    return any;
}

static void ran_wave(void)
{
    uint64_t barren = 0, before;
    for (;;) {
        int any = 0, left = 0, first = drawn(in_wave);
        before = events;
        for (int k = 0; k < in_wave; k++) {
            block *b = wave + (first + k) % in_wave;
            any |= drawn(SLOWEST) < b->slow || turn(b);
        }
        for (int k = 0; k < in_wave; k++)
            left += wave[k].left;
        if (!left)
            return;
        if (!any)
            fail(NULL, "threads wait for each other: %d have not ended", left);
        barren = events == before ? barren + 1 : 0;
        if (barren > PATIENCE)
            fail(NULL, "blocks wait for each other without end");
    }
}

static void ranges_made(void)
{
    for (int k = 0; k < now->ranges; k++) {
        range *r = ranges + k;
        r->begin = (unsigned char *)now->bounds[2 * k];
        r->end = (unsigned char *)now->bounds[2 * k + 1];
        r->words = fresh(sizeof(word) * ((r->end - r->begin) / 4 + 2));
    }
}

int run_launch(const launch *given, report *to)
{
    now = given;
    found = to;
    memset(to, 0, sizeof *to);
    all_blocks = now->grid[0] * now->grid[1] * now->grid[2];
    threads_of_block = now->block[0] * now->block[1] * now->block[2];
    random_state = 88172645463325252ull + 1000003ull * (uint64_t)now->seed;
    counters_used = 0;
    memset(ranges, 0, sizeof ranges);
    int meets = now->waves == 0, most = meets || all_blocks < now->waves ? all_blocks : now->waves, failed = setjmp(stop);
    if (!failed) {
        wave = blocks = fresh(sizeof(block) * most);
        ranges_made();
        for (int k = 0; k < most; k++)
            prepared(blocks + k, meets);
        for (int start = 0; start < all_blocks; start += most) {
            in_wave = all_blocks - start < most ? all_blocks - start : most;
            for (int k = 0; k < in_wave; k++)
                begun(blocks + k, start + k);
            ran_wave();
        }
    }
    for (int k = 0; blocks && k < most; k++)
        freed(blocks + k);
    free(blocks);
    blocks = NULL;
    for (int k = 0; k < now->ranges; k++)
        free(ranges[k].words);
    for (int k = 0; k < counters_used; k++)
        free(counters[k].known);
    return failed;
}
