#include "query/filter.h"

#include "query/words.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* clang-format off */
#define C(column) {false, 0, FLOW_##column}
#define D(id) {true, 0, QUERY_D_##id}
static const struct order {
    const char *name;
    struct query_ref field; /* without i or o in front: of both directions */
} orders[] = {
    {"flows", D(N_FLOWS)},
    {"packets", D(ALL_PACKETS)}, {"ipackets", C(packets)}, {"ipkg", C(packets)},
    {"opackets", D(OUT_PACKETS)}, {"opkg", D(OUT_PACKETS)},
    {"bytes", D(ALL_BYTES)}, {"ibytes", C(bytes)}, {"ibyte", C(bytes)},
    {"obytes", D(OUT_BYTES)}, {"obyte", D(OUT_BYTES)},
    {"pps", D(ALL_PPS)}, {"ipps", D(PPS)}, {"opps", D(OUT_PPS)},
    {"bps", D(ALL_BPS)}, {"ibps", D(BPS)}, {"obps", D(OUT_BPS)},
    {"bpp", D(ALL_BPP)}, {"ibpp", D(BPP)}, {"obpp", D(OUT_BPP)},
    {"tstart", C(first)}, {"tend", C(last)}, {"duration", D(DURATION)},
};
#undef C
#undef D
/* clang-format on */

static const char stat_names[] = "record, srcip, dstip, ip, srcport, dstport, port, proto, srcas, "
                                 "dstas, as, inif, outif, if, ..., any field's name";

/* A name in quotes is of a column as it is, near to another name or not. */
static bool is_quoted(struct query_word w)
{
    return w.len > 2 && w.at[0] == '"' && w.at[w.len - 1] == '"';
}

static bool is_name(struct query_word w)
{
    if (is_quoted(w)) {
        w.at++;
        w.len -= 2;
    }
    if (!w.len)
        return false;
    for (size_t i = 0; i < w.len; i++)
        if ((unsigned char)w.at[i] <= 0x20 || w.at[i] == 0x7f || strchr("\"',/:", w.at[i]))
            return false;
    return true;
}

/* "did you mean" for messages: an empty text where nothing is near. Names of elements have capitals, ours have not:
 * "appName" is no mistyped app_name. */
static const char *hint(struct query_word w, char *out, size_t cap)
{
    char near[48];
    bool capitals = false;
    for (size_t i = 0; i < w.len; i++)
        capitals = capitals || (w.at[i] >= 'A' && w.at[i] <= 'Z');
    if (!is_quoted(w) && !capitals && query_word_near(w, true, near, sizeof near))
        (void)snprintf(out, cap,
                       ", did you mean %s? (in double quotes it is a column of the files)", near);
    else
        out[0] = '\0';
    return out;
}

/* A name as it is: a column of some file. */
static weir_status named(query_arena *a, struct query_word w, struct query_field *out,
                         weir_err *err)
{
    bool quoted = is_quoted(w);
    char *name = query_arena_text(a, w.at + quoted, w.len - 2 * quoted);
    if (!name)
        return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory for the name of a field");
    *out = query_field_named(name);
    return WEIR_OK;
}

weir_status query_order_parse(query_arena *a, const char *text, struct query_order *out,
                              weir_err *err)
{
    size_t len = strlen(text);
    bool down = true, given = false;
    if (len > 2 && text[len - 2] == ':') {
        char c = (char)(text[len - 1] | 0x20);
        if (c != 'a' && c != 'd')
            return weir_err_set(err, WEIR_EFORMAT, len - 1,
                                "order \"%.60s\": the direction is :a (rising) or :d (falling)",
                                text);
        down = c == 'd';
        given = true;
        len -= 2;
    }
    struct query_word w = {text, len};
    if (!is_name(w))
        return weir_err_set(
            err, WEIR_EFORMAT, 0,
            "order \"%.60s\" is no name of a field (bytes, packets, flows, tstart, ...)", text);
    for (size_t i = 0; i < ARRAY_LEN(orders); i++)
        if (query_word_is(w, orders[i].name)) {
            out->field = query_ref_field(orders[i].field);
            out->descending = given ? down : out->field.kind != QUERY_TIME;
            return WEIR_OK;
        }
    WEIR_TRY(named(a, w, &out->field, err));
    if (out->field.what == QUERY_F_EXTRA) { /* a typing error, more likely than an extra column */
        char near[128];
        if (*hint(w, near, sizeof near))
            return weir_err_set(err, WEIR_EFORMAT, 0, "unknown order \"%.*s\"%s",
                                (int)(len < 40 ? len : 40), text, near);
    }
    /* Numbers fall, as in the list; times and texts rise. */
    bool number = out->field.kind == QUERY_U64 || out->field.kind == QUERY_S64 ||
                  out->field.kind == QUERY_F64;
    out->descending = given ? down : number;
    return WEIR_OK;
}

/* "srcip4/24" */
static bool net_of(struct query_word w, const char *name, uint8_t *family, struct query_word *bits)
{
    size_t n = strlen(name);
    if (w.len < n + 2 || strncasecmp(w.at, name, n) != 0 || w.at[n + 1] != '/' ||
        (w.at[n] != '4' && w.at[n] != '6'))
        return false;
    *family = (uint8_t)(w.at[n] - '0');
    *bits = (struct query_word){w.at + n + 2, w.len - n - 2};
    return true;
}

static weir_status net_key(struct query_word w, uint8_t family, struct query_word bits, bool src,
                           struct query_field *fields, size_t *n, weir_err *err)
{
    unsigned v = 0, most = family == 4 ? 32 : 128;
    for (size_t i = 0; i < bits.len; i++)
        v = bits.at[i] >= '0' && bits.at[i] <= '9' && v < 1000
                ? v * 10 + (unsigned)(bits.at[i] - '0')
                : 1000;
    if (!bits.len || v > most)
        return weir_err_set(err, WEIR_EFORMAT, 0, "key \"%.*s\": the prefix length is 0 to %u",
                            (int)(w.len < 40 ? w.len : 40), w.at, most);
    struct query_field f = query_field_derived(src ? QUERY_D_SRC_NET : QUERY_D_DST_NET);
    size_t at = 0;
    while (at < *n && !(fields[at].what == f.what && fields[at].id == f.id))
        at++;
    if (at == *n) { /* addresses of the other family stay whole, until it has a length too */
        f.bits4 = 32;
        f.bits6 = 128;
        fields[(*n)++] = f;
    }
    *(family == 4 ? &fields[at].bits4 : &fields[at].bits6) = (uint8_t)v;
    return WEIR_OK;
}

static weir_status one_key(query_arena *a, struct query_word w, struct query_field *fields,
                           size_t *n, weir_err *err)
{
    uint8_t family;
    struct query_word bits;
    char near[128];
    int shown = (int)(w.len < 40 ? w.len : 40);
    if (net_of(w, "srcip", &family, &bits))
        return net_key(w, family, bits, true, fields, n, err);
    if (net_of(w, "dstip", &family, &bits))
        return net_key(w, family, bits, false, fields, n, err);
    if (!is_name(w))
        return weir_err_set(err, WEIR_EFORMAT, 0,
                            "key \"%.*s\" is no name of a field (srcip, srcip4/24, dstport, proto, "
                            "app_name, ...)",
                            shown, w.at);
    const struct query_key *k = query_key_find(w);
    struct query_field f;
    if (k && k->n_refs == 0)
        return weir_err_set(err, WEIR_ENOTFOUND, 0, "key %s is not available: %s", k->name, k->why);
    if (k && k->n_refs > 1 && flow_column_find(w.at, w.len) < 0) {
        struct query_field first = query_ref_field(k->refs[0]),
                           second = query_ref_field(k->refs[1]);
        return weir_err_set(err, WEIR_EFORMAT, 0,
                            "key %s is either of two fields: name %s, %s or both", k->name,
                            first.name, second.name);
    }
    WEIR_TRY(named(a, w, &f, err));
    if (f.what == QUERY_F_DERIVED && f.id == QUERY_D_TIME_BUCKET)
        return weir_err_set(err, WEIR_EFORMAT, 0, "key time needs a span: use --every 5m");
    if (f.what == QUERY_F_EXTRA && *hint(w, near, sizeof near))
        return weir_err_set(err, WEIR_EFORMAT, 0, "unknown key \"%.*s\"%s", shown, w.at, near);
    for (size_t i = 0; i < *n; i++)
        if (query_field_same(&fields[i], &f))
            return WEIR_OK;
    fields[(*n)++] = f;
    return WEIR_OK;
}

weir_status query_keys_parse(query_arena *a, const char *text, struct query_field **out, size_t *n,
                             weir_err *err)
{
    enum { MOST = 32 };
    struct query_field fields[MOST];
    size_t found = 0;
    for (const char *at = text;;) {
        const char *end = at + strcspn(at, ",");
        struct query_word w = {at, (size_t)(end - at)};
        while (w.len && *w.at == ' ') {
            w.at++;
            w.len--;
        }
        while (w.len && w.at[w.len - 1] == ' ')
            w.len--;
        if (found == MOST)
            return weir_err_set(err, WEIR_ELIMIT, (uint64_t)(at - text), "more than %d keys",
                                (int)MOST);
        WEIR_TRY(one_key(a, w, fields, &found, err));
        if (!*end)
            break;
        at = end + 1;
    }
    *out = query_arena_alloc(a, found * sizeof **out);
    if (!*out)
        return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory for the keys");
    memcpy(*out, fields, found * sizeof **out);
    *n = found;
    return WEIR_OK;
}

/* The orders behind the slash; text is at it, or at the end. */
static weir_status stat_orders(query_arena *a, const char *text, struct query_stat *out,
                               weir_err *err)
{
    enum { MOST = 16 };
    struct query_order found[MOST];
    size_t n = 0;
    if (!*text) /* nfdump's default */
        text = "/flows";
    while (*text) {
        size_t len = strcspn(text + 1, "/");
        char *word = query_arena_text(a, text + 1, len);
        if (!word)
            return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory for a statistic");
        if (n == MOST)
            return weir_err_set(err, WEIR_ELIMIT, 0, "statistic %s: more than %d orders", out->name,
                                (int)MOST);
        WEIR_TRY(query_order_parse(a, word, &found[n++], err));
        text += 1 + len;
    }
    out->orders = query_arena_alloc(a, n * sizeof *out->orders);
    if (!out->orders)
        return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory for a statistic");
    memcpy(out->orders, found, n * sizeof *found);
    out->n_orders = n;
    return WEIR_OK;
}

weir_status query_stat_parse(query_arena *a, const char *text, struct query_stat *out,
                             weir_err *err)
{
    size_t len = strcspn(text, "/:");
    const char *rest = text + len;
    struct query_word w = {text, len};
    char near[128];
    int shown = (int)(len < 40 ? len : 40);
    *out = (struct query_stat){.n_keys = 0};
    if (!is_name(w))
        return weir_err_set(err, WEIR_EFORMAT, 0, "statistic \"%.40s\" is none of %s", text,
                            stat_names);
    char *name = query_arena_text(a, text, len);
    if (!name)
        return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory for a statistic");
    out->name = name;
    if (*rest == ':') {
        size_t n = strcspn(rest, "/");
        if (n != 2 || (rest[1] | 0x20) != 'p')
            return weir_err_set(err, WEIR_EFORMAT, (uint64_t)(rest - text),
                                "statistic \"%.40s\": only :p (by protocol) may follow the name; a "
                                "direction stands behind an order: /bytes:a",
                                text);
        out->by_proto = true;
        rest += n;
    }
    const struct query_key *k = query_key_find(w);
    if (query_word_is(w, "record")) {
        out->record = true;
        out->by_proto = false; /* the protocol is one of the five */
    } else if (k && k->n_refs == 0) {
        return weir_err_set(err, WEIR_ENOTFOUND, 0, "statistic %s is not available: %s", k->name,
                            k->why);
    } else if (k) {
        for (size_t i = 0; i < k->n_refs; i++)
            out->keys[i] = query_ref_field(k->refs[i]);
        out->n_keys = k->n_refs;
        out->either = k->n_refs > 1;
    } else {
        WEIR_TRY(named(a, w, &out->keys[0], err));
        out->n_keys = 1;
        if (out->keys[0].what == QUERY_F_EXTRA && *hint(w, near, sizeof near))
            return weir_err_set(err, WEIR_EFORMAT, 0, "unknown statistic \"%.*s\"%s", shown, text,
                                near);
        if (out->keys[0].what == QUERY_F_DERIVED && out->keys[0].id == QUERY_D_TIME_BUCKET)
            return weir_err_set(err, WEIR_EFORMAT, 0,
                                "statistic time needs a span: use --every 5m");
    }
    /* vlan is a column's name as well; nfdump's meaning, either side, goes before. */
    return stat_orders(a, rest, out, err);
}
