#include "ship/ipfix_message.h"

#include "base/hash.h"
#include "ship/ipfix_in.h"

#include <endian.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    HEADER = 16,    /* octets of a message's header, RFC 7011 section 3.1 */
    SET_HEADER = 4, /* section 3.3.2 */
    TEMPLATE_SET = 2,
    FIRST_ID = 256,      /* of templates */
    MOST_RECORD = 60000, /* octets: with its headers it fits a datagram */
    ROOM = 16,           /* octets behind a record that may be written */
    MANY_SETS = 16384,   /* all are forgotten when there are more */
    MANY_TEMPLATES = 8192,
    MANY_DOMAINS = 65536, /* rows of further ones go into domain 0 */
    MOST_SAID = 1024,     /* names of columns that were left out */
    NO_SET = -1
};

static const int64_t SECOND = 1000000000;

/* Fields of a template as they stand on the wire: element, length, enterprise. */
struct template
{
    uint8_t *spec;
    size_t len;
    uint32_t hash;
    uint16_t id, n_fields;
};

/* Which cells a row has, and how such rows become records. */
struct shape {
    uint64_t key[IPFIX_WORDS];
    const struct ipfix_cell **cells; /* n, in the order of the template */
    size_t n, bound;                 /* octets that a record takes at most, without texts */
    size_t most_text;                /* octets of a text; a longer one is sent empty */
    uint32_t template;
};

/* A template in a domain. */
struct set {
    uint32_t domain, template;
    int64_t due_ns, step_ns; /* when it is told again; step 0: was not told yet */
    int32_t first, last;     /* rows of this block, NO_SET: none */
    int32_t next;            /* of the same domain, with rows of this block */
};

struct domain {
    uint32_t id, sequence;
    int32_t first, last; /* its sets with rows of this block */
};

struct row {
    size_t off;
    uint32_t len;
    int32_t next; /* of the same set */
};

/* Places of items by hash: index + 1, 0: free; a power of two, at most half full. */
struct places {
    uint32_t *at;
    size_t n;
};

struct ship_ipfix {
    struct ship_ipfix_options o;
    struct ipfix_columns columns;
    uint64_t seed;
    size_t words;                    /* of a key */
    uint64_t yields[8][IPFIX_WORDS]; /* cells of a group */
    struct template *templates;
    size_t n_templates, cap_templates;
    uint32_t ids[65536 / 32]; /* that are taken */
    struct shape *shapes;
    size_t n_shapes, cap_shapes;
    struct set *sets;
    size_t n_sets, cap_sets;
    struct domain *domains;
    size_t n_domains, cap_domains;
    struct places of_template, of_shape, of_set, of_domain;
    /* the block at hand */
    const struct ipfix_cell **active;
    size_t n_active;
    struct row *rows;
    size_t cap_rows;
    int32_t *touched; /* domains with rows, n_touched */
    size_t n_touched, cap_touched;
    uint64_t keys[SHIP_CHUNK][IPFIX_WORDS];
    bool fine[SHIP_CHUNK];
    base_buf records, out;
    struct ship_ipfix_message *messages;
    size_t n_messages, cap_messages;
    /* the message that is built */
    size_t begin, set_at; /* in out; set_at 0: no set is open */
    uint32_t set_id, n_records;
    bool open;
    char **said;
    size_t n_said;
};

static inline uint8_t *put16(uint8_t *p, uint16_t v)
{
    v = htobe16(v);
    memcpy(p, &v, 2);
    return p + 2;
}

static inline uint8_t *put32(uint8_t *p, uint32_t v)
{
    v = htobe32(v);
    memcpy(p, &v, 4);
    return p + 4;
}

static inline uint8_t *put64(uint8_t *p, uint64_t v)
{
    v = htobe64(v);
    memcpy(p, &v, 8);
    return p + 8;
}

static uint32_t get32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return be32toh(v);
}

/* Memory for one item more. */
static bool more(void *items, size_t *cap, size_t n, size_t size)
{
    void *p;
    if (n < *cap)
        return true;
    size_t want = *cap ? 2 * *cap : 64;
    memcpy(&p, items, sizeof p);
    if (!(p = realloc(p, want * size)))
        return false;
    memcpy(items, &p, sizeof p);
    *cap = want;
    return true;
}

/* ---- saying ---- */

static void say_once(ship_ipfix *m, const char *name, const char *why)
{
    char text[320];
    for (size_t i = 0; i < m->n_said; i++)
        if (strcmp(m->said[i], name) == 0)
            return;
    if (m->n_said == MOST_SAID)
        return;
    char **said = realloc(m->said, (m->n_said + 1) * sizeof *said);
    char *copy = said ? strdup(name) : NULL;
    if (said)
        m->said = said;
    if (copy)
        m->said[m->n_said++] = copy;
    (void)snprintf(text, sizeof text, "%.200s %s", name, why);
    if (m->o.say)
        m->o.say(m->o.user, text);
}

static void left_out(void *user, const char *name)
{
    say_once(user, name, "is left out: there is no element of IPFIX for it");
}

/* ---- places by hash ---- */

static uint64_t hash_words(const ship_ipfix *m, const uint64_t *key, size_t words)
{
    return base_hash(key, words * sizeof *key, m->seed);
}

static uint64_t hash_number(const ship_ipfix *m, uint32_t v)
{
    const uint64_t key = v;
    return hash_words(m, &key, 1);
}

static uint64_t hash_set(const ship_ipfix *m, uint32_t domain, uint32_t template)
{
    const uint64_t key = (uint64_t)domain << 32 | template;
    return hash_words(m, &key, 1);
}

/* FNV-1a: the same on every machine, since ids of templates come from it. */
static uint32_t hash_spec(const uint8_t *p, size_t len)
{
    uint32_t h = 2166136261U;
    for (size_t i = 0; i < len; i++)
        h = (h ^ p[i]) * 16777619U;
    return h;
}

enum kind { TEMPLATES, SHAPES, SETS, DOMAINS };

static uint64_t hash_of(const ship_ipfix *m, enum kind kind, size_t i)
{
    switch (kind) {
    case TEMPLATES:
        return hash_number(m, m->templates[i].hash);
    case SHAPES:
        return hash_words(m, m->shapes[i].key, m->words);
    case SETS:
        return hash_set(m, m->sets[i].domain, m->sets[i].template);
    case DOMAINS:
    default:
        return hash_number(m, m->domains[i].id);
    }
}

static void put_place(struct places *p, uint64_t hash, size_t item)
{
    size_t at = hash & (p->n - 1);
    while (p->at[at])
        at = (at + 1) & (p->n - 1);
    p->at[at] = (uint32_t)item + 1;
}

/* Item n, the newest, gets its place. */
static bool add_place(ship_ipfix *m, enum kind kind, struct places *p, size_t n)
{
    if (2 * (n + 1) > p->n) {
        struct places wider = {.n = p->n ? 2 * p->n : 128};
        if (!(wider.at = calloc(wider.n, sizeof *wider.at)))
            return false;
        for (size_t i = 0; i < n; i++)
            put_place(&wider, hash_of(m, kind, i), i);
        free(p->at);
        *p = wider;
    }
    put_place(p, hash_of(m, kind, n), n);
    return true;
}

static void forget_places(struct places *p)
{
    if (p->n)
        memset(p->at, 0, p->n * sizeof *p->at);
}

/* ---- templates and shapes ---- */

static weir_status no_memory(weir_err *err)
{
    return weir_err_set(err, WEIR_ENOMEM, 0, "ship: out of memory");
}

static size_t spec_of(const struct shape *s, uint8_t *out)
{
    uint8_t *p = out;
    for (size_t i = 0; i < s->n; i++) {
        const struct ipfix_cell *c = s->cells[i];
        p = put16(p, (uint16_t)(c->pen ? c->id | 0x8000U : c->id));
        p = put16(p, c->len ? c->len : 65535);
        if (c->pen)
            p = put32(p, c->pen);
    }
    return (size_t)(p - out);
}

static uint16_t new_id(ship_ipfix *m, uint32_t hash)
{
    uint32_t id = FIRST_ID + hash % (65536 - FIRST_ID);
    while (m->ids[id / 32] >> (id % 32) & 1)
        id = id == 65535 ? FIRST_ID : id + 1;
    m->ids[id / 32] |= 1U << (id % 32);
    return (uint16_t)id;
}

/* The template of a shape; UINT32_MAX: out of memory. */
static uint32_t find_template(ship_ipfix *m, const struct shape *s)
{
    uint8_t spec[8 * IPFIX_MAX_CELLS];
    size_t len = spec_of(s, spec);
    uint32_t hash = hash_spec(spec, len);
    const struct places *p = &m->of_template;
    for (size_t at = hash_number(m, hash) & (p->n - 1); p->n && p->at[at];
         at = (at + 1) & (p->n - 1)) {
        const struct template *t = &m->templates[p->at[at] - 1];
        if (t->len == len && memcmp(t->spec, spec, len) == 0)
            return p->at[at] - 1;
    }
    if (!more(&m->templates, &m->cap_templates, m->n_templates, sizeof *m->templates))
        return UINT32_MAX;
    struct template *t = &m->templates[m->n_templates];
    *t = (struct template){.hash = hash, .len = len, .n_fields = (uint16_t)s->n};
    if (!(t->spec = malloc(len + 1)))
        return UINT32_MAX;
    memcpy(t->spec, spec, len);
    if (!add_place(m, TEMPLATES, &m->of_template, m->n_templates)) {
        free(t->spec);
        return UINT32_MAX;
    }
    t->id = new_id(m, hash);
    return (uint32_t)m->n_templates++;
}

static struct shape *new_shape(ship_ipfix *m, const uint64_t *key)
{
    if (!more(&m->shapes, &m->cap_shapes, m->n_shapes, sizeof *m->shapes))
        return NULL;
    struct shape *s = &m->shapes[m->n_shapes];
    size_t n_text = 0;
    *s = (struct shape){.n = 0};
    memcpy(s->key, key, m->words * sizeof *key);
    for (size_t i = 0; i < m->words; i++)
        s->n += (size_t)__builtin_popcountll(key[i]);
    if (!(s->cells = malloc((s->n + 1) * sizeof *s->cells)))
        return NULL;
    size_t n = 0;
    for (size_t i = 0; i < m->columns.n_cells; i++) {
        const struct ipfix_cell *c = &m->columns.cells[i];
        if (!(key[i / 64] >> (i % 64) & 1))
            continue;
        s->cells[n++] = c;
        s->bound += c->len ? c->len : 3;
        n_text += c->len == 0;
    }
    s->most_text = n_text ? (MOST_RECORD - s->bound) / n_text : 0;
    s->template = find_template(m, s);
    if (s->template == UINT32_MAX || !add_place(m, SHAPES, &m->of_shape, m->n_shapes)) {
        free(s->cells);
        return NULL;
    }
    m->n_shapes++;
    return s;
}

static struct shape *find_shape(ship_ipfix *m, const uint64_t *key)
{
    const struct places *p = &m->of_shape;
    for (size_t at = hash_words(m, key, m->words) & (p->n - 1); p->n && p->at[at];
         at = (at + 1) & (p->n - 1)) {
        struct shape *s = &m->shapes[p->at[at] - 1];
        if (memcmp(s->key, key, m->words * sizeof *key) == 0)
            return s;
    }
    return new_shape(m, key);
}

static void forget_shapes(ship_ipfix *m)
{
    for (size_t i = 0; i < m->n_shapes; i++)
        free(m->shapes[i].cells);
    m->n_shapes = 0;
    forget_places(&m->of_shape);
}

static void forget_templates(ship_ipfix *m)
{
    forget_shapes(m);
    for (size_t i = 0; i < m->n_templates; i++)
        free(m->templates[i].spec);
    m->n_templates = m->n_sets = 0;
    memset(m->ids, 0, sizeof m->ids);
    forget_places(&m->of_template);
    forget_places(&m->of_set);
}

/* ---- domains and their sets ---- */

static int32_t find_domain(ship_ipfix *m, uint32_t id)
{
    const struct places *p = &m->of_domain;
    for (size_t at = hash_number(m, id) & (p->n - 1); p->n && p->at[at]; at = (at + 1) & (p->n - 1))
        if (m->domains[p->at[at] - 1].id == id)
            return (int32_t)p->at[at] - 1;
    if (m->n_domains >= MANY_DOMAINS && id) {
        say_once(m, "observation domain", "0 has the flows of all domains beyond 65535");
        return find_domain(m, 0);
    }
    if (!more(&m->domains, &m->cap_domains, m->n_domains, sizeof *m->domains))
        return NO_SET;
    m->domains[m->n_domains] = (struct domain){.id = id, .first = NO_SET, .last = NO_SET};
    if (!add_place(m, DOMAINS, &m->of_domain, m->n_domains))
        return NO_SET;
    return (int32_t)m->n_domains++;
}

static int32_t find_set(ship_ipfix *m, uint32_t domain, uint32_t template)
{
    const struct places *p = &m->of_set;
    for (size_t at = hash_set(m, domain, template) & (p->n - 1); p->n && p->at[at];
         at = (at + 1) & (p->n - 1)) {
        const struct set *s = &m->sets[p->at[at] - 1];
        if (s->domain == domain && s->template == template)
            return (int32_t)p->at[at] - 1;
    }
    if (!more(&m->sets, &m->cap_sets, m->n_sets, sizeof *m->sets))
        return NO_SET;
    m->sets[m->n_sets] = (struct set){
        .domain = domain, .template = template, .first = NO_SET, .last = NO_SET, .next = NO_SET};
    if (!add_place(m, SETS, &m->of_set, m->n_sets))
        return NO_SET;
    return (int32_t)m->n_sets++;
}

/* Row i of the block goes into a set. */
static bool add_to_set(ship_ipfix *m, int32_t set, int32_t i)
{
    struct set *s = &m->sets[set];
    m->rows[i].next = NO_SET;
    if (s->first != NO_SET) {
        m->rows[s->last].next = i;
        s->last = i;
        return true;
    }
    s->first = s->last = i;
    s->next = NO_SET;
    struct domain *d = &m->domains[s->domain];
    if (d->first != NO_SET) {
        m->sets[d->last].next = set;
        d->last = set;
        return true;
    }
    if (!more(&m->touched, &m->cap_touched, m->n_touched, sizeof *m->touched))
        return false;
    m->touched[m->n_touched++] = (int32_t)s->domain;
    d->first = d->last = set;
    return true;
}

/* ---- which cells a row has ---- */

static double rate_of(uint64_t bits)
{
    double d;
    memcpy(&d, &bits, sizeof d);
    return isfinite(d) && d >= 1 && d <= UINT32_MAX ? d : 0;
}

/* A rate that is no integer, as so many packets of so many: thousandths are exact, 32 bits hold it. */
static void rate_parts(double rate, uint32_t *taken, uint32_t *space)
{
    double n = 1000;
    while (rate * n > UINT32_MAX)
        n /= 10;
    if (n < 1)
        n = 1;
    *taken = (uint32_t)n;
    *space = (uint32_t)(llround(rate * n) - (long long)n);
}

static bool is_time(const struct query_vec *v, size_t i)
{
    return ship_has(v, i) && (int64_t)v->num[i] >= 0;
}

static const struct query_vec *vec_of(const struct query_block *b, int16_t column)
{
    return column < 0 ? NULL : &b->vecs[column];
}

static void find_fine(ship_ipfix *m, const struct query_vec *a, const struct query_vec *b,
                      size_t from, size_t to)
{
    bool has_a = a && ship_is_number(a), has_b = b != a && b && ship_is_number(b);
    for (size_t i = from; i < to; i++)
        m->fine[i - from] = (has_a && ship_has(a, i) && a->num[i] % 1000) ||
                            (has_b && ship_has(b, i) && b->num[i] % 1000);
}

static unsigned family_of(const struct ship_pieces *p, size_t i)
{
    const struct ship_piece *s = p ? ship_piece_of(p, i) : NULL;
    return s ? s->n : 0;
}

static bool is_icmp6(const struct query_vec *proto, const struct ship_pieces *p, size_t i)
{
    if (proto && ship_is_number(proto) && ship_has(proto, i))
        return proto->num[i] == 58;
    return family_of(p, i) == 16;
}

/* Set the bit of a cell in the keys of rows [from, to) that have it. */
static void mark(ship_ipfix *m, const struct query_block *blk, const struct ipfix_cell *c,
                 size_t from, size_t to)
{
    const struct query_vec *v = &blk->vecs[c->column];
    const struct query_vec *a = vec_of(blk, c->a), *b = vec_of(blk, c->b);
    const struct ship_pieces *pieces = c->pieces >= 0 ? &m->columns.pieces[c->pieces].p : NULL;
    const struct ship_pieces *family = c->family >= 0 ? &m->columns.pieces[c->family].p : NULL;
    size_t cell = (size_t)(c - m->columns.cells), word = cell / 64, shift = cell % 64;
#define MARK(condition)                                                                            \
    for (size_t i = from; i < to; i++)                                                             \
    m->keys[i - from][word] |= (uint64_t)(condition) << shift
    switch ((enum ipfix_when)c->when) {
    case IPFIX_VALID:
        if (!v->valid)
            MARK(1);
        else
            MARK(parquet_bit(v->valid, i));
        break;
    case IPFIX_FITS:
        MARK(ship_has(v, i) && !(v->num[i] >> 1 >> (8 * c->len - 1)));
        break;
    case IPFIX_FITS_SIGNED: {
        unsigned bits = 64U - 8U * c->len;
        MARK(ship_has(v, i) && (int64_t)(v->num[i] << bits) >> bits == (int64_t)v->num[i]);
        break;
    }
    case IPFIX_HAS_PIECE:
        for (size_t i = from; i < to; i++) {
            const struct ship_piece *s = ship_piece_of(pieces, i);
            m->keys[i - from][word] |= (uint64_t)(s && s->n == c->len) << shift;
        }
        break;
    case IPFIX_HAS_TEXT:
        MARK(ship_has(v, i));
        break;
    case IPFIX_HAS_TIME:
        MARK(is_time(v, i));
        break;
    case IPFIX_COARSE:
        find_fine(m, a, b, from, to);
        MARK(is_time(v, i) && !m->fine[i - from]);
        break;
    case IPFIX_FINE:
        find_fine(m, a, b, from, to);
        MARK(is_time(v, i) && m->fine[i - from]);
        break;
    case IPFIX_FAMILY:
        MARK(ship_has(v, i) && v->num[i] <= 255 && (family_of(family, i) == 16) == (c->arg == 16));
        break;
    case IPFIX_ICMP:
        MARK(ship_has(v, i) && v->num[i] <= 255 && is_icmp6(a, family, i) == (c->arg == 16));
        break;
    case IPFIX_WHOLE:
        for (size_t i = from; i < to; i++) {
            double r = ship_has(v, i) ? rate_of(v->num[i]) : 0;
            m->keys[i - from][word] |= (uint64_t)(r >= 1 && r == floor(r)) << shift;
        }
        break;
    case IPFIX_BROKEN:
        for (size_t i = from; i < to; i++) {
            double r = ship_has(v, i) ? rate_of(v->num[i]) : 0;
            m->keys[i - from][word] |= (uint64_t)(r >= 1 && r != floor(r)) << shift;
        }
        break;
    case IPFIX_SMALL:
        MARK(ship_has(v, i) && v->num[i] <= 255);
        break;
    case IPFIX_LARGE:
        MARK(ship_has(v, i) && v->num[i] > 255);
        break;
    case IPFIX_HAS_LABEL:
        MARK(ship_has(v, i) && v->starts[i + 1] - v->starts[i] > c->arg);
        break;
    case IPFIX_WITHOUT: {
        bool has = a && ship_is_number(a);
        MARK(is_time(v, i) && !(has && ship_has(a, i)));
        break;
    }
    case IPFIX_THOUSANDS:
        MARK(ship_has(v, i) && v->num[i] % 1000 == 0 && v->num[i] / 1000 <= UINT32_MAX);
        break;
    }
#undef MARK
}

/* Whether values of the block's column are of the kind that the cell reads, and any are there. */
static bool is_active(const struct ipfix_cell *c, const struct query_vec *v)
{
    switch ((enum ipfix_op)c->op) {
    case IPFIX_PIECE:
    case IPFIX_TEXT:
        return ship_is_text(v);
    case IPFIX_LABEL:
        return v->kind == QUERY_U64_LIST && v->starts && v->num;
    case IPFIX_NUM:
    case IPFIX_BOOL:
    case IPFIX_F32:
    case IPFIX_F64:
    case IPFIX_S:
    case IPFIX_MS:
    case IPFIX_US:
    case IPFIX_NS:
    case IPFIX_THOUSANDTH:
    case IPFIX_RATE:
    case IPFIX_RATE_TAKEN:
    case IPFIX_RATE_SPACE:
        break;
    }
    return ship_is_number(v);
}

static bool begin_block(ship_ipfix *m, const struct query_block *b)
{
    struct ipfix_columns *c = &m->columns;
    m->n_active = 0;
    for (size_t i = 0; i < c->n_cells; i++)
        if (is_active(&c->cells[i], &b->vecs[c->cells[i].column]))
            m->active[m->n_active++] = &c->cells[i];
    for (size_t i = 0; i < c->n_pieces; i++)
        if (!ship_pieces_begin(&c->pieces[i].p, &b->vecs[c->pieces[i].column], 0, b->n))
            return false;
    for (size_t i = 0; i < c->n_unsent; i++) {
        const struct query_vec *v = &b->vecs[c->unsent[i]];
        size_t row = 0;
        while (v->kind != QUERY_UNKNOWN && row < b->n && !ship_has(v, row))
            row++;
        if (v->kind != QUERY_UNKNOWN && row < b->n)
            left_out(m, c->fields[c->unsent[i]].name);
    }
    return true;
}

static void make_keys(ship_ipfix *m, const struct query_block *b, size_t from, size_t to)
{
    for (size_t i = 0; i < m->columns.n_pieces; i++)
        ship_pieces_chunk(&m->columns.pieces[i].p, from, to);
    for (size_t i = 0; i < to - from; i++)
        memset(m->keys[i], 0, m->words * sizeof(uint64_t));
    for (size_t k = 0; k < m->n_active; k++)
        mark(m, b, m->active[k], from, to);
    for (size_t k = 0; k < m->n_active; k++) {
        const struct ipfix_cell *c = m->active[k];
        size_t cell = (size_t)(c - m->columns.cells);
        if (!c->instead)
            continue;
        const uint64_t *yields = m->yields[c->instead];
        for (size_t i = 0; i < to - from; i++)
            if (m->keys[i][cell / 64] >> (cell % 64) & 1)
                for (size_t w = 0; w < m->words; w++)
                    m->keys[i][w] &= ~yields[w];
    }
}

/* ---- records ---- */

/* Microseconds since 1970 as NTP has them: the least fraction that is not before, so that it comes back whether readers round or
 * cut. Of dateTimeMicroseconds the low 11 bits are 0 (RFC 7011 section 6.1.9). */
static uint64_t ntp_of(uint64_t us, uint64_t low)
{
    uint64_t s = us / 1000000 + UINT64_C(2208988800), rest = us % 1000000;
    uint64_t fraction = ((rest << 32) + 999999) / 1000000;
    return s << 32 | ((fraction + low) & ~low);
}

static uint8_t *put_number(uint8_t *p, uint64_t v, unsigned len)
{
    (void)put64(p, v << (64 - 8 * len));
    return p + len;
}

static uint8_t *put_label(const struct query_block *blk, const struct ipfix_cell *c, size_t i,
                          uint8_t *p)
{
    const struct query_vec *v = &blk->vecs[c->column], *exp = &blk->vecs[c->a],
                           *eos = &blk->vecs[c->b];
    uint64_t label = v->num[v->starts[i] + c->arg] & 0xfffff, x = 0, bottom = 0;
    if (exp->kind == QUERY_U64_LIST && exp->starts && exp->num && ship_has(exp, i) &&
        exp->starts[i + 1] - exp->starts[i] > c->arg)
        x = exp->num[exp->starts[i] + c->arg] & 7;
    if (ship_is_number(eos) && ship_has(eos, i))
        bottom = eos->num[i] == (uint64_t)c->arg + 1;
    return put_number(p, label << 4 | x << 1 | bottom, 3);
}

/* A text in its short or long form (RFC 7011 section 7); NULL: out of memory. */
static uint8_t *put_text(ship_ipfix *m, const struct shape *s, const struct ipfix_cell *c,
                         const struct query_text *t, uint8_t *p)
{
    size_t len = t->len;
    if (len > s->most_text) {
        char name[160];
        (void)snprintf(name, sizeof name, "a value of %.120s", m->columns.fields[c->column].name);
        say_once(m, name, "is longer than a message can have: such values are sent empty");
        len = 0;
    }
    m->records.len = (size_t)((char *)p - m->records.data);
    p = (uint8_t *)base_buf_room(&m->records, s->bound + len + ROOM);
    if (!p)
        return NULL;
    if (len < 255) {
        *p++ = (uint8_t)len;
    } else {
        *p++ = 255;
        p = put16(p, (uint16_t)len);
    }
    if (len)
        memcpy(p, t->data, len);
    return p + len;
}

/* The record of row i, appended to m->records. */
static bool put_record(ship_ipfix *m, const struct query_block *b, const struct shape *s, size_t i)
{
    uint8_t *p = (uint8_t *)base_buf_room(&m->records, s->bound + ROOM);
    if (!p)
        return false;
    size_t off = m->records.len;
    for (size_t k = 0; k < s->n; k++) {
        const struct ipfix_cell *c = s->cells[k];
        const struct query_vec *v = &b->vecs[c->column];
        uint32_t taken, space;
        switch ((enum ipfix_op)c->op) {
        case IPFIX_NUM:
            p = put_number(p, v->num[i], c->len);
            break;
        case IPFIX_BOOL:
            *p++ = v->num[i] ? 1 : 2;
            break;
        case IPFIX_F32: {
            double d;
            uint32_t bits;
            memcpy(&d, &v->num[i], sizeof d);
            float f = (float)d;
            memcpy(&bits, &f, sizeof bits);
            p = put32(p, bits);
            break;
        }
        case IPFIX_F64:
            p = put64(p, v->num[i]);
            break;
        case IPFIX_PIECE: {
            const struct ship_piece *piece = ship_piece_of(&m->columns.pieces[c->pieces].p, i);
            if (piece) /* as the key says */
                memcpy(p, piece->octets, 16);
            p += c->len;
            break;
        }
        case IPFIX_TEXT:
            if (!(p = put_text(m, s, c, &v->dict[v->codes[i]], p)))
                return false;
            break;
        case IPFIX_S:
            p = put32(p, (uint32_t)(v->num[i] / 1000000));
            break;
        case IPFIX_MS:
            p = put64(p, v->num[i] / 1000);
            break;
        case IPFIX_US:
            p = put64(p, ntp_of(v->num[i], 0x7ff));
            break;
        case IPFIX_NS:
            p = put64(p, ntp_of(v->num[i], 0));
            break;
        case IPFIX_THOUSANDTH:
            p = put_number(p, v->num[i] / 1000, c->len);
            break;
        case IPFIX_RATE:
            p = put32(p, (uint32_t)rate_of(v->num[i]));
            break;
        case IPFIX_RATE_TAKEN:
        case IPFIX_RATE_SPACE:
            rate_parts(rate_of(v->num[i]), &taken, &space);
            p = put32(p, c->op == IPFIX_RATE_TAKEN ? taken : space);
            break;
        case IPFIX_LABEL:
            p = put_label(b, c, i, p);
            break;
        }
    }
    m->records.len = (size_t)((char *)p - m->records.data);
    m->rows[i].off = off;
    m->rows[i].len = (uint32_t)(m->records.len - off);
    return true;
}

static uint32_t domain_of(const ship_ipfix *m, const struct query_block *b, size_t i)
{
    const struct query_vec *v = &b->vecs[m->columns.domain];
    return ship_is_number(v) && ship_has(v, i) ? (uint32_t)v->num[i] : 0;
}

static weir_status make_records(ship_ipfix *m, const struct query_block *b, weir_err *err)
{
    const uint64_t *last_key = NULL;
    struct shape *shape = NULL;
    uint64_t held[IPFIX_WORDS];
    uint32_t last_domain = 0, last_template = 0;
    int32_t domain = NO_SET, set = NO_SET;
    for (size_t from = 0; from < b->n; from += SHIP_CHUNK) {
        size_t to = b->n - from > SHIP_CHUNK ? from + SHIP_CHUNK : b->n;
        make_keys(m, b, from, to);
        for (size_t i = from; i < to; i++) {
            const uint64_t *key = m->keys[i - from];
            uint32_t id = domain_of(m, b, i);
            if (!last_key || memcmp(last_key, key, m->words * sizeof *key) != 0) {
                if (!(shape = find_shape(m, key)))
                    return no_memory(err);
                last_key = key;
            }
            if (!shape->n)
                continue; /* the row has nothing that could be sent */
            if (domain == NO_SET || id != last_domain) {
                if ((domain = find_domain(m, id)) == NO_SET)
                    return no_memory(err);
                last_domain = id;
                set = NO_SET;
            }
            if (set == NO_SET || shape->template != last_template) {
                if ((set = find_set(m, (uint32_t)domain, shape->template)) == NO_SET)
                    return no_memory(err);
                last_template = shape->template;
            }
            if (!put_record(m, b, shape, i) || !add_to_set(m, set, (int32_t)i))
                return no_memory(err);
        }
        if (last_key) { /* keys are made anew */
            memcpy(held, last_key, m->words * sizeof *held);
            last_key = held;
        }
    }
    return WEIR_OK;
}

/* ---- messages ---- */

static void close_set(ship_ipfix *m)
{
    if (m->set_at)
        (void)put16((uint8_t *)m->out.data + m->set_at + 2, (uint16_t)(m->out.len - m->set_at));
    m->set_at = 0;
}

static bool close_message(ship_ipfix *m, struct domain *d, uint32_t export_s)
{
    if (!m->open)
        return true;
    close_set(m);
    m->open = false;
    if (!more(&m->messages, &m->cap_messages, m->n_messages, sizeof *m->messages))
        return false;
    struct ship_ipfix_message *out = &m->messages[m->n_messages++];
    *out = (struct ship_ipfix_message){
        .off = m->begin, .len = m->out.len - m->begin, .records = m->n_records};
    uint8_t *p = (uint8_t *)m->out.data + m->begin;
    p = put16(p, 10);
    p = put16(p, (uint16_t)out->len);
    p = put32(p, export_s);
    p = put32(p, d->sequence);
    (void)put32(p, d->id);
    d->sequence += m->n_records;
    return true;
}

/* Room for an item of n octets in a set of this id, in the message at hand or in a new one. */
static bool room_for(ship_ipfix *m, struct domain *d, uint32_t export_s, uint32_t set, size_t n)
{
    bool same = m->open && m->set_at && m->set_id == set;
    if (m->open && m->out.len - m->begin + n + (same ? 0 : SET_HEADER) > m->o.message &&
        m->out.len - m->begin > HEADER) {
        if (!close_message(m, d, export_s))
            return false;
        same = false;
    }
    if (!base_buf_room(&m->out, n + HEADER + SET_HEADER))
        return false;
    if (!m->open) {
        m->open = true;
        m->begin = m->out.len;
        m->n_records = 0;
        memset(m->out.data + m->begin, 0, HEADER);
        m->out.len += HEADER;
    }
    if (!same) {
        close_set(m);
        m->set_at = m->out.len;
        m->set_id = set;
        (void)put16((uint8_t *)m->out.data + m->set_at, (uint16_t)set);
        m->out.len += SET_HEADER;
    }
    return true;
}

static bool put_template(ship_ipfix *m, struct domain *d, uint32_t export_s,
                         const struct template *t)
{
    if (!room_for(m, d, export_s, TEMPLATE_SET, t->len + 4))
        return false;
    uint8_t *p = (uint8_t *)m->out.data + m->out.len;
    p = put16(p, t->id);
    p = put16(p, t->n_fields);
    memcpy(p, t->spec, t->len);
    m->out.len += t->len + 4;
    return true;
}

/* Templates that are due go in front of the records. */
static bool put_templates(ship_ipfix *m, struct domain *d, int64_t now_ns, uint32_t export_s)
{
    for (int32_t i = d->first; i != NO_SET; i = m->sets[i].next) {
        struct set *s = &m->sets[i];
        if (s->step_ns && (m->o.stream || now_ns < s->due_ns))
            continue;
        if (!put_template(m, d, export_s, &m->templates[s->template]))
            return false;
        int64_t most = (m->o.refresh_s ? m->o.refresh_s : 1) * SECOND;
        s->step_ns = s->step_ns ? 2 * s->step_ns : SECOND;
        s->step_ns = s->step_ns < most ? s->step_ns : most;
        s->due_ns = now_ns + s->step_ns;
    }
    return true;
}

static bool put_rows(ship_ipfix *m, struct domain *d, uint32_t export_s)
{
    for (int32_t i = d->first; i != NO_SET; i = m->sets[i].next) {
        const struct set *s = &m->sets[i];
        uint16_t id = m->templates[s->template].id;
        for (int32_t r = s->first; r != NO_SET; r = m->rows[r].next) {
            const struct row *row = &m->rows[r];
            if (!room_for(m, d, export_s, id, row->len))
                return false;
            memcpy(m->out.data + m->out.len, m->records.data + row->off, row->len);
            m->out.len += row->len;
            m->n_records++;
        }
    }
    return close_message(m, d, export_s);
}

/* All templates of a domain end: RFC 7011 section 8.1. */
static bool withdraw_domain(ship_ipfix *m, struct domain *d, uint32_t export_s)
{
    if (!room_for(m, d, export_s, TEMPLATE_SET, 4))
        return false;
    uint8_t *p = (uint8_t *)m->out.data + m->out.len;
    p = put16(p, TEMPLATE_SET);
    (void)put16(p, 0);
    m->out.len += 4;
    return close_message(m, d, export_s);
}

/* A session that lasts must be told so, for ids are given anew. */
static bool withdraw(ship_ipfix *m, uint32_t export_s)
{
    bool done = true;
    if (!m->o.stream)
        return true;
    for (size_t i = 0; i < m->n_sets; i++)
        m->domains[m->sets[i].domain].first = 0; /* it has some */
    for (size_t i = 0; i < m->n_domains; i++) {
        struct domain *d = &m->domains[i];
        if (d->first == NO_SET)
            continue;
        d->first = NO_SET;
        done = done && withdraw_domain(m, d, export_s);
    }
    return done;
}

/* Nothing is left of a block. */
static void end_block(ship_ipfix *m)
{
    for (size_t i = 0; i < m->n_touched; i++) {
        struct domain *d = &m->domains[m->touched[i]];
        for (int32_t k = d->first; k != NO_SET; k = m->sets[k].next)
            m->sets[k].first = m->sets[k].last = NO_SET;
        d->first = d->last = NO_SET;
    }
    m->n_touched = 0;
}

static weir_status put_block(ship_ipfix *m, const struct query_block *b, int64_t now_ns,
                             uint32_t export_s, weir_err *err)
{
    if (m->n_sets > MANY_SETS || m->n_templates > MANY_TEMPLATES || m->n_shapes > MANY_TEMPLATES) {
        if (!withdraw(m, export_s))
            return no_memory(err);
        forget_templates(m);
    }
    if (b->n > m->cap_rows) {
        free(m->rows);
        m->rows = malloc(b->n * sizeof *m->rows);
        m->cap_rows = m->rows ? b->n : 0;
    }
    if (!m->rows || !begin_block(m, b))
        return no_memory(err);
    WEIR_TRY(make_records(m, b, err));
    for (size_t i = 0; i < m->n_touched; i++) {
        struct domain *d = &m->domains[m->touched[i]];
        if (!put_templates(m, d, now_ns, export_s) || !put_rows(m, d, export_s))
            return no_memory(err);
    }
    return WEIR_OK;
}

weir_status ship_ipfix_put(ship_ipfix *m, const struct query_block *b, int64_t now_ns,
                           uint32_t export_s, weir_err *err)
{
    base_buf_reset(&m->records);
    base_buf_reset(&m->out);
    m->n_messages = 0;
    m->open = false;
    m->set_at = 0;
    if (!b->n)
        return WEIR_OK;
    weir_status s = put_block(m, b, now_ns, export_s, err);
    end_block(m);
    if (s != WEIR_OK) {
        ship_ipfix_take_back(m, 0);
        ship_ipfix_session(m, true); /* templates of messages that are not sent */
    }
    return s;
}

const struct ship_ipfix_message *ship_ipfix_messages(const ship_ipfix *m, size_t *n)
{
    *n = m->n_messages;
    return m->messages;
}

const uint8_t *ship_ipfix_octets(const ship_ipfix *m)
{
    return (const uint8_t *)m->out.data;
}

void ship_ipfix_take_back(ship_ipfix *m, size_t from)
{
    while (m->n_messages > from) {
        const uint8_t *p = (const uint8_t *)m->out.data + m->messages[--m->n_messages].off;
        int32_t d = find_domain(m, get32(p + 12));
        if (d != NO_SET)
            m->domains[d].sequence = get32(p + 8);
    }
}

/* ---- columns, open and close ---- */

weir_status ship_ipfix_columns(ship_ipfix *m, const struct query_field *extras, size_t n_extras,
                               const struct query_field **fields, size_t *n, weir_err *err)
{
    forget_shapes(m);
    ipfix_columns_done(&m->columns);
    free(m->active);
    m->active = NULL;
    weir_status s = ipfix_columns_init(&m->columns, extras, n_extras, left_out, m, err);
    if (s == WEIR_OK && !(m->active = malloc((m->columns.n_cells + 1) * sizeof *m->active)))
        s = no_memory(err);
    if (s != WEIR_OK)
        return s;
    m->words = (m->columns.n_cells + 63) / 64;
    memset(m->yields, 0, sizeof m->yields);
    for (size_t i = 0; i < m->columns.n_cells; i++)
        if (m->columns.cells[i].group)
            m->yields[m->columns.cells[i].group][i / 64] |= UINT64_C(1) << (i % 64);
    *fields = m->columns.fields;
    *n = m->columns.n_fields;
    return WEIR_OK;
}

void ship_ipfix_session(ship_ipfix *m, bool keep_sequence)
{
    forget_templates(m);
    if (keep_sequence)
        return;
    m->n_domains = 0;
    forget_places(&m->of_domain);
}

ship_ipfix *ship_ipfix_new(const struct ship_ipfix_options *o)
{
    ship_ipfix *m = calloc(1, sizeof *m);
    if (!m)
        return NULL;
    m->o = *o;
    m->columns.domain = -1;
    m->seed = base_hash_seed();
    if (find_domain(m, 0) == NO_SET) { /* there is always one for what has no room elsewhere */
        ship_ipfix_free(m);
        return NULL;
    }
    return m;
}

void ship_ipfix_free(ship_ipfix *m)
{
    if (!m)
        return;
    forget_templates(m);
    ipfix_columns_done(&m->columns);
    free(m->templates);
    free(m->shapes);
    free(m->sets);
    free(m->domains);
    free(m->of_template.at);
    free(m->of_shape.at);
    free(m->of_set.at);
    free(m->of_domain.at);
    free(m->active);
    free(m->rows);
    free(m->touched);
    free(m->messages);
    base_buf_done(&m->records);
    base_buf_done(&m->out);
    for (size_t i = 0; i < m->n_said; i++)
        free(m->said[i]);
    free(m->said);
    free(m);
}
