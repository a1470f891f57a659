#include "query/group.h"

#include "query/predicate.h"
#include "query/spill.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
    SHARD_BITS = 6,
    SHARDS = 1 << SHARD_BITS,
    STAGE = 128,    /* rows that a worker keeps for a shard before it hands them over */
    BLOCK_BITS = 9, /* entries are stored in blocks of so many */
    BLOCK = 1 << BLOCK_BITS,
    VIEW = 4096, /* groups that are looked at together */
    MAX_KEYS = 32,
    MAX_DENSE = 1 << 19, /* sums by code, at most so many */
    MAX_DEPTH = 4        /* of splitting what was spilled */
};

static const uint64_t TOP = UINT64_C(1) << 63;

static weir_status no_memory(weir_err *err)
{
    return weir_err_set(err, WEIR_ENOMEM, 0, "query: out of memory");
}

/* ---- what a group is made of ---- */

enum key_class { KEY_TEXT, KEY_NARROW, KEY_WIDE };

struct key {
    int field;
    uint8_t class;
    uint8_t bits; /* of a narrow one, without the bit that says it is there */
    uint8_t word, shift;
    uint8_t there_word, there_shift; /* of a wide one */
};

/* A sum or an extreme of a field. dir: only rows of this direction, -1: all. */
struct part {
    int field; /* -1: 1 a row */
    int8_t dir;
};

enum from { FROM_NOTHING, FROM_KEY, FROM_SUM, FROM_MIN, FROM_MAX, FROM_OR, FROM_FIRST, FROM_BOTH };

struct source {
    uint8_t from;
    bool known;
    int at;      /* key, part, or first value */
    int both[4]; /* FROM_BOTH: sums: own forward, own backward, other forward, other backward */
};

struct shard {
    pthread_mutex_t lock;
    uint64_t *slots; /* hash << 32 | entry + 1 */
    uint32_t n_slots, n;
    uint64_t **blocks;
    size_t n_blocks, cap_blocks;
    struct query_extent *extents; /* of this shard in the temporary file */
    size_t n_extents, cap_extents;
};

/* An entry: key words, sums, greatest values (least ones complemented), or-ed bits, then of the earliest row: its number,
 * complemented, bits of what it has, values. All 0 is the neutral element of every part. */
struct query_groups {
    struct query_plan *plan;
    query_pool *pool;
    const struct query_result *r;
    int having;
    uint64_t seed;
    struct key keys[MAX_KEYS];
    size_t n_keys;
    int alternatives[MAX_KEYS]; /* fields of the first key when r->either */
    size_t n_alternatives;
    struct part sums[64], maxs[16], ors[8];
    bool is_min[16];
    int firsts[64];
    size_t n_sums, n_maxs, n_ors, n_firsts;
    bool has_seq;
    size_t key_words, o_sums, o_maxs, o_ors, o_seq, o_there, o_firsts, stride;
    struct source *sources; /* one a field of the plan */
    size_t n_sources;
    int k_src, k_dst, k_src_port, k_dst_port, k_proto; /* keys of a merge, -1 */
    struct shard shards[SHARDS];
    query_grouper *workers;
    query_intern *texts;
    struct query_spill spill;
    bool spilled;
    _Atomic size_t octets;
};

struct query_grouper {
    query_groups *g;
    query_intern *texts;
    query_grouper *next;
    uint64_t *stage;  /* SHARDS * STAGE entries */
    uint64_t *hashes; /* of them */
    uint32_t n_staged[SHARDS];
    struct query_bump memory; /* of one batch */
    /* Sums by code */
    enum { DENSE_UNSET, DENSE_NO, DENSE_YES } dense;
    uint64_t *sums; /* n_dense entries without key words, all 0 between row groups */
    uint8_t *used;
    size_t n_dense, cap_dense;
    size_t words;           /* of each: rounded up so that few of them lie on two cache lines */
    size_t sizes[MAX_KEYS]; /* of each key's codes, null included */
};

static bool is_sum(const struct query_field *f)
{
    if (f->what == QUERY_F_COLUMN)
        return f->id == FLOW_bytes || f->id == FLOW_packets || f->id == FLOW_bytes_out ||
               f->id == FLOW_packets_out || f->id == FLOW_bytes_rev || f->id == FLOW_packets_rev ||
               f->id == FLOW_flows;
    return f->what == QUERY_F_DERIVED &&
           (f->id == QUERY_D_OUT_BYTES || f->id == QUERY_D_OUT_PACKETS ||
            f->id == QUERY_D_N_FLOWS || f->id == QUERY_D_COUNT);
}

bool query_group_of_sums(const struct query_field *f)
{
    if (f->what != QUERY_F_DERIVED)
        return false;
    switch ((unsigned)f->id) {
    case QUERY_D_DURATION:
    case QUERY_D_PPS:
    case QUERY_D_BPS:
    case QUERY_D_BPP:
    case QUERY_D_ALL_BYTES:
    case QUERY_D_ALL_PACKETS:
    case QUERY_D_OUT_PPS:
    case QUERY_D_OUT_BPS:
    case QUERY_D_OUT_BPP:
    case QUERY_D_ALL_PPS:
    case QUERY_D_ALL_BPS:
    case QUERY_D_ALL_BPP:
        return true;
    default:
        return false;
    }
}

static weir_status too_many(weir_err *err)
{
    return weir_err_set(err, WEIR_EINVAL, 0, "query: too many fields in a group");
}

static int add_part(struct part *parts, size_t *n, size_t cap, int field, int dir)
{
    for (size_t i = 0; i < *n; i++)
        if (parts[i].field == field && parts[i].dir == dir)
            return (int)i;
    if (*n == cap)
        return -1;
    parts[*n] = (struct part){.field = field, .dir = (int8_t)dir};
    return (int)(*n)++;
}

/* Fields that change places with the sides of a flow. */
static const int pairs[][2] = {
    {FLOW_src_as, FLOW_dst_as},
    {FLOW_in_if, FLOW_out_if},
    {FLOW_src_mask, FLOW_dst_mask},
    {FLOW_peer_src_as, FLOW_peer_dst_as},
    {FLOW_src_mac, FLOW_dst_mac},
    {FLOW_vlan, FLOW_vlan_out},
    {FLOW_in_if_name, FLOW_out_if_name},
    {FLOW_nat_src_addr, FLOW_nat_dst_addr},
    {FLOW_nat_src_port, FLOW_nat_dst_port},
};

int query_group_other_side(const struct query_field *f)
{
    for (size_t i = 0; f->what == QUERY_F_COLUMN && i < ARRAY_LEN(pairs); i++)
        for (size_t k = 0; k < 2; k++)
            if (pairs[i][k] == f->id)
                return pairs[i][!k];
    return -1;
}

static weir_status need(query_groups *g, int field, weir_err *err);

/* Counters of a merge: the other direction's are the reverse flow's own. */
static weir_status need_both(query_groups *g, int field, struct source *s, weir_err *err)
{
    const struct query_field f = g->plan->fields[field].f;
    struct query_field twin;
    if (f.what == QUERY_F_COLUMN)
        twin = query_field_derived(f.id == FLOW_bytes ? QUERY_D_OUT_BYTES : QUERY_D_OUT_PACKETS);
    else
        twin = query_field_column(f.id == QUERY_D_OUT_BYTES ? FLOW_bytes : FLOW_packets);
    int other = query_plan_field_add(g->plan, &twin);
    if (other < 0)
        return no_memory(err);
    const int fields[] = {field, field, other, other};
    for (int i = 0; i < 4; i++)
        if ((s->both[i] = add_part(g->sums, &g->n_sums, ARRAY_LEN(g->sums), fields[i], i & 1)) < 0)
            return too_many(err);
    s->from = FROM_BOTH;
    return WEIR_OK;
}

static weir_status need(query_groups *g, int field, weir_err *err)
{
    struct query_plan *p = g->plan;
    if ((size_t)field >= g->n_sources) {
        size_t n = p->n_fields + 16;
        struct source *more = realloc(g->sources, n * sizeof *more);
        if (!more)
            return no_memory(err);
        memset(more + g->n_sources, 0, (n - g->n_sources) * sizeof *more);
        g->sources = more;
        g->n_sources = n;
    }
    if (g->sources[field].known)
        return WEIR_OK;
    struct source s = {.known = true};
    const struct query_plan_field pf = p->fields[field];
    const struct query_field *f = &pf.f;
    bool in_key = false;
    for (size_t k = 0; k < g->n_keys && !in_key; k++) {
        in_key = g->keys[k].field == field;
        for (size_t a = 0; !k && a < g->n_alternatives; a++)
            in_key = in_key || g->alternatives[a] == field;
        s.at = (int)k;
    }
    bool merged = g->r->merge != QUERY_MERGE_NONE;
    if (in_key) {
        s.from = FROM_KEY;
    } else if (merged && is_sum(f) &&
               (f->what == QUERY_F_COLUMN
                    ? f->id == FLOW_bytes || f->id == FLOW_packets
                    : f->id == QUERY_D_OUT_BYTES || f->id == QUERY_D_OUT_PACKETS)) {
        WEIR_TRY(need_both(g, field, &s, err));
    } else if (is_sum(f)) {
        bool count = f->what == QUERY_F_DERIVED && f->id == QUERY_D_COUNT;
        s.from = FROM_SUM;
        s.at = add_part(g->sums, &g->n_sums, ARRAY_LEN(g->sums), count ? -1 : field, -1);
    } else if (f->what == QUERY_F_COLUMN && (f->id == FLOW_first || f->id == FLOW_last)) {
        s.from = f->id == FLOW_first ? FROM_MIN : FROM_MAX;
        s.at = add_part(g->maxs, &g->n_maxs, ARRAY_LEN(g->maxs), field, -1);
        if (s.at >= 0)
            g->is_min[s.at] = s.from == FROM_MIN;
    } else if (f->what == QUERY_F_COLUMN && f->id == FLOW_tcp_flags) {
        s.from = FROM_OR;
        s.at = add_part(g->ors, &g->n_ors, ARRAY_LEN(g->ors), field, -1);
    } else if (query_group_of_sums(f)) {
        for (size_t i = 0; i < QUERY_MAX_DEPS; i++)
            if (pf.deps[i] >= 0)
                WEIR_TRY(need(g, pf.deps[i], err));
    } else {
        s.from = FROM_FIRST;
        g->has_seq = true;
        s.at = -1;
        for (size_t i = 0; i < g->n_firsts; i++)
            if (g->firsts[i] == field)
                s.at = (int)i;
        if (s.at < 0 && g->n_firsts < ARRAY_LEN(g->firsts)) {
            g->firsts[g->n_firsts] = field;
            s.at = (int)g->n_firsts++;
        }
    }
    if (s.at < 0)
        return too_many(err);
    g->sources[field] = s;
    int twin =
        g->r->merge == QUERY_MERGE_GUESS && s.from == FROM_FIRST ? query_group_other_side(f) : -1;
    if (twin >= 0) {
        struct query_field side = query_field_column((enum flow_column_id)twin);
        int other = query_plan_field_add(p, &side);
        if (other < 0)
            return no_memory(err);
        return need(g, other, err);
    }
    return WEIR_OK;
}

/* Bits of a column's values, 0: 64. */
static unsigned narrow_bits(const struct query_plan_field *f)
{
    if (f->f.what != QUERY_F_COLUMN)
        return f->f.what == QUERY_F_DERIVED && f->f.id == QUERY_D_IP_FAMILY ? 8 : 0;
    switch ((unsigned)flow_columns()[f->f.id].type) {
    case FLOW_TYPE_BOOL:
    case FLOW_TYPE_U8:
        return 8;
    case FLOW_TYPE_U16:
        return 16;
    case FLOW_TYPE_U32:
        return 32;
    default:
        return 0;
    }
}

static weir_status add_key(query_groups *g, const struct query_field *f, weir_err *err)
{
    int field = query_plan_field_add(g->plan, f);
    if (field < 0)
        return no_memory(err);
    uint8_t kind = query_plan_kind(g->plan, field);
    if (query_is_list(kind))
        return weir_err_set(err, WEIR_EINVAL, 0,
                            "query: %s holds lists and cannot be a key of groups", f->name);
    for (size_t i = 0; i < g->n_keys; i++)
        if (g->keys[i].field == field)
            return WEIR_OK;
    if (g->n_keys == MAX_KEYS)
        return weir_err_set(err, WEIR_EINVAL, 0, "query: more than %d keys of groups", MAX_KEYS);
    struct key k = {.field = field, .class = KEY_WIDE};
    if (query_is_text(kind)) {
        k.class = KEY_TEXT;
        k.bits = 32;
    } else if (kind != QUERY_UNKNOWN && narrow_bits(&g->plan->fields[field])) {
        k.class = KEY_NARROW;
        k.bits = (uint8_t)narrow_bits(&g->plan->fields[field]);
    }
    g->keys[g->n_keys++] = k;
    return WEIR_OK;
}

/* Words of the key: wide ones first, then the others side by side. */
static void lay_out_keys(query_groups *g)
{
    uint8_t word = 0, shift = 0;
    for (size_t i = 0; i < g->n_keys; i++)
        if (g->keys[i].class == KEY_WIDE)
            g->keys[i].word = word++;
    bool any = false;
    for (size_t i = 0; i < g->n_keys; i++) {
        struct key *k = &g->keys[i];
        unsigned bits = k->class == KEY_WIDE ? 1 : k->class == KEY_TEXT ? 32 : k->bits + 1u;
        if (shift + bits > 64) {
            word++;
            shift = 0;
        }
        any = true;
        *(k->class == KEY_WIDE ? &k->there_word : &k->word) = word;
        *(k->class == KEY_WIDE ? &k->there_shift : &k->shift) = shift;
        shift = (uint8_t)(shift + bits);
    }
    g->key_words = any ? word + 1u : 0;
}

static int key_of(const query_groups *g, int flow)
{
    for (size_t i = 0; i < g->n_keys; i++) {
        const struct query_field *f = &g->plan->fields[g->keys[i].field].f;
        if (f->what == QUERY_F_COLUMN && f->id == flow)
            return (int)i;
    }
    return -1;
}

static weir_status make(query_groups *g, weir_err *err)
{
    const struct query_result *r = g->r;
    if (r->either) {
        if (!r->n_keys || r->n_keys > MAX_KEYS)
            return weir_err_set(err, WEIR_EINVAL, 0, "query: either needs keys");
        WEIR_TRY(add_key(g, &r->keys[0], err));
        for (size_t i = 0; i < r->n_keys; i++) {
            int f = query_plan_field_add(g->plan, &r->keys[i]);
            if (f < 0)
                return no_memory(err);
            if (query_is_text(query_plan_kind(g->plan, f)) != (g->keys[0].class == KEY_TEXT))
                return weir_err_set(err, WEIR_EINVAL, 0,
                                    "query: %s and %s cannot be keys of the same groups",
                                    r->keys[0].name, r->keys[i].name);
            unsigned bits = narrow_bits(&g->plan->fields[f]);
            if (g->keys[0].class == KEY_NARROW && (!bits || bits > g->keys[0].bits))
                g->keys[0].bits = (uint8_t)(bits ? bits : 0);
            if (g->keys[0].class == KEY_NARROW && !g->keys[0].bits)
                g->keys[0].class = KEY_WIDE;
            g->alternatives[g->n_alternatives++] = f;
        }
        for (size_t i = 0; i < r->n_also; i++)
            WEIR_TRY(add_key(g, &r->also[i], err));
    } else {
        for (size_t i = 0; i < r->n_keys; i++)
            WEIR_TRY(add_key(g, &r->keys[i], err));
    }
    lay_out_keys(g);
    g->k_src = key_of(g, FLOW_src_addr);
    g->k_dst = key_of(g, FLOW_dst_addr);
    g->k_src_port = key_of(g, FLOW_src_port);
    g->k_dst_port = key_of(g, FLOW_dst_port);
    g->k_proto = key_of(g, FLOW_proto);
    if (r->merge != QUERY_MERGE_NONE) {
        if (r->either || g->k_src < 0 || g->k_dst < 0 || g->k_src_port < 0 || g->k_dst_port < 0 ||
            g->k_proto < 0)
            return weir_err_set(err, WEIR_EINVAL, 0,
                                "query: both directions can only be merged by addresses, ports "
                                "and protocol");
        g->has_seq = true;
    }
    for (size_t i = 0; i < r->n_fields; i++) {
        struct query_field shown = query_plan_result_field(r, i);
        int f = query_plan_field_add(g->plan, &shown);
        if (f < 0)
            return no_memory(err);
        WEIR_TRY(need(g, f, err));
    }
    for (size_t i = 0; i < r->n_orders; i++) {
        int f = query_plan_field_add(g->plan, &r->orders[i].field);
        if (f < 0)
            return no_memory(err);
        WEIR_TRY(need(g, f, err));
    }
    /* Ties are by the keys, shown or not: without them their order would be that of the hash, another one each time. Where nothing is
     * shown, nobody sees it. */
    size_t n_ties = !r->n_fields ? 0 : r->either ? 1 + r->n_also : r->n_keys;
    for (size_t i = 0; i < n_ties; i++) {
        const struct query_field *k = r->either && i ? &r->also[i - 1] : &r->keys[i];
        int f = query_plan_field_add(g->plan, k);
        if (f < 0)
            return no_memory(err);
        WEIR_TRY(need(g, f, err));
    }
    return WEIR_OK;
}

/* The fields of an expression, whose leaves are in the plan already. */
static weir_status need_expr(query_groups *g, int node, weir_err *err)
{
    const struct query_node *x = &g->plan->nodes[node];
    if (x->leaf >= 0) {
        const struct query_leaf leaf = g->plan->leaves[x->leaf];
        WEIR_TRY(need(g, leaf.field, err));
        if (leaf.other >= 0)
            WEIR_TRY(need(g, leaf.other, err));
    }
    for (size_t i = 0; i < x->n_kids; i++)
        WEIR_TRY(need_expr(g, x->kids[i], err));
    return WEIR_OK;
}

weir_status query_groups_new(struct query_plan *plan, const struct query_result *r, int having,
                             query_pool *pool, uint64_t seed, query_groups **out, weir_err *err)
{
    query_groups *g = calloc(1, sizeof *g);
    *out = g;
    if (!g)
        return no_memory(err);
    g->plan = plan;
    g->pool = pool;
    g->r = r;
    g->having = having;
    g->seed = seed;
    g->spill.fd = -1;
    for (size_t i = 0; i < SHARDS; i++)
        pthread_mutex_init(&g->shards[i].lock, NULL);
    weir_status st = make(g, err);
    if (st == WEIR_OK && having >= 0)
        st = need_expr(g, having, err);
    if (st != WEIR_OK) {
        query_groups_free(g);
        *out = NULL;
        return st;
    }
    g->o_sums = g->key_words;
    g->o_maxs = g->o_sums + g->n_sums;
    g->o_ors = g->o_maxs + g->n_maxs;
    g->o_seq = g->o_ors + g->n_ors;
    g->o_there = g->o_seq + g->has_seq;
    g->o_firsts = g->o_there + (g->n_firsts + 63) / 64;
    g->stride = g->o_firsts + g->n_firsts;
    if (!g->stride)
        g->stride = 1;
    return WEIR_OK;
}

static void shard_empty(query_groups *g, struct shard *s)
{
    size_t octets = s->n_slots * sizeof *s->slots;
    for (size_t i = 0; i < s->n_blocks; i++)
        query_pool_give(g->pool, s->blocks[i], BLOCK * g->stride * sizeof(uint64_t));
    octets += s->n_blocks * BLOCK * g->stride * sizeof(uint64_t);
    free(s->blocks);
    query_pool_give(g->pool, s->slots, s->n_slots * sizeof *s->slots);
    s->blocks = NULL;
    s->slots = NULL;
    s->n_blocks = s->cap_blocks = 0;
    s->n_slots = s->n = 0;
    atomic_fetch_sub(&g->octets, octets);
}

void query_groups_free(query_groups *g)
{
    if (!g)
        return;
    for (size_t i = 0; i < SHARDS; i++) {
        shard_empty(g, &g->shards[i]);
        free(g->shards[i].extents);
        pthread_mutex_destroy(&g->shards[i].lock);
    }
    while (g->workers) {
        query_grouper *w = g->workers;
        g->workers = w->next;
        free(w->stage);
        free(w->hashes);
        query_bump_done(&w->memory);
        free(w);
    }
    query_spill_close(&g->spill);
    free(g->sources);
    free(g);
}

size_t query_groups_octets(const query_groups *g)
{
    return atomic_load_explicit(&g->octets, memory_order_relaxed);
}

uint64_t query_groups_spilled(const query_groups *g)
{
    return g->spill.end;
}

query_grouper *query_grouper_new(query_groups *g, query_intern *texts)
{
    query_grouper *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    w->g = g;
    g->texts = w->texts = texts;
    w->stage = malloc(SHARDS * STAGE * g->stride * sizeof *w->stage);
    w->hashes = malloc(SHARDS * STAGE * sizeof *w->hashes);
    w->next = g->workers;
    g->workers = w;
    return w->stage && w->hashes ? w : NULL;
}

/* ---- the table ---- */

static uint64_t saturating(uint64_t a, uint64_t b)
{
    uint64_t r;
    return __builtin_add_overflow(a, b, &r) ? UINT64_MAX : r;
}

/* Put the parts of one entry (behind its key) to those of another. Arrays begin at o_sums. */
static inline void combine(const query_groups *g, uint64_t *to, const uint64_t *from)
{
    size_t i = 0, n = g->n_sums;
    for (; i < n; i++)
        to[i] = saturating(to[i], from[i]);
    for (n += g->n_maxs; i < n; i++)
        to[i] = to[i] > from[i] ? to[i] : from[i];
    for (n += g->n_ors; i < n; i++)
        to[i] |= from[i];
    if (g->has_seq && from[i] > to[i])
        memcpy(to + i, from + i, (g->stride - g->o_seq) * sizeof *to);
}

static inline uint64_t *entry_of(const query_groups *g, const struct shard *s, uint32_t at)
{
    return s->blocks[at >> BLOCK_BITS] + (size_t)(at & (BLOCK - 1)) * g->stride;
}

static bool grow_slots(query_groups *g, struct shard *s, size_t wanted)
{
    uint32_t more = s->n_slots ? s->n_slots : 64;
    while (more && more / 4 * 3 < wanted)
        more *= 2;
    if (more == s->n_slots)
        return true;
    uint64_t *slots = more ? query_pool_zero(g->pool, more * sizeof *slots) : NULL;
    if (!slots)
        return false;
    for (uint32_t i = 0; i < s->n_slots; i++) {
        if (!s->slots[i])
            continue;
        uint32_t at = (uint32_t)(s->slots[i] >> 32) & (more - 1);
        while (slots[at])
            at = (at + 1) & (more - 1);
        slots[at] = s->slots[i];
    }
    query_pool_give(g->pool, s->slots, s->n_slots * sizeof *slots);
    atomic_fetch_add(&g->octets, (size_t)(more - s->n_slots) * sizeof *slots);
    s->slots = slots;
    s->n_slots = more;
    return true;
}

static bool grow_blocks(query_groups *g, struct shard *s)
{
    if (s->n_blocks == s->cap_blocks) {
        size_t cap = s->cap_blocks ? s->cap_blocks * 2 : 8;
        uint64_t **more = realloc(s->blocks, cap * sizeof *more);
        if (!more)
            return false;
        s->blocks = more;
        s->cap_blocks = cap;
    }
    uint64_t *block = query_pool_alloc(g->pool, BLOCK * g->stride * sizeof *block);
    if (!block)
        return false;
    s->blocks[s->n_blocks++] = block;
    atomic_fetch_add(&g->octets, BLOCK * g->stride * sizeof *block);
    return true;
}

static inline bool same_key(const uint64_t *a, const uint64_t *b, size_t words)
{
    uint64_t d = 0;
    for (size_t i = 0; i < words; i++)
        d |= a[i] ^ b[i];
    return !d;
}

/* n <= STAGE entries into a shard whose lock is held. */
static bool put_entries(query_groups *g, struct shard *s, const uint64_t *entries,
                        const uint64_t *hashes, size_t n)
{
    if ((s->n + n > s->n_slots / 4 * 3 && !grow_slots(g, s, s->n + n)) || s->n > UINT32_MAX - STAGE)
        return false;
    uint32_t mask = s->n_slots - 1;
    for (size_t i = 0; i < n; i++)
        __builtin_prefetch(&s->slots[(uint32_t)hashes[i] & mask]);
    size_t last = g->stride * sizeof(uint64_t) - 1;
    for (size_t i = 0; i < n; i++) {
        uint32_t hash = (uint32_t)hashes[i], at = hash & mask;
        uint64_t slot;
        while ((slot = s->slots[at]) && slot >> 32 != hash)
            at = (at + 1) & mask;
        if (slot) {
            const char *e = (const char *)entry_of(g, s, (uint32_t)slot - 1);
            __builtin_prefetch(e, 1);
            __builtin_prefetch(e + last, 1);
        }
    }
    size_t words = g->key_words;
    for (size_t i = 0; i < n; i++) {
        const uint64_t *e = entries + i * g->stride;
        uint32_t hash = (uint32_t)hashes[i], at = hash & mask;
        uint64_t slot;
        for (; (slot = s->slots[at]); at = (at + 1) & mask) {
            if (slot >> 32 != hash)
                continue;
            uint64_t *have = entry_of(g, s, (uint32_t)slot - 1);
            if (same_key(have, e, words)) {
                combine(g, have + words, e + words);
                break;
            }
        }
        if (slot)
            continue;
        if (s->n >> BLOCK_BITS == s->n_blocks && !grow_blocks(g, s))
            return false;
        memcpy(entry_of(g, s, s->n), e, g->stride * sizeof *e);
        s->slots[at] = (uint64_t)hash << 32 | ++s->n;
    }
    return true;
}

static weir_status flush_shard(query_grouper *w, size_t shard, weir_err *err)
{
    query_groups *g = w->g;
    struct shard *s = &g->shards[shard];
    pthread_mutex_lock(&s->lock);
    bool ok = put_entries(g, s, w->stage + shard * STAGE * g->stride, w->hashes + shard * STAGE,
                          w->n_staged[shard]);
    pthread_mutex_unlock(&s->lock);
    w->n_staged[shard] = 0;
    return ok ? WEIR_OK : no_memory(err);
}

static weir_status flush(query_grouper *w, weir_err *err)
{
    for (size_t i = 0; i < SHARDS; i++)
        if (w->n_staged[i])
            WEIR_TRY(flush_shard(w, i, err));
    return WEIR_OK;
}

/* ---- keys ---- */

static inline uint64_t mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * UINT64_C(0x9e3779b97f4a7c15);
    return h ^ h >> 29;
}

static inline uint64_t mix_end(uint64_t h)
{
    h ^= h >> 32;
    h *= UINT64_C(0xd6e8feb86659fd93);
    return h ^ h >> 32;
}

/* What a null key is to the hash. */
static const uint64_t NULL_MIX = UINT64_C(0xa0761d6478bd642f);

/* One key of some rows: v the number, or the text's number; h what goes into the hash; there 0: null. */
struct key_rows {
    uint64_t *v, *h;
    uint8_t *there;
};

static bool key_rows_alloc(struct key_rows *k, struct query_bump *memory, size_t n)
{
    k->v = query_bump_array(memory, n + 1, sizeof *k->v);
    k->h = query_bump_array(memory, n + 1, sizeof *k->h);
    k->there = query_bump_alloc(memory, n + 1);
    return k->v && k->h && k->there;
}

/* Numbers and hashes of texts of rows, 0: null. */
static weir_status text_ids(query_grouper *w, struct query_eval *e, const struct query_values *v,
                            uint64_t epoch, uint64_t *out, weir_err *err)
{
    size_t n = e->rows.n;
    uint64_t *map = NULL;
    if (v->v.kind == QUERY_UNKNOWN) {
        memset(out, 0, n * sizeof *out);
        return WEIR_OK;
    }
    if (v->column >= 0 && e->scan) {
        struct query_scan_column *c = &e->scan->columns[v->column];
        bool fresh = !c->interned || c->interned_epoch != epoch;
        if (!c->interned)
            c->interned = query_bump_alloc(&e->scan->group_memory, c->n_dict * sizeof *map);
        map = c->interned;
        if (map && fresh) {
            c->interned_epoch = epoch;
            memset(map, 0, c->n_dict * sizeof *map);
            /* When many rows pass, most of the dictionary will be needed: all at once is faster. */
            if (n > e->scan->n / 4 && n > c->n_dict / 32 &&
                !query_intern_many(w->texts, c->dict_text, c->n_dict, map))
                return no_memory(err);
        }
    } else {
        map = query_bump_zero(&w->memory, v->v.n_dict * sizeof *map);
    }
    if (!map)
        return no_memory(err);
    for (size_t i = 0; i < n; i++) {
        out[i] = 0;
        if (v->v.valid && !parquet_bit(v->v.valid, i))
            continue;
        uint32_t code = query_code(v, i);
        if (!map[code] &&
            !(map[code] = query_intern_add(w->texts, v->v.dict[code].data, v->v.dict[code].len)))
            return no_memory(err);
        out[i] = map[code];
    }
    return WEIR_OK;
}

static weir_status too_wide(const query_groups *g, const struct key *k, weir_err *err)
{
    return weir_err_set(err, WEIR_EFORMAT, 0, "column %s has values beyond its type",
                        g->plan->fields[k->field].f.name);
}

static weir_status key_values(query_grouper *w, struct query_eval *e, const struct key *k,
                              int field, uint64_t epoch, struct key_rows *out, weir_err *err)
{
    const struct query_values *v;
    size_t n = e->rows.n;
    WEIR_TRY(query_eval_field(e, field, &v, err));
    if (v->v.kind == QUERY_UNKNOWN || query_is_list(v->v.kind)) {
        memset(out->there, 0, n);
        memset(out->v, 0, n * sizeof *out->v);
        for (size_t i = 0; i < n; i++)
            out->h[i] = NULL_MIX;
        return WEIR_OK;
    }
    if (query_is_text(v->v.kind)) {
        WEIR_TRY(text_ids(w, e, v, epoch, out->v, err));
        for (size_t i = 0; i < n; i++) {
            out->there[i] = out->v[i] != 0;
            out->h[i] = out->there[i] ? out->v[i] >> 32 : NULL_MIX;
            out->v[i] = (uint32_t)out->v[i];
        }
        return WEIR_OK;
    }
    uint64_t all = 0;
    for (size_t i = 0; i < n; i++) {
        bool there = !v->v.valid || parquet_bit(v->v.valid, i);
        uint64_t x = there ? query_num(v, i) : 0;
        all |= x;
        out->v[i] = x;
        out->there[i] = there;
        out->h[i] = there ? x * UINT64_C(0x2545f4914f6cdd1d) + 1 : NULL_MIX;
    }
    if (k->class == KEY_NARROW && k->bits < 64 && all >> k->bits)
        return too_wide(w->g, k, err);
    return WEIR_OK;
}

static inline void key_store(const struct key *k, uint64_t *entry, uint64_t v, bool there)
{
    if (k->class == KEY_WIDE) {
        entry[k->word] = v;
        entry[k->there_word] |= (uint64_t)there << k->there_shift;
    } else if (k->class == KEY_TEXT) {
        entry[k->word] |= v << k->shift;
    } else {
        entry[k->word] |= (there ? v + 1 : 0) << k->shift;
    }
}

static inline bool key_load(const struct key *k, const uint64_t *entry, uint64_t *v)
{
    if (k->class == KEY_WIDE) {
        *v = entry[k->word];
        return entry[k->there_word] >> k->there_shift & 1;
    }
    if (k->class == KEY_TEXT) {
        *v = (uint32_t)(entry[k->word] >> k->shift);
        return *v != 0;
    }
    *v = entry[k->word] >> k->shift & ((UINT64_C(2) << k->bits) - 1);
    bool there = *v != 0;
    *v -= there;
    return there;
}

/* Numbers of texts may stand in its place, as far as is known before the first file. */
static bool may_be_text(const query_groups *g, int field)
{
    uint8_t kind = query_plan_kind(g->plan, field);
    return g->plan->fields[field].f.what == QUERY_F_EXTRA || query_is_text(kind) ||
           query_is_list(kind);
}

static bool key_is_text(const query_groups *g, const struct key *k)
{
    return k->class == KEY_TEXT || query_is_text(query_plan_kind(g->plan, k->field));
}

/* The hash of an entry's key, as rows have it. */
static uint64_t entry_hash(const query_groups *g, const query_intern *texts, const uint64_t *entry)
{
    uint64_t h = g->seed;
    for (size_t i = 0; i < g->n_keys; i++) {
        uint64_t v;
        bool there = key_load(&g->keys[i], entry, &v);
        h = mix(h, !there                        ? NULL_MIX
                   : key_is_text(g, &g->keys[i]) ? query_intern_hash(texts, (uint32_t)v)
                                                 : v * UINT64_C(0x2545f4914f6cdd1d) + 1);
    }
    return mix_end(h);
}

/* ---- rows into entries ---- */

/* Lists as octets, to be kept as a text: numbers as they are, texts behind their lengths. */
static weir_status list_id(query_grouper *w, const struct query_values *v, size_t i, uint64_t *id,
                           weir_err *err)
{
    uint32_t from = v->v.starts[i], to = v->v.starts[i + 1];
    size_t len = 0;
    bool text = v->v.kind == QUERY_TEXT_LIST;
    for (uint32_t k = from; k < to; k++)
        len += text ? 4 + (size_t)v->v.dict[v->v.codes[k]].len : 8;
    char *p = query_bump_alloc(&w->memory, len + 1), *at = p;
    if (!p || len > UINT32_MAX)
        return no_memory(err);
    for (uint32_t k = from; k < to; k++) {
        if (!text) {
            memcpy(at, &v->v.num[k], 8);
            at += 8;
            continue;
        }
        const struct query_text *t = &v->v.dict[v->v.codes[k]];
        memcpy(at, &t->len, 4);
        if (t->len)
            memcpy(at + 4, t->data, t->len);
        at += 4 + t->len;
    }
    uint64_t x = query_intern_add(w->texts, p, (uint32_t)len);
    *id = (uint32_t)x;
    return x ? WEIR_OK : no_memory(err);
}

static uint64_t biased(const query_groups *g, size_t m, uint64_t v)
{
    v ^= TOP;
    return g->is_min[m] ? ~v : v;
}

/* Parts of the rows, from word `to` of each entry on. dirs: NULL: all are 0. */
static weir_status store_parts(query_grouper *w, struct query_eval *e, uint64_t task,
                               uint64_t epoch, const uint8_t *dirs, uint64_t *entries,
                               weir_err *err)
{
    const query_groups *g = w->g;
    size_t n = e->rows.n, stride = g->stride;
    for (size_t k = 0; k < g->n_sums; k++) {
        uint64_t *to = entries + g->o_sums + k;
        const struct part *part = &g->sums[k];
        const struct query_values *v = NULL;
        if (part->field >= 0)
            WEIR_TRY(query_eval_field(e, part->field, &v, err));
        if (!v || (v->constant && v->v.kind == QUERY_U64)) {
            uint64_t x = v ? v->v.num[0] : 1;
            for (size_t i = 0; i < n; i++)
                to[i * stride] = x;
        } else if (v->v.kind != QUERY_U64) {
            for (size_t i = 0; i < n; i++)
                to[i * stride] = 0;
        } else {
            for (size_t i = 0; i < n; i++)
                to[i * stride] = v->v.num[i];
        }
        for (size_t i = 0; part->dir >= 0 && i < n; i++)
            if ((dirs ? dirs[i] : 0) != part->dir)
                to[i * stride] = 0;
    }
    for (size_t k = 0; k < g->n_maxs; k++) {
        uint64_t *to = entries + g->o_maxs + k;
        const struct query_values *v;
        WEIR_TRY(query_eval_field(e, g->maxs[k].field, &v, err));
        for (size_t i = 0; i < n; i++)
            to[i * stride] = query_is_null(v, i) ? 0 : biased(g, k, query_num(v, i));
    }
    for (size_t k = 0; k < g->n_ors; k++) {
        uint64_t *to = entries + g->o_ors + k;
        const struct query_values *v;
        WEIR_TRY(query_eval_field(e, g->ors[k].field, &v, err));
        for (size_t i = 0; i < n; i++)
            to[i * stride] = query_is_null(v, i) ? 0 : query_num(v, i);
    }
    if (g->has_seq) {
        uint64_t *to = entries + g->o_seq, base = task << 32 | (e->scan ? e->scan->at : 0);
        for (size_t i = 0; i < n; i++) {
            uint64_t seq = base + (e->rows.at ? e->rows.at[i] : i);
            to[i * stride] = ~(seq << 1 | (dirs ? dirs[i] : 0));
            for (size_t k = g->o_there; k < g->o_firsts; k++)
                entries[i * stride + k] = 0;
        }
    }
    for (size_t k = 0; k < g->n_firsts; k++) {
        uint64_t *to = entries + g->o_firsts + k, *there = entries + g->o_there + k / 64;
        const struct query_values *v;
        WEIR_TRY(query_eval_field(e, g->firsts[k], &v, err));
        uint64_t *ids = NULL;
        if (query_is_text(v->v.kind)) {
            if (!(ids = query_bump_array(&w->memory, n + 1, sizeof *ids)))
                return no_memory(err);
            WEIR_TRY(text_ids(w, e, v, epoch, ids, err));
        }
        for (size_t i = 0; i < n; i++) {
            uint64_t x = 0;
            bool null = query_is_null(v, i);
            if (null)
                x = 0;
            else if (ids)
                x = (uint32_t)ids[i];
            else if (query_is_list(v->v.kind))
                WEIR_TRY(list_id(w, v, i, &x, err));
            else
                x = query_num(v, i);
            to[i * stride] = x;
            there[i * stride] |= (uint64_t)!null << (k & 63);
        }
    }
    return WEIR_OK;
}

static weir_status hand_over(query_grouper *w, const uint64_t *entries, const uint64_t *hashes,
                             const uint8_t *leave_out, size_t n, weir_err *err)
{
    const query_groups *g = w->g;
    size_t stride = g->stride;
    for (size_t i = 0; i < n; i++) {
        if (leave_out && leave_out[i])
            continue;
        size_t shard = hashes[i] >> (64 - SHARD_BITS);
        uint32_t at = w->n_staged[shard];
        uint64_t *to = w->stage + (shard * STAGE + at) * stride;
        const uint64_t *from = entries + i * stride;
        for (size_t k = 0; k < stride; k++)
            to[k] = from[k];
        w->hashes[shard * STAGE + at] = hashes[i];
        if ((w->n_staged[shard] = at + 1) == STAGE)
            WEIR_TRY(flush_shard(w, shard, err));
    }
    return WEIR_OK;
}

/* Which end comes first in the key of both directions; equal hashes of different addresses are told apart by text. */
static int compare_ends(const query_grouper *w, uint64_t a, uint64_t a_hash, uint64_t a_port,
                        uint64_t b, uint64_t b_hash, uint64_t b_port)
{
    if (a_hash != b_hash)
        return a_hash < b_hash ? -1 : 1;
    if (a != b) {
        if (!a || !b)
            return a ? 1 : -1;
        struct query_text x = query_intern_text(w->texts, (uint32_t)a),
                          y = query_intern_text(w->texts, (uint32_t)b);
        if (x.len != y.len)
            return x.len < y.len ? -1 : 1;
        return memcmp(x.data, y.data, x.len);
    }
    return a_port < b_port ? -1 : a_port > b_port;
}

static void swap_rows(struct key_rows *a, struct key_rows *b, size_t i)
{
    uint64_t v = a->v[i], h = a->h[i];
    uint8_t there = a->there[i];
    a->v[i] = b->v[i], a->h[i] = b->h[i], a->there[i] = b->there[i];
    b->v[i] = v, b->h[i] = h, b->there[i] = there;
}

static weir_status add_rows(query_grouper *w, struct query_eval *e, uint64_t task, uint64_t epoch,
                            weir_err *err)
{
    const query_groups *g = w->g;
    size_t n = e->rows.n, stride = g->stride;
    struct query_bump *m = &w->memory;
    query_bump_reset(m);
    uint64_t *entries = query_bump_array(m, n * stride + 1, sizeof *entries);
    uint64_t *hashes = query_bump_array(m, n + 1, sizeof *hashes);
    struct key_rows keys[MAX_KEYS], more[MAX_KEYS];
    if (!entries || !hashes)
        return no_memory(err);
    for (size_t k = 0; k < g->n_keys; k++) {
        if (!key_rows_alloc(&keys[k], m, n))
            return no_memory(err);
        WEIR_TRY(key_values(w, e, &g->keys[k], g->keys[k].field, epoch, &keys[k], err));
    }
    uint8_t *dirs = NULL;
    if (g->r->merge != QUERY_MERGE_NONE) {
        if (!(dirs = query_bump_zero(m, n + 1)))
            return no_memory(err);
        struct key_rows *s = &keys[g->k_src], *d = &keys[g->k_dst], *sp = &keys[g->k_src_port],
                        *dp = &keys[g->k_dst_port];
        for (size_t i = 0; i < n; i++)
            if (compare_ends(w, s->v[i], s->h[i], sp->h[i], d->v[i], d->h[i], dp->h[i]) > 0) {
                swap_rows(s, d, i);
                swap_rows(sp, dp, i);
                dirs[i] = 1;
            }
    }
    for (size_t a = 1; a < g->n_alternatives; a++) {
        if (!key_rows_alloc(&more[a], m, n))
            return no_memory(err);
        WEIR_TRY(key_values(w, e, &g->keys[0], g->alternatives[a], epoch, &more[a], err));
    }
    more[0] = keys[0];
    WEIR_TRY(store_parts(w, e, task, epoch, dirs, entries, err));
    uint8_t *leave_out = NULL;
    if (g->n_alternatives && !(leave_out = query_bump_alloc(m, n + 1)))
        return no_memory(err);
    size_t rounds = g->n_alternatives ? g->n_alternatives : 1;
    for (size_t a = 0; a < rounds; a++) {
        if (g->n_alternatives) {
            keys[0] = more[a];
            for (size_t i = 0; i < n; i++) {
                bool out = false;
                for (size_t b = 0; b < a; b++)
                    out = out || (more[b].there[i] && more[b].v[i] == more[a].v[i]);
                if (!more[a].there[i]) { /* null counts when there is nothing else */
                    out = a > 0;
                    for (size_t b = 0; b < rounds; b++)
                        out = out || more[b].there[i];
                }
                leave_out[i] = out;
            }
        }
        for (size_t i = 0; i < n; i++) {
            uint64_t *entry = entries + i * stride, h = g->seed;
            for (size_t k = 0; k < g->key_words; k++)
                entry[k] = 0;
            for (size_t k = 0; k < g->n_keys; k++) {
                key_store(&g->keys[k], entry, keys[k].v[i], keys[k].there[i]);
                h = mix(h, keys[k].h[i]);
            }
            hashes[i] = mix_end(h);
        }
        WEIR_TRY(hand_over(w, entries, hashes, leave_out, n, err));
    }
    return WEIR_OK;
}

/* ---- sums by code ---- */

/* The dictionary column that a key is, NULL: it is something else. */
static weir_status coded_key(query_grouper *w, struct query_scan *s, size_t k,
                             struct query_scan_column **out, weir_err *err)
{
    const struct query_plan_field *f = &w->g->plan->fields[w->g->keys[k].field];
    *out = NULL;
    if (f->column < 0 || f->scaled || f->complete)
        return WEIR_OK;
    struct query_scan_column *c;
    WEIR_TRY(query_scan_column(s, f->column, &c, err));
    if (c->all_null) {
        *out = c;
        return WEIR_OK;
    }
    if (query_is_list(c->kind) || !c->info.has_dict)
        return WEIR_OK;
    WEIR_TRY(query_scan_dict(s, c, err));
    if (c->dict && c->n_dict && !c->dict_null)
        *out = c;
    return WEIR_OK;
}

static weir_status decide(query_grouper *w, struct query_eval *e, weir_err *err)
{
    const query_groups *g = w->g;
    struct query_scan *s = e->scan;
    w->dense = DENSE_NO;
    if (g->n_alternatives || g->r->merge != QUERY_MERGE_NONE)
        return WEIR_OK;
    for (size_t k = 0; k < g->n_firsts; k++) {
        uint8_t kind = query_plan_kind(g->plan, g->firsts[k]);
        if (kind == QUERY_UNKNOWN || query_is_list(kind) || query_is_text(kind))
            return WEIR_OK;
    }
    size_t all = 1;
    size_t most = s->n_rows / 2 < 4096 ? 4096 : s->n_rows / 2;
    if (most > MAX_DENSE)
        most = MAX_DENSE;
    for (size_t k = 0; k < g->n_keys; k++) {
        struct query_scan_column *c;
        WEIR_TRY(coded_key(w, s, k, &c, err));
        if (!c)
            return WEIR_OK;
        w->sizes[k] = c->all_null ? 1 : (size_t)c->n_dict + 1;
        if (!c->all_null)
            WEIR_TRY(query_scan_texts(s, c, err));
        if (w->sizes[k] > most)
            return WEIR_OK;
        all *= w->sizes[k];
        if (all > most)
            return WEIR_OK;
    }
    if (all > 4096 && e->rows.n < s->n / 16)
        return WEIR_OK;
    size_t words = g->stride - g->key_words;
    words = words <= 1 ? 1 : words <= 2 ? 2 : words <= 4 ? 4 : (words + 7) / 8 * 8;
    w->words = words;
    if (all > w->cap_dense) {
        size_t cap = w->cap_dense, entry = words * sizeof *w->sums;
        query_pool_give(g->pool, w->sums, cap * entry);
        query_pool_give(g->pool, w->used, cap + 8);
        w->cap_dense = 0;
        cap = 64;
        while (cap < all)
            cap += cap / 2;
        w->sums = query_pool_zero(g->pool, cap * entry);
        w->used = query_pool_zero(g->pool, cap + 8);
        if (!w->sums || !w->used)
            return no_memory(err);
        w->cap_dense = cap;
    }
    w->n_dense = all;
    w->dense = DENSE_YES;
    return WEIR_OK;
}

/* The place of each row among the sums. NULL: they all are at 0. */
static weir_status dense_codes(query_grouper *w, struct query_eval *e, const uint32_t **out,
                               weir_err *err)
{
    const query_groups *g = w->g;
    size_t n = e->rows.n;
    *out = NULL;
    uint32_t *codes = NULL;
    for (size_t k = 0; k < g->n_keys; k++) {
        struct query_scan_column *c;
        WEIR_TRY(coded_key(w, e->scan, k, &c, err));
        if (!c || c->all_null)
            continue;
        const struct parquet_data *d;
        WEIR_TRY(query_scan_data(e->scan, c, &d, err));
        uint32_t null = c->n_dict, size = null + 1;
        if (!codes && !d->valid && !e->rows.at && g->n_keys == 1) {
            *out = d->codes; /* as they are */
            return WEIR_OK;
        }
        bool fresh = !codes;
        if (fresh && !(codes = query_bump_array(&w->memory, n + 1, sizeof *codes)))
            return no_memory(err);
        for (size_t i = 0; i < n; i++) {
            size_t row = e->rows.at ? e->rows.at[i] : i;
            uint32_t code = d->valid && !parquet_bit(d->valid, row) ? null : d->codes[row];
            codes[i] = (fresh ? 0 : codes[i] * size) + code;
        }
    }
    *out = codes;
    return WEIR_OK;
}

/* Sums of rows that all are of one group. */
static uint64_t sum_all(const uint64_t *v, size_t n, uint64_t start)
{
    uint64_t all = 0, any = 0;
    for (size_t i = 0; i < n; i++)
        any |= v[i];
    if (any >> 40) { /* may wrap */
        for (size_t i = 0; i < n; i++)
            start = saturating(start, v[i]);
        return start;
    }
    for (size_t i = 0; i < n; i++)
        all += v[i];
    return saturating(start, all);
}

/* Values of the parts of some rows, fetched before anything is summed up. */
struct dense_values {
    const struct query_values *sums[64], *maxs[16], *ors[8], *firsts[64];
};

static weir_status dense_values(const query_groups *g, struct query_eval *e,
                                struct dense_values *out, weir_err *err)
{
    for (size_t k = 0; k < g->n_sums; k++) {
        out->sums[k] = NULL;
        if (g->sums[k].field >= 0)
            WEIR_TRY(query_eval_field(e, g->sums[k].field, &out->sums[k], err));
    }
    for (size_t k = 0; k < g->n_maxs; k++)
        WEIR_TRY(query_eval_field(e, g->maxs[k].field, &out->maxs[k], err));
    for (size_t k = 0; k < g->n_ors; k++)
        WEIR_TRY(query_eval_field(e, g->ors[k].field, &out->ors[k], err));
    for (size_t k = 0; k < g->n_firsts; k++)
        WEIR_TRY(query_eval_field(e, g->firsts[k], &out->firsts[k], err));
    return WEIR_OK;
}

/* Rows that all are of one group. */
static void add_one(const query_groups *g, const struct dense_values *d, size_t n, uint64_t *sums)
{
    for (size_t k = 0; k < g->n_sums; k++) {
        const struct query_values *v = d->sums[k];
        uint64_t all;
        if (!v || v->constant)
            sums[k] = saturating(
                sums[k], __builtin_mul_overflow(v ? v->v.num[0] : 1, n, &all) ? UINT64_MAX : all);
        else if (v->v.kind == QUERY_U64)
            sums[k] = sum_all(v->v.num, n, sums[k]);
    }
    uint64_t *to = sums + g->n_sums;
    for (size_t k = 0; k < g->n_maxs; k++, to++)
        for (size_t i = 0; d->maxs[k]->v.kind != QUERY_UNKNOWN && i < n; i++) {
            uint64_t x = query_num(d->maxs[k], i) ^ (g->is_min[k] ? ~TOP : TOP);
            if (x > *to && !query_is_null(d->maxs[k], i))
                *to = x;
        }
    for (size_t k = 0; k < g->n_ors; k++, to++)
        for (size_t i = 0; i < n; i++)
            *to |= query_is_null(d->ors[k], i) ? 0 : query_num(d->ors[k], i);
}

/* Rows [from, to), part by part: few enough for the sums that they touch to stay in the nearest caches. */
static void add_some(const query_groups *g, const struct dense_values *d, const uint32_t *codes,
                     size_t from, size_t to, size_t words, uint64_t *sums)
{
    for (size_t k = 0; k < g->n_sums; k++) {
        const struct query_values *v = d->sums[k];
        uint64_t *p = sums + k;
        if (!v || v->constant) {
            uint64_t x = v ? v->v.num[0] : 1;
            for (size_t i = from; x && i < to; i++)
                p[codes[i] * words] = saturating(p[codes[i] * words], x);
        } else if (v->v.kind == QUERY_U64) {
            const uint64_t *num = v->v.num;
            for (size_t i = from; i < to; i++)
                p[codes[i] * words] = saturating(p[codes[i] * words], num[i]);
        }
    }
    for (size_t k = 0; k < g->n_maxs; k++) {
        const struct query_values *v = d->maxs[k];
        uint64_t *p = sums + g->n_sums + k, flip = g->is_min[k] ? ~TOP : TOP;
        if (v->v.kind == QUERY_UNKNOWN)
            continue;
        for (size_t i = from; i < to; i++) {
            uint64_t x = query_num(v, i) ^ flip, *at = &p[codes[i] * words];
            if (v->v.valid && !parquet_bit(v->v.valid, i))
                x = 0;
            *at = *at > x ? *at : x;
        }
    }
    for (size_t k = 0; k < g->n_ors; k++) {
        const struct query_values *v = d->ors[k];
        uint64_t *p = sums + g->n_sums + g->n_maxs + k;
        for (size_t i = from; v->v.kind != QUERY_UNKNOWN && i < to; i++)
            p[codes[i] * words] |= query_is_null(v, i) ? 0 : query_num(v, i);
    }
}

/* Rows come in order: the first of a place is the earliest. */
static void add_firsts(const query_groups *g, const struct dense_values *d, const uint32_t *codes,
                       const struct query_rows *rows, size_t from, size_t to, uint64_t base,
                       size_t words, uint64_t *sums)
{
    size_t seq = g->o_seq - g->key_words, there = g->o_there - g->key_words,
           values = g->o_firsts - g->key_words;
    for (size_t i = from; i < to; i++) {
        uint64_t *p = sums + (codes ? codes[i] : 0) * words;
        if (p[seq])
            continue;
        p[seq] = ~((base + (rows->at ? rows->at[i] : i)) << 1);
        for (size_t k = 0; k < g->n_firsts; k++) {
            if (query_is_null(d->firsts[k], i))
                continue;
            p[there + k / 64] |= UINT64_C(1) << (k & 63);
            p[values + k] = query_num(d->firsts[k], i);
        }
    }
}

static weir_status add_dense(query_grouper *w, struct query_eval *e, uint64_t task, weir_err *err)
{
    enum { SOME = 1024 };
    const query_groups *g = w->g;
    size_t n = e->rows.n;
    const uint32_t *codes;
    struct dense_values d;
    uint64_t base = task << 32 | e->scan->at;
    query_bump_reset(&w->memory);
    WEIR_TRY(dense_codes(w, e, &codes, err));
    WEIR_TRY(dense_values(g, e, &d, err));
    if (!codes) {
        w->used[0] = 1;
        add_one(g, &d, n, w->sums);
        if (g->has_seq)
            add_firsts(g, &d, NULL, &e->rows, 0, 1, base, w->words, w->sums);
        return WEIR_OK;
    }
    for (size_t from = 0; from < n; from += SOME) {
        size_t to = n - from < SOME ? n : from + SOME;
        for (size_t i = from; i < to; i++) {
            w->used[codes[i]] = 1;
            __builtin_prefetch(w->sums + codes[i] * w->words, 1);
        }
        add_some(g, &d, codes, from, to, w->words, w->sums);
        if (g->has_seq)
            add_firsts(g, &d, codes, &e->rows, from, to, base, w->words, w->sums);
    }
    return WEIR_OK;
}

weir_status query_grouper_add(query_grouper *w, struct query_eval *e, uint64_t task, uint64_t epoch,
                              weir_err *err)
{
    if (!e->rows.n)
        return WEIR_OK;
    if (w->dense == DENSE_UNSET)
        WEIR_TRY(decide(w, e, err));
    return w->dense == DENSE_YES ? add_dense(w, e, task, err) : add_rows(w, e, task, epoch, err);
}

/* One place of the sums becomes an entry. */
static weir_status dense_entry(query_grouper *w, struct query_scan *s, size_t at, uint64_t epoch,
                               uint64_t *entry, uint64_t *hash, weir_err *err)
{
    const query_groups *g = w->g;
    size_t words = g->stride - g->key_words;
    uint32_t codes[MAX_KEYS];
    size_t rest = at;
    for (size_t k = g->n_keys; k--;) {
        codes[k] = (uint32_t)(rest % w->sizes[k]);
        rest /= w->sizes[k];
    }
    uint64_t h = g->seed;
    memset(entry, 0, g->key_words * sizeof *entry);
    for (size_t k = 0; k < g->n_keys; k++) {
        const struct key *key = &g->keys[k];
        const struct query_scan_column *c = &s->columns[g->plan->fields[key->field].column];
        if (codes[k] + 1 == w->sizes[k]) {
            key_store(key, entry, 0, false);
            h = mix(h, NULL_MIX);
        } else if (c->dict_text) {
            uint64_t *map = c->interned;
            uint64_t id = map && c->interned_epoch == epoch ? map[codes[k]] : 0;
            if (!id)
                id = query_intern_add(w->texts, c->dict_text[codes[k]].data,
                                      c->dict_text[codes[k]].len);
            if (!id)
                return no_memory(err);
            key_store(key, entry, (uint32_t)id, true);
            h = mix(h, id >> 32);
        } else {
            uint64_t v = c->dict_num[codes[k]];
            if (key->class == KEY_NARROW && v >> key->bits)
                return too_wide(g, key, err);
            key_store(key, entry, v, true);
            h = mix(h, v * UINT64_C(0x2545f4914f6cdd1d) + 1);
        }
    }
    memcpy(entry + g->key_words, w->sums + at * w->words, words * sizeof *entry);
    *hash = mix_end(h);
    return WEIR_OK;
}

/* The texts of a single key's used places, before they are needed one by one. */
static weir_status intern_used(query_grouper *w, struct query_scan *s, uint64_t epoch,
                               weir_err *err)
{
    const struct query_plan_field *f = &w->g->plan->fields[w->g->keys[0].field];
    struct query_scan_column *c = &s->columns[f->column];
    if (!c->dict_text || (c->interned && c->interned_epoch == epoch))
        return WEIR_OK;
    size_t n_used = 0;
    for (size_t i = 0; i < c->n_dict; i++)
        n_used += w->used[i];
    if (n_used < c->n_dict / 2)
        return WEIR_OK;
    if (!c->interned &&
        !(c->interned = query_bump_array(&s->group_memory, c->n_dict, sizeof(uint64_t))))
        return no_memory(err);
    c->interned_epoch = epoch;
    return query_intern_many(w->texts, c->dict_text, c->n_dict, c->interned) ? WEIR_OK
                                                                             : no_memory(err);
}

weir_status query_grouper_end(query_grouper *w, struct query_scan *s, uint64_t epoch, weir_err *err)
{
    const query_groups *g = w->g;
    bool dense = w->dense == DENSE_YES;
    w->dense = DENSE_UNSET;
    if (!dense)
        return WEIR_OK;
    query_bump_reset(&w->memory);
    uint64_t *entry = query_bump_array(&w->memory, g->stride, sizeof *entry);
    weir_status st = entry ? WEIR_OK : no_memory(err);
    if (st == WEIR_OK && g->n_keys == 1)
        st = intern_used(w, s, epoch, err);
    for (size_t at = 0; at < w->n_dense; at++) {
        if (!(at & 7) && at + 8 <= w->n_dense) {
            uint64_t eight;
            memcpy(&eight, w->used + at, 8);
            if (!eight) {
                at += 7;
                continue;
            }
        }
        if (!w->used[at])
            continue;
        uint64_t hash;
        if (st == WEIR_OK)
            st = dense_entry(w, s, at, epoch, entry, &hash, err);
        if (st == WEIR_OK)
            st = hand_over(w, entry, &hash, NULL, 1, err);
        w->used[at] = 0;
        memset(w->sums + at * w->words, 0, w->words * sizeof *w->sums);
    }
    return st;
}

/* ---- groups as rows ---- */

struct view {
    const query_groups *g;
    const query_intern *texts;
    uint64_t *entries[VIEW];
    size_t n;
    uint8_t back[VIEW];    /* the flow that came first was of direction 1 */
    uint8_t swapped[VIEW]; /* and sides were put right by their ports: as back, of what rows say */
};

static void view_sides(struct view *v)
{
    const query_groups *g = v->g;
    memset(v->back, 0, v->n);
    memset(v->swapped, 0, v->n);
    if (g->r->merge == QUERY_MERGE_NONE)
        return;
    for (size_t i = 0; i < v->n; i++) {
        const uint64_t *e = v->entries[i];
        v->back[i] = ~e[g->o_seq] & 1;
        if (g->r->merge != QUERY_MERGE_GUESS)
            continue;
        uint64_t proto, src, dst;
        bool there = key_load(&g->keys[g->k_proto], e, &proto);
        there &= key_load(&g->keys[v->back[i] ? g->k_dst_port : g->k_src_port], e, &src);
        there &= key_load(&g->keys[v->back[i] ? g->k_src_port : g->k_dst_port], e, &dst);
        if (there && (proto == 6 || proto == 17) && src < 1024 && dst > 1024) {
            v->swapped[i] = 1;
            v->back[i] ^= 1;
        }
    }
}

/* Texts of rows: each has an entry of its own. */
static bool view_texts(struct query_eval *e, uint8_t kind, struct query_values *out,
                       uint32_t **codes, struct query_text **dict, uint64_t **valid)
{
    size_t n = e->rows.n;
    *codes = query_bump_array(e->memory, n + 1, sizeof **codes);
    *dict = query_bump_array(e->memory, n + 1, sizeof **dict);
    *valid = query_bump_zero(e->memory, (n / 64 + 1) * sizeof **valid);
    if (!*codes || !*dict || !*valid)
        return false;
    for (size_t i = 0; i < n; i++) {
        (*codes)[i] = (uint32_t)i;
        (*dict)[i] = (struct query_text){.data = ""};
    }
    out->v = (struct query_vec){
        .kind = kind, .codes = *codes, .dict = *dict, .n_dict = (uint32_t)n, .valid = *valid};
    return true;
}

static weir_status view_lists(struct query_eval *e, uint8_t kind, const query_intern *texts,
                              const uint64_t *ids, struct query_values *out, weir_err *err)
{
    size_t n = e->rows.n, n_items = 0;
    for (size_t i = 0; i < n; i++)
        if (ids[i]) {
            struct query_text t = query_intern_text(texts, (uint32_t)ids[i]);
            n_items += t.len / (kind == QUERY_TEXT_LIST ? 4 : 8);
        }
    uint32_t *starts = query_bump_array(e->memory, n + 1, sizeof *starts);
    uint64_t *valid = query_bump_zero(e->memory, (n / 64 + 1) * sizeof *valid);
    uint64_t *num = query_bump_array(e->memory, n_items + 1, sizeof *num);
    uint32_t *codes = query_bump_array(e->memory, n_items + 1, sizeof *codes);
    struct query_text *dict = query_bump_array(e->memory, n_items + 1, sizeof *dict);
    if (!starts || !valid || !num || !codes || !dict)
        return no_memory(err);
    uint32_t at = 0;
    for (size_t i = 0; i < n; i++) {
        starts[i] = at;
        if (!ids[i])
            continue;
        valid[i >> 6] |= UINT64_C(1) << (i & 63);
        struct query_text t = query_intern_text(texts, (uint32_t)ids[i]);
        for (uint32_t k = 0; k < t.len; at++) {
            codes[at] = at;
            if (kind == QUERY_TEXT_LIST) {
                uint32_t len;
                memcpy(&len, t.data + k, 4);
                dict[at] = (struct query_text){.data = t.data + k + 4, .len = len};
                k += 4 + len;
            } else {
                memcpy(&num[at], t.data + k, 8);
                k += 8;
            }
        }
    }
    starts[n] = at;
    out->v = (struct query_vec){.kind = kind, .valid = valid, .starts = starts};
    if (kind == QUERY_TEXT_LIST) {
        out->v.codes = codes;
        out->v.dict = dict;
        out->v.n_dict = at;
    } else {
        out->v.num = num;
    }
    return WEIR_OK;
}

static weir_status view_field(const struct view *v, struct query_eval *e, int field,
                              const struct source *s, struct query_values *out, weir_err *err)
{
    const query_groups *g = v->g;
    size_t n = e->rows.n;
    uint8_t kind = query_plan_kind(g->plan, field);
    *out = (struct query_values){.v.kind = QUERY_UNKNOWN, .column = -1};
    if (kind == QUERY_UNKNOWN)
        return WEIR_OK;
    const struct query_field *f = &g->plan->fields[field].f;
    uint64_t *num = query_bump_array(e->memory, n + 1, sizeof *num);
    uint64_t *valid = query_bump_zero(e->memory, (n / 64 + 1) * sizeof *valid);
    if (!num || !valid)
        return no_memory(err);
    size_t n_there = 0;
    for (size_t i = 0; i < n; i++) {
        size_t row = e->rows.at ? e->rows.at[i] : i;
        const uint64_t *x = v->entries[row];
        bool there = true;
        switch ((enum from)s->from) {
        case FROM_KEY: {
            int k = s->at;
            if (v->back[row])
                k = k == g->k_src        ? g->k_dst
                    : k == g->k_dst      ? g->k_src
                    : k == g->k_src_port ? g->k_dst_port
                    : k == g->k_dst_port ? g->k_src_port
                                         : k;
            there = key_load(&g->keys[k], x, &num[i]);
            break;
        }
        case FROM_SUM:
            num[i] = x[g->o_sums + (size_t)s->at];
            break;
        case FROM_MIN:
        case FROM_MAX:
            num[i] = x[g->o_maxs + (size_t)s->at];
            there = num[i] != 0;
            num[i] = there ? (s->from == FROM_MIN ? ~num[i] : num[i]) ^ TOP : 0;
            break;
        case FROM_OR:
            num[i] = x[g->o_ors + (size_t)s->at];
            break;
        case FROM_FIRST: {
            size_t k = (size_t)s->at;
            int twin = v->swapped[row] ? query_group_other_side(f) : -1;
            for (size_t m = 0; twin >= 0 && m < g->n_firsts; m++) {
                const struct query_field *o = &g->plan->fields[g->firsts[m]].f;
                if (o->what == QUERY_F_COLUMN && o->id == twin)
                    k = m;
            }
            num[i] = x[g->o_firsts + k];
            there = x[g->o_there + k / 64] >> (k & 63) & 1;
            break;
        }
        case FROM_BOTH: {
            const uint64_t *sums = x + g->o_sums;
            num[i] = saturating(sums[s->both[v->back[row]]], sums[s->both[2 + !v->back[row]]]);
            break;
        }
        case FROM_NOTHING:
            there = false;
            break;
        }
        num[i] = there ? num[i] : 0;
        valid[i >> 6] |= (uint64_t)there << (i & 63);
        n_there += there;
    }
    if (!n_there)
        return WEIR_OK;
    if (query_is_list(kind))
        return view_lists(e, kind, v->texts, num, out, err);
    if (!query_is_text(kind)) {
        out->v = (struct query_vec){.kind = kind, .num = num, .valid = n_there == n ? NULL : valid};
        return WEIR_OK;
    }
    uint32_t *codes;
    struct query_text *dict;
    uint64_t *bits;
    if (!view_texts(e, kind, out, &codes, &dict, &bits))
        return no_memory(err);
    for (size_t i = 0; i < n; i++)
        if (num[i])
            dict[i] = query_intern_text(v->texts, (uint32_t)num[i]);
    out->v.valid = n_there == n ? NULL : valid;
    return WEIR_OK;
}

static bool view_base(void *user, struct query_eval *e, int field, struct query_values *out,
                      weir_status *st, weir_err *err)
{
    const struct view *v = user;
    const query_groups *g = v->g;
    const struct source *s = &g->sources[field];
    if ((size_t)field >= g->n_sources || !s->known || s->from == FROM_NOTHING)
        return false;
    *st = view_field(v, e, field, s, out, err);
    return true;
}

/* The groups of the view that pass HAVING go to the sorter. */
static weir_status view_put(struct view *v, struct query_bump *memory, query_sorter *to,
                            uint64_t *found, weir_err *err)
{
    const query_groups *g = v->g;
    struct query_eval e;
    uint64_t bits[VIEW / 64];
    static const uint64_t none[VIEW]; /* keys are different: arrival decides nothing */
    query_bump_reset(memory);
    view_sides(v);
    if (!query_eval_init(&e, g->plan, NULL, memory, (struct query_rows){.n = v->n}))
        return no_memory(err);
    e.base = view_base;
    e.user = v;
    if (g->having >= 0) {
        memset(bits, 0xff, sizeof bits);
        WEIR_TRY(query_filter_rows(g->plan, g->having, &e, bits, err));
        size_t n = 0;
        for (size_t i = 0; i < v->n; i++)
            if (parquet_bit(bits, i))
                v->entries[n++] = v->entries[i];
        if (n < v->n) {
            v->n = n;
            query_bump_reset(memory);
            view_sides(v);
            if (!query_eval_init(&e, g->plan, NULL, memory, (struct query_rows){.n = n}))
                return no_memory(err);
            e.base = view_base;
            e.user = v;
        }
    }
    *found += v->n;
    return v->n ? query_sorter_add(to, &e, none, err) : WEIR_OK;
}

static weir_status put_shard(const query_groups *g, const query_intern *texts,
                             const struct shard *s, struct view *v, struct query_bump *memory,
                             query_sorter *to, bool (*stop)(void *user), void *user,
                             uint64_t *found, weir_err *err)
{
    for (uint32_t at = 0; at < s->n;) {
        if (stop && stop(user))
            return weir_err_set(err, WEIR_END, 0, "stopped");
        v->g = g;
        v->texts = texts;
        for (v->n = 0; v->n < VIEW && at < s->n; at++)
            v->entries[v->n++] = entry_of(g, s, at);
        WEIR_TRY(view_put(v, memory, to, found, err));
    }
    return WEIR_OK;
}

/* ---- spilling ---- */

struct buffer {
    char *data;
    size_t len, cap;
};

static bool put_octets(struct buffer *b, const void *p, size_t len)
{
    if (b->cap - b->len < len) {
        size_t cap = (b->cap + len) * 2;
        char *more = realloc(b->data, cap);
        if (!more)
            return false;
        b->data = more;
        b->cap = cap;
    }
    memcpy(b->data + b->len, p, len);
    b->len += len;
    return true;
}

/* Numbers of the texts of an entry, in a fixed order: keys, then first values; 0: none. take: they become 0 in the
 * entry. */
static size_t entry_texts(const query_groups *g, uint64_t *entry, uint32_t *ids, bool take)
{
    size_t n = 0;
    for (size_t k = 0; k < g->n_keys; k++) {
        const struct key *key = &g->keys[k];
        if (!may_be_text(g, key->field))
            continue;
        uint64_t v;
        ids[n] = 0;
        if (key_is_text(g, key)) {
            ids[n] = key_load(key, entry, &v) ? (uint32_t)v : 0;
            if (take)
                entry[key->word] &=
                    ~((uint64_t)UINT32_MAX << (key->class == KEY_TEXT ? key->shift : 0));
        }
        n++;
    }
    for (size_t k = 0; k < g->n_firsts; k++) {
        if (!may_be_text(g, g->firsts[k]))
            continue;
        uint8_t kind = query_plan_kind(g->plan, g->firsts[k]);
        ids[n] = 0;
        if (query_is_text(kind) || query_is_list(kind)) {
            bool there = entry[g->o_there + k / 64] >> (k & 63) & 1;
            ids[n] = there ? (uint32_t)entry[g->o_firsts + k] : 0;
            if (take)
                entry[g->o_firsts + k] = 0;
        }
        n++;
    }
    return n;
}

static void entry_set_texts(const query_groups *g, uint64_t *entry, const uint32_t *ids)
{
    size_t n = 0;
    for (size_t k = 0; k < g->n_keys; k++) {
        const struct key *key = &g->keys[k];
        if (may_be_text(g, key->field))
            entry[key->word] |= (uint64_t)ids[n++] << (key->class == KEY_TEXT ? key->shift : 0);
    }
    for (size_t k = 0; k < g->n_firsts; k++)
        if (may_be_text(g, g->firsts[k]))
            entry[g->o_firsts + k] |= ids[n++];
}

enum { MAX_TEXTS = MAX_KEYS + 64 };

/* An entry: its words, then its texts, each behind its length + 1 (0: null). */
static bool save_entry(const query_groups *g, const query_intern *texts, const uint64_t *entry,
                       struct buffer *b)
{
    uint32_t ids[MAX_TEXTS];
    size_t at = b->len;
    if (!put_octets(b, entry, g->stride * sizeof *entry))
        return false;
    uint64_t words[MAX_KEYS + 2 + 64 + 16 + 8 + 2 + 64];
    memcpy(words, entry, g->stride * sizeof *entry);
    size_t n = entry_texts(g, words, ids, true);
    memcpy(b->data + at, words, g->stride * sizeof *words);
    for (size_t i = 0; i < n; i++) {
        struct query_text t = ids[i] ? query_intern_text(texts, ids[i]) : (struct query_text){0};
        uint32_t len = ids[i] ? t.len + 1 : 0;
        if (!put_octets(b, &len, sizeof len) || (len > 1 && !put_octets(b, t.data, t.len)))
            return false;
    }
    return true;
}

static weir_status load_entry(const query_groups *g, struct query_spill_reader *r,
                              query_intern *texts, uint64_t *entry, size_t n_texts, weir_err *err)
{
    const void *p;
    uint32_t ids[MAX_TEXTS];
    WEIR_TRY(query_spill_read(r, g->stride * sizeof *entry, &p, err));
    memcpy(entry, p, g->stride * sizeof *entry);
    for (size_t i = 0; i < n_texts; i++) {
        uint32_t len;
        WEIR_TRY(query_spill_read(r, sizeof len, &p, err));
        memcpy(&len, p, sizeof len);
        ids[i] = 0;
        if (!len)
            continue;
        WEIR_TRY(query_spill_read(r, len - 1, &p, err));
        if (!(ids[i] = (uint32_t)query_intern_add(texts, p, len - 1)))
            return no_memory(err);
    }
    entry_set_texts(g, entry, ids);
    return WEIR_OK;
}

static bool add_extent(struct query_extent **extents, size_t *n, size_t *cap, struct query_extent x)
{
    if (*n && (*extents)[*n - 1].at + (*extents)[*n - 1].len == x.at) {
        (*extents)[*n - 1].len += x.len;
        return true;
    }
    if (*n == *cap) {
        size_t more = *cap ? *cap * 2 : 8;
        struct query_extent *p = realloc(*extents, more * sizeof *p);
        if (!p)
            return false;
        *extents = p;
        *cap = more;
    }
    (*extents)[(*n)++] = x;
    return true;
}

static weir_status spill_shard(query_groups *g, struct shard *s, struct buffer *b, weir_err *err)
{
    enum { WRITE = 1 << 18 };
    for (uint32_t at = 0; at < s->n;) {
        b->len = 0;
        for (; at < s->n && b->len < WRITE; at++)
            if (!save_entry(g, g->texts, entry_of(g, s, at), b))
                return no_memory(err);
        struct query_extent x = {.at = g->spill.end, .len = b->len};
        WEIR_TRY(query_spill_write(&g->spill, b->data, b->len, err));
        if (!add_extent(&s->extents, &s->n_extents, &s->cap_extents, x))
            return no_memory(err);
    }
    shard_empty(g, s);
    return WEIR_OK;
}

weir_status query_groups_spill(query_groups *g, const char *tmp, weir_err *err)
{
    for (query_grouper *w = g->workers; w; w = w->next)
        WEIR_TRY(flush(w, err));
    if (g->spill.fd < 0)
        WEIR_TRY(query_spill_open(&g->spill, tmp, err));
    g->spilled = true;
    struct buffer b = {0};
    weir_status st = WEIR_OK;
    for (size_t i = 0; i < SHARDS && st == WEIR_OK; i++)
        st = spill_shard(g, &g->shards[i], &b, err);
    free(b.data);
    return st;
}

struct finish {
    query_groups *g;
    query_sorter *to;
    struct view *view;
    struct query_bump *memory;
    size_t max_octets;
    bool (*stop)(void *user);
    void *user;
    uint64_t *found;
};

static weir_status finish_extents(struct finish *f, const struct query_extent *extents, size_t n,
                                  unsigned depth, weir_err *err);

/* Cut extents into SPLIT by further bits of the hash and finish each. */
static weir_status split_extents(struct finish *f, const struct query_extent *extents, size_t n,
                                 unsigned depth, query_intern *texts, size_t n_texts, weir_err *err)
{
    enum { SPLIT_BITS = 4, SPLIT = 1 << SPLIT_BITS, WRITE = 1 << 16 };
    query_groups *g = f->g;
    struct {
        struct buffer b;
        struct query_extent *extents;
        size_t n, cap;
    } parts[SPLIT] = {0};
    uint64_t *entry = malloc(g->stride * sizeof *entry);
    weir_status st = entry ? WEIR_OK : no_memory(err);
    for (size_t i = 0; i < n && st == WEIR_OK; i++) {
        struct query_spill_reader r;
        if (!query_spill_reader_init(&r, &g->spill, extents[i], 1 << 17))
            st = no_memory(err);
        while (st == WEIR_OK && !query_spill_at_end(&r)) {
            st = load_entry(g, &r, texts, entry, n_texts, err);
            if (st != WEIR_OK)
                break;
            uint64_t h = entry_hash(g, texts, entry);
            size_t k = h >> (64 - SHARD_BITS - SPLIT_BITS * (depth + 1)) & (SPLIT - 1);
            if (!save_entry(g, texts, entry, &parts[k].b))
                st = no_memory(err);
            if (query_intern_octets(texts) > (1 << 20))
                query_intern_reset(texts); /* what was read is written by text */
            if (st == WEIR_OK && parts[k].b.len >= WRITE) {
                struct query_extent x = {.at = g->spill.end, .len = parts[k].b.len};
                st = query_spill_write(&g->spill, parts[k].b.data, parts[k].b.len, err);
                parts[k].b.len = 0;
                if (st == WEIR_OK && !add_extent(&parts[k].extents, &parts[k].n, &parts[k].cap, x))
                    st = no_memory(err);
            }
        }
        query_spill_reader_done(&r);
    }
    for (size_t k = 0; k < SPLIT; k++) {
        if (st == WEIR_OK && parts[k].b.len) {
            struct query_extent x = {.at = g->spill.end, .len = parts[k].b.len};
            st = query_spill_write(&g->spill, parts[k].b.data, parts[k].b.len, err);
            if (st == WEIR_OK && !add_extent(&parts[k].extents, &parts[k].n, &parts[k].cap, x))
                st = no_memory(err);
        }
        free(parts[k].b.data);
    }
    query_intern_reset(texts);
    for (size_t k = 0; k < SPLIT; k++) {
        if (st == WEIR_OK && parts[k].n)
            st = finish_extents(f, parts[k].extents, parts[k].n, depth + 1, err);
        free(parts[k].extents);
    }
    free(entry);
    return st;
}

/* Groups of one part of the temporary file: put together in memory, then on to the sorter. */
static weir_status finish_extents(struct finish *f, const struct query_extent *extents, size_t n,
                                  unsigned depth, weir_err *err)
{
    query_groups *g = f->g;
    if (f->stop && f->stop(f->user))
        return weir_err_set(err, WEIR_END, 0, "stopped");
    uint64_t octets = 0;
    for (size_t i = 0; i < n; i++)
        octets += extents[i].len;
    query_intern *texts = query_intern_new(g->pool, g->seed, false);
    if (!texts)
        return no_memory(err);
    uint64_t *zero = calloc(g->stride, sizeof *zero);
    uint32_t ids[MAX_TEXTS];
    size_t n_texts = zero ? entry_texts(g, zero, ids, false) : 0;
    weir_status st = zero ? WEIR_OK : no_memory(err);
    /* Twice: slots and texts need memory too. */
    if (st == WEIR_OK && octets > f->max_octets / 2 && octets > (1 << 20) && depth < MAX_DEPTH) {
        st = split_extents(f, extents, n, depth, texts, n_texts, err);
    } else if (st == WEIR_OK) {
        struct shard s = {0};
        uint64_t *batch = malloc(STAGE * g->stride * sizeof *batch), hashes[STAGE];
        if (!batch)
            st = no_memory(err);
        for (size_t i = 0; i < n && st == WEIR_OK; i++) {
            struct query_spill_reader r;
            if (!query_spill_reader_init(&r, &g->spill, extents[i], 1 << 17))
                st = no_memory(err);
            while (st == WEIR_OK && !query_spill_at_end(&r)) {
                size_t k = 0;
                for (; k < STAGE && st == WEIR_OK && !query_spill_at_end(&r); k++) {
                    st = load_entry(g, &r, texts, batch + k * g->stride, n_texts, err);
                    if (st == WEIR_OK)
                        hashes[k] = entry_hash(g, texts, batch + k * g->stride);
                }
                if (st == WEIR_OK && !put_entries(g, &s, batch, hashes, k))
                    st = no_memory(err);
            }
            query_spill_reader_done(&r);
        }
        if (st == WEIR_OK)
            st =
                put_shard(g, texts, &s, f->view, f->memory, f->to, f->stop, f->user, f->found, err);
        shard_empty(g, &s);
        free(batch);
    }
    free(zero);
    query_intern_free(texts);
    return st;
}

weir_status query_groups_finish(query_groups *g, const char *tmp, size_t max_octets,
                                query_sorter *to, bool (*stop)(void *user), void *user,
                                uint64_t *found, weir_err *err)
{
    *found = 0;
    for (query_grouper *w = g->workers; w; w = w->next)
        WEIR_TRY(flush(w, err));
    if (g->spilled)
        WEIR_TRY(query_groups_spill(g, tmp, err));
    struct query_bump memory = {0};
    struct view *view = malloc(sizeof *view);
    weir_status st = view ? WEIR_OK : no_memory(err);
    struct finish f = {g, to, view, &memory, max_octets, stop, user, found};
    for (size_t i = 0; i < SHARDS && st == WEIR_OK; i++) {
        struct shard *s = &g->shards[i];
        if (g->spilled)
            st = s->n_extents ? finish_extents(&f, s->extents, s->n_extents, 0, err) : WEIR_OK;
        else
            st = put_shard(g, g->texts, s, view, &memory, to, stop, user, found, err);
        shard_empty(g, s);
    }
    free(view);
    query_bump_done(&memory);
    return st;
}
