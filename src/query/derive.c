/* Derived fields: worked out from columns of the same rows, or of a group. */
#include "query/lookup.h"
#include "query/scan.h"

#include "base/text.h"

#include <arpa/inet.h>
#include <string.h>

static weir_status no_memory(weir_err *err)
{
    return weir_err_set(err, WEIR_ENOMEM, 0, "query: out of memory");
}

static uint64_t sum(uint64_t a, uint64_t b)
{
    uint64_t r;
    return __builtin_add_overflow(a, b, &r) ? UINT64_MAX : r;
}

static uint64_t per(uint64_t n, uint64_t times, uint64_t by)
{
    if (!by)
        return 0;
    __extension__ unsigned __int128 r = (unsigned __int128)n * times / by;
    return r > UINT64_MAX ? UINT64_MAX : (uint64_t)r;
}

static uint64_t num_or_0(const struct query_values *v, size_t i)
{
    return query_is_null(v, i) ? 0 : query_num(v, i);
}

static const struct query_values constant_1 = {
    .v = {.kind = QUERY_U64, .num = (const uint64_t[]){1}}, .constant = true, .column = -1};
static const struct query_values constant_0 = {
    .v = {.kind = QUERY_U64, .num = (const uint64_t[]){0}}, .constant = true, .column = -1};

/* A new number a row; which rows have one is `valid` (NULL: all). */
static uint64_t *numbers(struct query_eval *e, struct query_values *out, uint8_t kind)
{
    uint64_t *num = query_bump_array(e->memory, e->rows.n + 1, sizeof *num);
    *out = (struct query_values){.v = {.kind = kind, .num = num}, .column = -1};
    return num;
}

static uint64_t *no_bits(struct query_eval *e)
{
    return query_bump_zero(e->memory, (e->rows.n / 64 + 1) * sizeof(uint64_t));
}

static void set_bit(uint64_t *bits, size_t i)
{
    bits[i >> 6] |= UINT64_C(1) << (i & 63);
}

/* The first that has a value: of a row, bytes_rev or bytes_out. Without either 0. */
static weir_status first_of(struct query_eval *e, const struct query_values *a,
                            const struct query_values *b, struct query_values *out, weir_err *err)
{
    if (a->v.kind == QUERY_UNKNOWN && b->v.kind == QUERY_UNKNOWN) {
        *out = constant_0;
        return WEIR_OK;
    }
    uint64_t *num = numbers(e, out, QUERY_U64);
    if (!num)
        return no_memory(err);
    for (size_t i = 0; i < e->rows.n; i++)
        num[i] = !query_is_null(a, i) ? query_num(a, i) : num_or_0(b, i);
    return WEIR_OK;
}

static weir_status duration(struct query_eval *e, const struct query_values *first,
                            const struct query_values *last, struct query_values *out,
                            weir_err *err)
{
    if (first->v.kind == QUERY_UNKNOWN || last->v.kind == QUERY_UNKNOWN)
        return WEIR_OK; /* null */
    uint64_t *num = numbers(e, out, QUERY_U64), *valid = NULL;
    bool nulls = first->v.valid || last->v.valid;
    if (!num || (nulls && !(valid = no_bits(e))))
        return no_memory(err);
    for (size_t i = 0; i < e->rows.n; i++) {
        num[i] = 0;
        if (nulls) {
            if (query_is_null(first, i) || query_is_null(last, i))
                continue;
            set_bit(valid, i);
        }
        int64_t from = (int64_t)query_num(first, i), to = (int64_t)query_num(last, i), us;
        if (to > from)
            num[i] = __builtin_sub_overflow(to, from, &us) ? (uint64_t)(INT64_MAX / 1000)
                                                           : (uint64_t)us / 1000;
    }
    out->v.valid = valid;
    return WEIR_OK;
}

enum { MAX_DERIVED_TEXT = 256 };

/* Texts made of texts: worked out once for each entry of the dictionary that occurs. */
typedef size_t make_text(const struct query_lookup *l, const struct query_field *f,
                         const struct query_text *in, unsigned mask, char *out);

static size_t make_country(const struct query_lookup *l, const struct query_field *f,
                           const struct query_text *in, unsigned mask, char *out)
{
    (void)f, (void)mask;
    return query_lookup_country(l, in->data, in->len, out, MAX_DERIVED_TEXT);
}

static size_t make_city(const struct query_lookup *l, const struct query_field *f,
                        const struct query_text *in, unsigned mask, char *out)
{
    (void)f, (void)mask;
    return query_lookup_city(l, in->data, in->len, out, MAX_DERIVED_TEXT);
}

static size_t make_org(const struct query_lookup *l, const struct query_field *f,
                       const struct query_text *in, unsigned mask, char *out)
{
    (void)f, (void)mask;
    return query_lookup_as_org(l, in->data, in->len, out, MAX_DERIVED_TEXT);
}

/* 4 or 6 with the octets; 0: no address. */
static unsigned address(const struct query_text *t, uint8_t out[16])
{
    char text[INET6_ADDRSTRLEN + 1];
    if (!t->len || t->len > INET6_ADDRSTRLEN)
        return 0;
    memcpy(text, t->data, t->len);
    text[t->len] = 0;
    if (inet_pton(AF_INET, text, out) == 1)
        return 4;
    return inet_pton(AF_INET6, text, out) == 1 ? 6 : 0;
}

static size_t make_net(const struct query_lookup *l, const struct query_field *f,
                       const struct query_text *in, unsigned mask, char *out)
{
    (void)l;
    uint8_t a[16];
    unsigned family = address(in, a), all = family == 4 ? 32 : 128;
    if (!family)
        return 0;
    unsigned bits = family == 4 ? f->bits4 : f->bits6;
    if (bits == 255)
        bits = mask;
    if (bits > all)
        bits = all;
    for (unsigned i = bits / 8; i < all / 8; i++) {
        unsigned keep = i == bits / 8 ? 0xff00u >> bits % 8 & 0xff : 0;
        a[i] = (uint8_t)(a[i] & keep);
    }
    size_t n = family == 4 ? base_ipv4_text(out, a) : base_ipv6_text(out, a);
    out[n++] = '/';
    return n + base_u64_text(out + n, bits);
}

/* in: texts; masks: prefix lengths a row, NULL: none. A text of 0 octets is null. */
static weir_status texts_of(struct query_eval *e, const struct query_field *f, make_text *make,
                            const struct query_values *in, const struct query_values *masks,
                            struct query_values *out, weir_err *err)
{
    if (!query_is_text(in->v.kind))
        return WEIR_OK; /* null */
    size_t n = e->rows.n;
    uint32_t *codes = query_bump_array(e->memory, n + 1, sizeof *codes);
    struct query_text *dict = query_bump_array(e->memory, n + 1, sizeof *dict);
    uint64_t *valid = no_bits(e);
    /* A small cache of what was made in these rows, by code and mask. */
    enum { CACHE = 4096 };
    struct made {
        uint32_t code, mask, to; /* to: code + 1, UINT32_MAX null */
    } *cache = query_bump_zero(e->memory, CACHE * sizeof *cache);
    if (!codes || !dict || !valid || !cache)
        return no_memory(err);
    uint32_t n_dict = 0;
    for (size_t i = 0; i < n; i++) {
        codes[i] = 0;
        if (query_is_null(in, i) || (masks && query_is_null(masks, i)))
            continue;
        uint32_t code = query_code(in, i);
        uint64_t wide = masks ? query_num(masks, i) : 0;
        unsigned mask = wide > 128 ? 128 : (unsigned)wide;
        struct made *m = &cache[(code * 2654435761u ^ mask * 40503u) >> 20];
        if (!m->to || m->code != code || m->mask != mask) {
            char text[MAX_DERIVED_TEXT];
            size_t len = make(e->plan->q->lookup, f, &in->v.dict[code], mask, text);
            m->code = code;
            m->mask = mask;
            m->to = UINT32_MAX;
            if (len) {
                char *kept = query_bump_alloc(e->memory, len);
                if (!kept)
                    return no_memory(err);
                memcpy(kept, text, len);
                dict[n_dict++] = (struct query_text){.data = kept, .len = (uint32_t)len};
                m->to = n_dict;
            }
        }
        if (m->to == UINT32_MAX)
            continue;
        codes[i] = m->to - 1;
        set_bit(valid, i);
    }
    if (n_dict)
        *out = (struct query_values){.v = {.kind = QUERY_TEXT,
                                           .valid = valid,
                                           .codes = codes,
                                           .dict = dict,
                                           .n_dict = n_dict},
                                     .column = -1};
    return WEIR_OK;
}

static weir_status family(struct query_eval *e, const struct query_values *src,
                          const struct query_values *dst, struct query_values *out, weir_err *err)
{
    uint64_t *num = numbers(e, out, QUERY_U64), *valid = no_bits(e);
    if (!num || !valid)
        return no_memory(err);
    for (size_t i = 0; i < e->rows.n; i++) {
        num[i] = 0;
        const struct query_values *in[] = {src, dst};
        for (size_t k = 0; k < 2 && !num[i]; k++) {
            if (query_is_null(in[k], i) || !query_is_text(in[k]->v.kind))
                continue;
            const struct query_text *t = &in[k]->v.dict[query_code(in[k], i)];
            if (t->len)
                num[i] = memchr(t->data, ':', t->len) ? 6 : memchr(t->data, '.', t->len) ? 4 : 0;
        }
        if (num[i])
            set_bit(valid, i);
    }
    out->v.valid = valid;
    return WEIR_OK;
}

static weir_status bucket(struct query_eval *e, const struct query_field *f,
                          const struct query_values *first, struct query_values *out, weir_err *err)
{
    if (first->v.kind == QUERY_UNKNOWN)
        return WEIR_OK;
    uint64_t *num = numbers(e, out, QUERY_TIME);
    if (!num)
        return no_memory(err);
    int64_t span = f->span_us > 0 ? f->span_us : 1, from = 1, to = 0;
    for (size_t i = 0; i < e->rows.n; i++) {
        int64_t t = (int64_t)query_num(first, i);
        if (t < from || t >= to) { /* neighbours mostly share their bucket */
            int64_t r = t % span;
            from = __builtin_sub_overflow(t, r < 0 ? r + span : r, &from) ? INT64_MIN : from;
            to = __builtin_add_overflow(from, span, &to) ? INT64_MAX : to;
        }
        num[i] = (uint64_t)from;
    }
    out->v.valid = first->v.valid;
    return WEIR_OK;
}

static weir_status item(struct query_eval *e, const struct query_field *f,
                        const struct query_values *lists, struct query_values *out, weir_err *err)
{
    if (lists->v.kind != QUERY_U64_LIST || !f->n)
        return WEIR_OK;
    uint64_t *num = numbers(e, out, QUERY_U64), *valid = no_bits(e);
    if (!num || !valid)
        return no_memory(err);
    for (size_t i = 0; i < e->rows.n; i++) {
        num[i] = 0;
        if (query_is_null(lists, i) || lists->v.starts[i + 1] - lists->v.starts[i] < f->n)
            continue;
        num[i] = lists->v.num[lists->v.starts[i] + f->n - 1];
        set_bit(valid, i);
    }
    out->v.valid = valid;
    return WEIR_OK;
}

/* The n-th big-endian 32-bit number of some octets. */
static weir_status octets_item(struct query_eval *e, const struct query_field *f,
                               const struct query_values *in, struct query_values *out,
                               weir_err *err)
{
    if (!query_is_text(in->v.kind) || !f->n)
        return WEIR_OK;
    uint64_t *num = numbers(e, out, QUERY_U64), *valid = no_bits(e);
    if (!num || !valid)
        return no_memory(err);
    for (size_t i = 0; i < e->rows.n; i++) {
        num[i] = 0;
        if (query_is_null(in, i))
            continue;
        const struct query_text *t = &in->v.dict[query_code(in, i)];
        if (t->len / 4 < f->n)
            continue;
        uint32_t v;
        memcpy(&v, t->data + 4 * (size_t)(f->n - 1), sizeof v);
        num[i] = ntohl(v);
        set_bit(valid, i);
    }
    out->v.valid = valid;
    return WEIR_OK;
}

static weir_status as_number(struct query_eval *e, const struct query_values *addr,
                             const struct query_values *as, struct query_values *out, weir_err *err)
{
    uint64_t *num = numbers(e, out, QUERY_U64), *valid = no_bits(e);
    if (!num || !valid)
        return no_memory(err);
    const struct query_lookup *l = e->plan->q->lookup;
    bool lookup = l && query_lookup_has(l, QUERY_LOOKUP_ASN) && query_is_text(addr->v.kind);
    for (size_t i = 0; i < e->rows.n; i++) {
        num[i] = num_or_0(as, i);
        bool have = !query_is_null(as, i);
        if (!num[i] && lookup && !query_is_null(addr, i)) {
            const struct query_text *t = &addr->v.dict[query_code(addr, i)];
            num[i] = query_lookup_as(l, t->data, t->len);
            have = have || num[i];
        }
        if (have)
            set_bit(valid, i);
    }
    out->v.valid = valid;
    return WEIR_OK;
}

enum how { RATE_PPS = 1000, RATE_BPS = 8000, RATE_BPP = 1 };

static weir_status rate(struct query_eval *e, uint64_t times, const struct query_values *n,
                        const struct query_values *by, struct query_values *out, weir_err *err)
{
    uint64_t *num = numbers(e, out, QUERY_U64);
    if (!num)
        return no_memory(err);
    for (size_t i = 0; i < e->rows.n; i++)
        num[i] = per(num_or_0(n, i), times, num_or_0(by, i));
    return WEIR_OK;
}

weir_status query_derive(struct query_eval *e, int field, struct query_values *out, weir_err *err)
{
    const struct query_plan_field *f = &e->plan->fields[field];
    const struct query_values *d[QUERY_MAX_DEPS] = {NULL};
    *out = (struct query_values){.v.kind = QUERY_UNKNOWN, .column = -1};
    if (f->column >= 0)
        return WEIR_OK; /* a column that groups do not keep */
    for (size_t i = 0; i < QUERY_MAX_DEPS; i++)
        if (f->deps[i] >= 0)
            WEIR_TRY(query_eval_field(e, f->deps[i], &d[i], err));
    const struct query_lookup *l = e->plan->q->lookup;
    size_t n = e->rows.n;
    switch ((enum query_derived)f->f.id) {
    case QUERY_D_DURATION:
        return duration(e, d[0], d[1], out, err);
    case QUERY_D_PPS:
    case QUERY_D_OUT_PPS:
    case QUERY_D_ALL_PPS:
        return rate(e, RATE_PPS, d[0], d[1], out, err);
    case QUERY_D_BPS:
    case QUERY_D_OUT_BPS:
    case QUERY_D_ALL_BPS:
        return rate(e, RATE_BPS, d[0], d[1], out, err);
    case QUERY_D_BPP:
    case QUERY_D_OUT_BPP:
    case QUERY_D_ALL_BPP:
        return rate(e, RATE_BPP, d[0], d[1], out, err);
    case QUERY_D_OUT_BYTES:
    case QUERY_D_OUT_PACKETS:
        return first_of(e, d[0], d[1], out, err);
    case QUERY_D_ALL_BYTES:
    case QUERY_D_ALL_PACKETS: {
        if (d[1]->constant && !query_num(d[1], 0) && d[0]->v.kind == QUERY_U64 && !d[0]->v.valid) {
            *out = *d[0];
            return WEIR_OK;
        }
        uint64_t *num = numbers(e, out, QUERY_U64);
        if (!num)
            return no_memory(err);
        for (size_t i = 0; i < n; i++)
            num[i] = sum(num_or_0(d[0], i), num_or_0(d[1], i));
        return WEIR_OK;
    }
    case QUERY_D_N_FLOWS: {
        if (d[0]->v.kind == QUERY_UNKNOWN) {
            *out = constant_1;
            return WEIR_OK;
        }
        uint64_t *num = numbers(e, out, QUERY_U64);
        if (!num)
            return no_memory(err);
        for (size_t i = 0; i < n; i++)
            num[i] = query_is_null(d[0], i) ? 1 : query_num(d[0], i);
        return WEIR_OK;
    }
    case QUERY_D_SRC_NET:
    case QUERY_D_DST_NET:
        return texts_of(e, &f->f, make_net, d[0], d[1], out, err);
    case QUERY_D_IP_FAMILY:
        return family(e, d[0], d[1], out, err);
    case QUERY_D_TIME_BUCKET:
        return bucket(e, &f->f, d[0], out, err);
    case QUERY_D_COUNT: {
        uint64_t *num = numbers(e, out, QUERY_U64);
        if (!num)
            return no_memory(err);
        uint64_t base = e->scan ? e->scan->first_no + e->scan->at + 1 : 1;
        for (size_t i = 0; i < n; i++)
            num[i] = base + (e->rows.at ? e->rows.at[i] : i);
        return WEIR_OK;
    }
    case QUERY_D_MPLS_LABEL:
    case QUERY_D_MPLS_EXP_N:
        return item(e, &f->f, d[0], out, err);
    case QUERY_D_ACL_IN_ID:
    case QUERY_D_ACL_OUT_ID:
        return octets_item(e, &f->f, d[0], out, err);
    case QUERY_D_SRC_COUNTRY:
    case QUERY_D_DST_COUNTRY:
        return l ? texts_of(e, &f->f, make_country, d[0], NULL, out, err) : WEIR_OK;
    case QUERY_D_SRC_CITY:
    case QUERY_D_DST_CITY:
        return l ? texts_of(e, &f->f, make_city, d[0], NULL, out, err) : WEIR_OK;
    case QUERY_D_SRC_AS_ORG:
    case QUERY_D_DST_AS_ORG:
        return l ? texts_of(e, &f->f, make_org, d[0], NULL, out, err) : WEIR_OK;
    case QUERY_D_SRC_AS_NUMBER:
    case QUERY_D_DST_AS_NUMBER:
        return as_number(e, d[0], d[1], out, err);
    case QUERY_N_DERIVED:
        break;
    }
    return WEIR_OK;
}
