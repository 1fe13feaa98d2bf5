/* Whether an access lies in the arrays of the launch, is aligned, and has a barrier between it and what others did there. */


static int before(const mark *m, const thread *t)
{
    const block *b = t->home;
    if (m->block == b->number)
        return m->thread == t->number || m->at < b->at;
    return b->known && b->known[m->block] > m->at;
}

static void refuse(thread *t, const char *what, const mark *m)
{
    fail(t, "%s thread %d%s of block %d, and no barrier lies between", what, m->thread == MANY ? -1 : m->thread,
         m->thread == MANY ? " (several)" : "", m->block);
}

static void note(thread *t, word *w, int writes, int bytes, int constant)
{
    mark me = { t->home->at, (uint16_t)t->home->number, (uint16_t)t->number };
    int other = w->writer.at && (w->bytes & bytes) && !before(&w->writer, t);
    if (other)
        refuse(t, writes ? "writes what was written by" : "reads what was written by", &w->writer);
    if (constant && w->writer.at)
        fail(t, "reads past the coherent caches (ld.global.nc) what this launch wrote");
    if (writes) {
        if (w->constant)
            fail(t, "writes what this launch read past the coherent caches (ld.global.nc)");
        if (w->reader.at && !before(&w->reader, t) && bytes == 15)
            refuse(t, "writes what was read by", &w->reader);
        w->bytes = w->writer.at == me.at && w->writer.block == me.block ? w->bytes | bytes : bytes;
        w->writer = me;
        if (bytes == 15)
            w->reader.at = 0;
        return;
    }
    if (w->reader.at == me.at && w->reader.block == me.block && w->reader.thread != me.thread)
        me.thread = MANY;
    w->reader = me;
    w->constant |= constant;
}

static word *marks(thread *t, block *owner, uint64_t offset, int size)
{
    if (offset + size > (uint64_t)now->shared)
        fail(t, "%d bytes at byte %llu of shared memory, which has %d", size, (unsigned long long)offset, now->shared);
    return owner->words + offset / 4;
}

static range *holding(uint64_t address, int size)
{
    static int last;
    for (int k = 0; k < now->ranges; k++) {
        range *r = ranges + (last + k) % now->ranges;
        if (address >= (uint64_t)r->begin && address + size <= (uint64_t)r->end) {
            last = (int)(r - ranges);
            return r;
        }
    }
    return NULL;
}

/* Where an access lies in the host's memory. With `apart` it is an atomic one, which may meet others of its kind. */
static unsigned char *reached(thread *t, const instruction *i, uint64_t address, int size, int writes, int apart)
{
    int space = i->space, bytes = size < 4 ? ((1 << size) - 1) << (address & 3) : 15;
    word *first;
    unsigned char *place;
    if (address % size)
        fail(t, "%d bytes at the address %llx, which is not aligned", size, (unsigned long long)address);
    if (space == ANY_SPACE)
        space = address >= (uint64_t)CLUSTER + ((uint64_t)RANK << 5) ? GLOBAL_SPACE
              : address >= CLUSTER || address < LOCAL ? SHARED_SPACE : LOCAL_SPACE;
    if (space == LOCAL_SPACE) {
        if (address < LOCAL || address + size > (uint64_t)LOCAL + now->local)
            fail(t, "%d bytes outside of the thread's own memory", size);
        return t->local + (address - LOCAL);
    }
    found->checked++;
    if (space == SHARED_SPACE) {
        block *owner = t->home;
        uint64_t offset = address - SHARED;
        if (address >= CLUSTER) {
            owner = t->home - t->home->rank + (address - CLUSTER) / RANK;
            offset = (address - CLUSTER) % RANK;
            if (owner != t->home && t->home->known[owner->number] < 2)
                fail(t, "reaches into the shared memory of a block that may not have begun");
            if (owner->left == 0)
                fail(t, "reaches into the shared memory of a block that has ended");
        }
        first = marks(t, owner, offset, size);
        place = owner->shared + offset;
    } else {
        range *r = holding(address, size);
        if (!r)
            fail(t, "%d bytes at the address %llx, outside of all arrays", size, (unsigned long long)address);
        first = r->words + (address / 4 - (uint64_t)r->begin / 4);
        place = (unsigned char *)address;
    }
    for (int k = 0; !apart && k < (size + 3) / 4; k++)
        note(t, first + k, writes, bytes, i->mode && !writes);
    return place;
}
