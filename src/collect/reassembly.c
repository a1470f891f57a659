#include "collect/reassembly.h"

#include "base/hash.h"

#include <stdlib.h>
#include <string.h>

enum {
    DATAGRAM_MAX = 65535, /* octets behind the IP header; the length field cannot say more */
    UNIT = 8,             /* offsets count these */
    N_UNITS = (DATAGRAM_MAX + UNIT - 1) / UNIT,
    N_BUCKETS = 1024,
    FIRST_ROOM = 2048 /* octets; most exports need two fragments of an Ethernet frame */
};

struct datagram {
    struct datagram *next_in_bucket;
    struct datagram *older, *newer; /* by arrival of the first fragment */
    uint64_t hash;
    struct reassembly_key key;
    int64_t first_ns;
    uint64_t n_fragments;
    bool dead;    /* RFC 5722: fragments still to come are dropped too */
    bool has_end; /* the last fragment was seen */
    uint8_t next; /* of the fragment at offset 0 */
    size_t end;   /* octets of the whole, once has_end */
    size_t most;  /* highest octet seen */
    size_t have;  /* octets seen */
    size_t cap;   /* octets at data */
    uint8_t *data;
    uint64_t units[(N_UNITS + 63) / 64]; /* bit n: octets 8n to 8n+7 were seen */
};

struct reassembly {
    struct reassembly_limits limits;
    uint64_t seed;
    size_t n, octets;
    uint64_t lost;
    struct datagram *oldest, *newest;
    uint8_t *done; /* the datagram handed out last */
    struct datagram *buckets[N_BUCKETS];
};

reassembly *reassembly_new(const struct reassembly_limits *limits)
{
    reassembly *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    if (limits)
        r->limits = *limits;
    if (!r->limits.datagrams)
        r->limits.datagrams = 1024;
    if (!r->limits.octets)
        r->limits.octets = 16u << 20;
    if (!r->limits.life_ns)
        r->limits.life_ns = INT64_C(30) * 1000000000;
    r->seed = base_hash_seed();
    return r;
}

/* Take d off every list and free it, but not what it has lost. */
static void drop(reassembly *r, struct datagram *d)
{
    struct datagram **at = &r->buckets[d->hash % N_BUCKETS];
    while (*at != d)
        at = &(*at)->next_in_bucket;
    *at = d->next_in_bucket;
    if (d->older)
        d->older->newer = d->newer;
    else
        r->oldest = d->newer;
    if (d->newer)
        d->newer->older = d->older;
    else
        r->newest = d->older;
    r->n--;
    r->octets -= sizeof *d + d->cap;
    free(d->data);
    free(d);
}

static void give_up(reassembly *r, struct datagram *d)
{
    if (!d->dead) /* else they were counted when it died */
        r->lost += d->n_fragments;
    drop(r, d);
}

void reassembly_finish(reassembly *r)
{
    while (r->oldest)
        give_up(r, r->oldest);
}

void reassembly_free(reassembly *r)
{
    if (!r)
        return;
    reassembly_finish(r);
    free(r->done);
    free(r);
}

uint64_t reassembly_lost(const reassembly *r)
{
    return r->lost;
}

size_t reassembly_octets(const reassembly *r)
{
    return r->octets;
}

size_t reassembly_waiting(const reassembly *r)
{
    return r->n;
}

static void expire(reassembly *r, int64_t now_ns)
{
    while (r->oldest) {
        int64_t age;
        if (__builtin_sub_overflow(now_ns, r->oldest->first_ns, &age))
            age = now_ns < 0 ? INT64_MIN : INT64_MAX;
        if (age <= r->limits.life_ns)
            break;
        give_up(r, r->oldest);
    }
}

/* Make n more octets fit by giving up the oldest, never keep. False: they cannot. */
static bool make_room(reassembly *r, size_t n, const struct datagram *keep)
{
    while (r->limits.octets < n || r->octets > r->limits.octets - n) {
        struct datagram *d = r->oldest;
        if (d == keep && d)
            d = d->newer;
        if (!d)
            return false;
        give_up(r, d);
    }
    return true;
}

static struct datagram *find_or_add(reassembly *r, const struct reassembly_fragment *f)
{
    uint64_t hash = base_hash(&f->key, sizeof f->key, r->seed);
    struct datagram **bucket = &r->buckets[hash % N_BUCKETS];
    for (struct datagram *d = *bucket; d; d = d->next_in_bucket) {
        if (d->hash == hash && memcmp(&d->key, &f->key, sizeof f->key) == 0)
            return d;
    }
    while (r->n >= r->limits.datagrams)
        give_up(r, r->oldest);
    if (!make_room(r, sizeof(struct datagram), NULL))
        return NULL;
    struct datagram *d = calloc(1, sizeof *d);
    if (!d)
        return NULL;
    d->hash = hash;
    d->key = f->key;
    d->first_ns = f->time_ns;
    d->next_in_bucket = *bucket;
    *bucket = d;
    d->older = r->newest;
    if (r->newest)
        r->newest->newer = d;
    else
        r->oldest = d;
    r->newest = d;
    r->n++;
    r->octets += sizeof *d;
    return d;
}

static bool reserve(reassembly *r, struct datagram *d, size_t need)
{
    if (need <= d->cap)
        return true;
    size_t cap = d->cap ? d->cap : FIRST_ROOM;
    while (cap < need)
        cap *= 2;
    if (cap > DATAGRAM_MAX)
        cap = DATAGRAM_MAX;
    if (!make_room(r, cap - d->cap, d))
        return false;
    uint8_t *data = realloc(d->data, cap);
    if (!data)
        return false;
    r->octets += cap - d->cap;
    d->data = data;
    d->cap = cap;
    return true;
}

static bool seen(const struct datagram *d, size_t unit)
{
    return d->units[unit / 64] >> unit % 64 & 1;
}

/* Keep d, without its octets, to know its fragments that are still to come. */
static enum reassembly_result kill(reassembly *r, struct datagram *d, const char *why,
                                   struct reassembly_datagram *out)
{
    r->octets -= d->cap;
    free(d->data);
    d->data = NULL;
    d->cap = 0;
    d->dead = true;
    r->lost += d->n_fragments;
    out->why = why;
    return REASSEMBLY_DROPPED;
}

enum reassembly_result reassembly_add(reassembly *r, const struct reassembly_fragment *f,
                                      struct reassembly_datagram *out)
{
    *out = (struct reassembly_datagram){0};
    free(r->done);
    r->done = NULL;
    expire(r, f->time_ns);

    if (f->len == 0 || f->offset % UNIT != 0)
        out->why = "fragment without octets";
    else if (f->more && f->len % UNIT != 0)
        out->why = "fragment length is no multiple of 8";
    else if (f->offset > DATAGRAM_MAX || f->len > DATAGRAM_MAX - f->offset)
        out->why = "fragment ends above 65535 octets";
    if (out->why)
        return REASSEMBLY_BROKEN;

    struct datagram *d = find_or_add(r, f);
    if (!d) {
        r->lost++;
        out->why = "no memory for its fragments";
        return REASSEMBLY_DROPPED;
    }
    d->n_fragments++;
    if (d->dead) {
        r->lost++;
        return REASSEMBLY_WAITING;
    }

    size_t end = f->offset + f->len;
    bool contradicts =
        f->more ? d->has_end && end >= d->end : (d->has_end && end != d->end) || d->most > end;
    if (contradicts)
        return kill(r, d, "its fragments disagree about the end", out);
    if (!reserve(r, d, end))
        return kill(r, d, "no memory for its fragments", out);

    size_t n_old = 0, n_units = (f->len + UNIT - 1) / UNIT;
    for (size_t i = 0; i < n_units; i++)
        n_old += seen(d, f->offset / UNIT + i);
    if (n_old > 0 && d->key.family == 6 &&
        (n_old < n_units || memcmp(d->data + f->offset, f->data, f->len) != 0))
        return kill(r, d, "its fragments overlap (RFC 5722)", out);

    for (size_t i = 0; i < n_units && n_old < n_units; i++) {
        size_t unit = f->offset / UNIT + i;
        size_t at = i * UNIT, n = f->len - at < UNIT ? f->len - at : UNIT;
        if (seen(d, unit))
            continue;
        memcpy(d->data + f->offset + at, f->data + at, n);
        d->units[unit / 64] |= UINT64_C(1) << unit % 64;
        d->have += n;
    }
    if (f->offset == 0 && n_old < n_units)
        d->next = f->next;
    if (end > d->most)
        d->most = end;
    if (!f->more) {
        d->has_end = true;
        d->end = end;
    }
    if (!d->has_end || d->have < d->end)
        return REASSEMBLY_WAITING;

    out->data = r->done = d->data;
    out->len = d->end;
    out->next = d->next;
    r->octets -= d->cap;
    d->cap = 0;
    d->data = NULL;
    drop(r, d);
    return REASSEMBLY_COMPLETE;
}
