/* Where threads wait for each other, and what blocks know of each other: counters carry it from releases to acquisitions. */


static counter *of(uint64_t address)
{
    for (int k = 0; k < counters_used; k++)
        if (counters[k].address == address)
            return counters + k;
    if (counters_used == 256)
        fail(NULL, "more than 256 counters");
    counters[counters_used] = (counter){ address, fresh(all_blocks * sizeof(uint32_t)) };
    return counters + counters_used++;
}

static void join(uint32_t *into, const uint32_t *from)
{
    for (int k = 0; k < all_blocks; k++)
        if (into[k] < from[k])
            into[k] = from[k];
}

/* What all threads of the block did before its last barrier; not what this one did since, so kernels have one before. */
static void release(thread *t, uint64_t address)
{
    block *b = t->home;
    uint32_t *known = of(address)->known;
    join(known, b->known);
    if (known[b->number] < b->at)
        known[b->number] = b->at;
}

static void synchronised(thread *t, uint64_t address, int strength)
{
    if (!t->home->known)
        return;
    join(strength == ACQUIRE || strength == BOTH ? t->home->heard : t->home->seen, of(address)->known);
    if (strength == RELEASE || strength == BOTH || (strength == RELAXED && t->fenced == t->home->at))
        release(t, address);
}

static void passed(block *b)
{
    events++;
    b->at++;
    b->waiting = 0;
    if (b->known)
        join(b->known, b->heard);
    for (int k = 0; k < threads_of_block; k++) {
        thread *t = b->threads + k, *leader = b->threads + k / WARP * WARP;
        if (t->state != AT_BARRIER)
            continue;
        if (leader->state != DONE && leader->next != t->next)
            fail(t, "threads of a warp wait at different barriers");
    }
    for (int k = 0; k < threads_of_block; k++)
        if (b->threads[k].state == AT_BARRIER)
            b->threads[k].state = RUNS;
}

static void met(block *any)
{
    block *first = any - any->rank;
    int arrived = 0, left = 0;
    for (int k = 0; k < now->cluster; k++)
        arrived += first[k].arrived, left += first[k].left;
    if (arrived < left || !arrived)
        return;
    for (int k = 0; k < now->cluster; k++)
        for (int j = 0; j < now->cluster; j++)
            if (first[j].arrived)
                if (first[k].known[first[j].number] < first[j].at + 1)
                    first[k].known[first[j].number] = first[j].at + 1;
    for (int k = 0; k < now->cluster; k++) {
        events++;
        first[k].arrived = 0;
        first[k].at++;
        for (int j = 0; j < threads_of_block; j++)
            if (first[k].threads[j].state == AT_CLUSTER)
                first[k].threads[j].state = RUNS;
    }
}

static void ended(thread *t)
{
    block *b = t->home;
    events++;
    t->state = DONE;
    b->left--;
    if (b->left && b->waiting == b->left)
        passed(b);
    if (now->cluster > 1)
        met(b);
}

/* ---- Threads of a warp. */

static void exchanged(thread *t)
{
    thread *first = t->home->threads + t->number / WARP * WARP;
    int count = threads_of_block - t->number / WARP * WARP;
    count = count < WARP ? count : WARP;
    const instruction *i = t->next;
    value mask = t->registers[i->o[i->count - 1]];
    for (int k = 0; k < WARP; k++)
        if (mask.u32 >> k & 1 && k < count && (first[k].state != IN_WARP || first[k].next != i)) {
            if (first[k].state == DONE)
                fail(t, "waits for a thread of its warp that has ended");
            return;
        }
    if (!(mask.u32 >> t->number % WARP & 1))
        fail(t, "is not in the mask of its own shuffle");
    for (int k = 0; k < count; k++) {
        if (!(mask.u32 >> k & 1))
            continue;
        value *r = first[k].registers;
        first[k].state = RUNS;
        first[k].next = i + 1;
        if (i->code == CODE_warp)
            continue;
        int two = i->count == 6;
        int b = r[i->o[2 + two]].s32, c = r[i->o[3 + two]].s32, segments = c >> 8 & 31;
        int most = (k & segments) | (c & ~segments & 31), least = k & segments;
        int j = i->mode == 0 ? k - b : i->mode == 1 ? k + b : i->mode == 2 ? k ^ b : least | (b & ~segments & 31);
        int inside = i->mode == 0 ? j >= most : j <= most;
        if (inside && j >= count)
            fail(first + k, "takes a number of a thread that does not exist");
        if (inside && !(mask.u32 >> j & 1))
            fail(first + k, "takes a number of a thread that is not in the mask");
        r[i->o[0]].u64 = inside ? first[j].handed.u32 : first[k].handed.u32;
        if (two)
            r[i->o[1]].u64 = inside;
    }
}
