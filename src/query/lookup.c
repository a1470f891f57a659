#include "query/lookup.h"

#include "archive/archive.h"
#include "base/buf.h"
#include "base/hash.h"
#include "parquet/reader.h"
#include "query/geo.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
    MAX_DATABASES = 4,
    MAX_NAMES = 1 << 20,
    MAX_NAME = 255,      /* octets of a name, longer ones are cut */
    MAX_EXPORTER = 64,   /* octets of an exporter's text */
    MAX_ID = 64,         /* octets of an application id; RFC 6759 has up to 8 */
    MAX_TEXT = 512 << 20 /* octets of all keys and names */
};

/* What a key is about; its first octet. */
enum kind { KIND_IF, KIND_VRF, KIND_APP, KIND_RATE, KIND_RATE_SAMPLER, KIND_RATE_IF, N_KINDS };

/* One name or rate. Key and name stand in `text`. */
struct name {
    uint64_t hash;
    int64_t received; /* of the options record it comes from */
    double rate;      /* of the three kinds of rates */
    uint32_t key, value;
    uint16_t key_len, value_room; /* value_room: octets at value, with the NUL; 0: none */
};

struct query_lookup {
    struct name *names; /* names[n], room for cap */
    uint32_t
        *slots; /* open addressing: index + 1, 0: free; n_slots a power of 2, at most half full */
    size_t n, cap, n_slots;
    size_t n_of[N_KINDS];
    base_buf text;
    uint64_t seed;
    query_geo *databases[MAX_DATABASES];
    size_t n_databases;
};

/* kind, exporter, its NUL, id: no key is the beginning of another one of its kind with the same exporter, for all ids of a kind
 * but applications' have one length. */
struct key {
    uint8_t octets[2 + MAX_EXPORTER + MAX_ID];
    size_t len;
};

static bool make_key(struct key *k, enum kind kind, const char *exporter, size_t len,
                     const void *id, size_t id_len)
{
    if (len > MAX_EXPORTER || id_len > MAX_ID)
        return false;
    k->octets[0] = (uint8_t)kind;
    memcpy(k->octets + 1, exporter, len);
    k->octets[1 + len] = 0;
    memcpy(k->octets + 2 + len, id, id_len);
    k->len = 2 + len + id_len;
    return true;
}

query_lookup *query_lookup_new(void)
{
    query_lookup *l = calloc(1, sizeof *l);
    if (l)
        l->seed = base_hash_seed();
    return l;
}

void query_lookup_free(query_lookup *l)
{
    if (!l)
        return;
    for (size_t i = 0; i < l->n_databases; i++)
        query_geo_close(l->databases[i]);
    base_buf_done(&l->text);
    free(l->names);
    free(l->slots);
    free(l);
}

/* ---- the table ---- */

static struct name *find(const query_lookup *l, const struct key *k, uint64_t hash)
{
    for (size_t i = hash & (l->n_slots - 1); l->n_slots && l->slots[i];
         i = (i + 1) & (l->n_slots - 1)) {
        struct name *n = &l->names[l->slots[i] - 1];
        if (n->hash == hash && n->key_len == k->len &&
            memcmp(l->text.data + n->key, k->octets, k->len) == 0)
            return n;
    }
    return NULL;
}

static bool grow_slots(query_lookup *l)
{
    size_t n_slots = l->n_slots ? l->n_slots * 2 : 256;
    uint32_t *slots = calloc(n_slots, sizeof *slots);
    if (!slots)
        return false;
    for (size_t j = 0; j < l->n; j++) {
        size_t i = l->names[j].hash & (n_slots - 1);
        while (slots[i])
            i = (i + 1) & (n_slots - 1);
        slots[i] = (uint32_t)j + 1;
    }
    free(l->slots);
    l->slots = slots;
    l->n_slots = n_slots;
    return true;
}

/* Room for n octets of text; false with WEIR_OK: the limit is reached. */
static bool text_room(query_lookup *l, size_t n, weir_status *st)
{
    if (l->text.len + n > MAX_TEXT)
        return false;
    if (base_buf_room(&l->text, n))
        return true;
    *st = WEIR_ENOMEM;
    return false;
}

static weir_status set_text(query_lookup *l, struct name *n, const uint8_t *text, size_t len)
{
    weir_status st = WEIR_OK;
    if (len + 1 > n->value_room) {
        uint16_t room = 16; /* powers of 2, so that names that change leave little behind */
        while (room < len + 1)
            room = (uint16_t)(room * 2);
        if (!text_room(l, room, &st))
            return st;
        n->value = (uint32_t)l->text.len;
        n->value_room = room;
        l->text.len += room;
    }
    memcpy(l->text.data + n->value, text, len);
    l->text.data[n->value + len] = 0;
    return WEIR_OK;
}

/* Longest beginning of text[len] that fits MAX_NAME, ends before a NUL and not inside a character. */
static size_t name_len(const uint8_t *text, size_t len)
{
    const uint8_t *nul = memchr(text, 0, len);
    if (nul)
        len = (size_t)(nul - text);
    if (len > MAX_NAME)
        for (len = MAX_NAME; len && (text[len] & 0xc0) == 0x80; len--)
            ;
    return len;
}

/* Remember that k has this name (text not NULL) or rate, unless something later is known. What exceeds the limits is passed
 * over. WEIR_ENOMEM. */
static weir_status learn(query_lookup *l, const struct key *k, int64_t received,
                         const struct parquet_bytes *text, double rate)
{
    uint64_t hash = base_hash(k->octets, k->len, l->seed);
    struct name *n = find(l, k, hash);
    size_t len = text ? name_len(text->data, text->len) : 0;
    weir_status st = WEIR_OK;
    if (n && received < n->received)
        return WEIR_OK;
    if (!n) {
        if (l->n == MAX_NAMES || !text_room(l, k->len + MAX_NAME + 1, &st))
            return st;
        if (l->n == l->cap) {
            size_t cap = l->cap ? l->cap * 2 : 128;
            struct name *grown = reallocarray(l->names, cap, sizeof *grown);
            if (!grown)
                return WEIR_ENOMEM;
            l->names = grown;
            l->cap = cap;
        }
        if ((l->n + 1) * 2 > l->n_slots && !grow_slots(l))
            return WEIR_ENOMEM;
        n = &l->names[l->n];
        *n = (struct name){.hash = hash, .key = (uint32_t)l->text.len, .key_len = (uint16_t)k->len};
        base_buf_add(&l->text, k->octets, k->len);
        size_t i = hash & (l->n_slots - 1);
        while (l->slots[i])
            i = (i + 1) & (l->n_slots - 1);
        l->slots[i] = (uint32_t)++l->n;
        l->n_of[k->octets[0]]++;
    }
    n->received = received;
    n->rate = rate;
    return text ? set_text(l, n, text->data, len) : WEIR_OK;
}

/* ---- options records ---- */

/* clang-format off */
enum column {
    C_RECEIVED, C_EXPORTER, C_DOMAIN,
    C_IF_INDEX, C_IF_NAME, C_IF_DESCRIPTION, C_VRF_ID, C_VRF_NAME, C_APP_ID, C_APP_NAME, C_APP_DESCRIPTION,
    C_SAMPLER_ID, C_SAMPLING_RATE,
    N_COLUMNS
};
static const char *const column_names[N_COLUMNS] = {
    "received", "exporter", "domain",
    "if_index", "if_name", "if_description", "vrf_id", "vrf_name", "app_id", "app_name", "app_description",
    "sampler_id", "sampling_rate",
};
/* clang-format on */

/* One column of a row group, a window of rows at a time. */
struct reading {
    parquet_cursor *cursor; /* NULL: the file has no such column, or it is null throughout */
    const void *dict;
    uint8_t type;        /* enum parquet_type */
    bool unsigned_order; /* of INT32 */
    struct parquet_data data;
};

enum { WINDOW = 4096 };

static bool has_value(const struct reading *c, size_t row)
{
    return c->cursor && row < c->data.n && (!c->data.valid || parquet_bit(c->data.valid, row));
}

static bool number_at(const struct reading *c, size_t row, uint64_t *out)
{
    if (!has_value(c, row))
        return false;
    const void *from = c->data.codes ? c->dict : c->data.values;
    size_t i = c->data.codes ? c->data.codes[row] : row;
    if (c->type == PARQUET_INT64)
        *out = ((const uint64_t *)from)[i];
    else if (c->type != PARQUET_INT32)
        return false;
    else if (c->unsigned_order)
        *out = ((const uint32_t *)from)[i];
    else
        *out = (uint64_t)(int64_t)((const int32_t *)from)[i];
    return true;
}

static bool real_at(const struct reading *c, size_t row, double *out)
{
    if (!has_value(c, row) || c->type != PARQUET_DOUBLE)
        return false;
    const double *from = c->data.codes ? c->dict : c->data.values;
    *out = from[c->data.codes ? c->data.codes[row] : row];
    return true;
}

static bool text_at(const struct reading *c, size_t row, struct parquet_bytes *out)
{
    if (!has_value(c, row) || c->type != PARQUET_BYTE_ARRAY)
        return false;
    const struct parquet_bytes *from = c->data.codes ? c->dict : c->data.values;
    *out = from[c->data.codes ? c->data.codes[row] : row];
    return true;
}

/* The first of two columns that has text. */
static bool either_text(const struct reading *a, const struct reading *b, size_t row,
                        struct parquet_bytes *out)
{
    return (text_at(a, row, out) && out->len) || (text_at(b, row, out) && out->len);
}

static weir_status learn_row(query_lookup *l, const struct reading *c, size_t row)
{
    struct parquet_bytes exporter, text, app;
    uint64_t received = 0, domain = 0, id, sampler;
    double rate;
    struct key k;
    if (!text_at(&c[C_EXPORTER], row, &exporter))
        return WEIR_OK;
    const char *who = (const char *)exporter.data;
    (void)number_at(&c[C_RECEIVED], row, &received);
    (void)number_at(&c[C_DOMAIN], row, &domain);
    bool has_if = number_at(&c[C_IF_INDEX], row, &id) && id <= UINT32_MAX;
    uint32_t index = has_if ? (uint32_t)id : 0;
    if (has_if && either_text(&c[C_IF_NAME], &c[C_IF_DESCRIPTION], row, &text) &&
        make_key(&k, KIND_IF, who, exporter.len, &index, sizeof index))
        WEIR_TRY(learn(l, &k, (int64_t)received, &text, 0));
    if (number_at(&c[C_VRF_ID], row, &id) && id <= UINT32_MAX &&
        text_at(&c[C_VRF_NAME], row, &text) && text.len) {
        uint32_t vrf = (uint32_t)id;
        if (make_key(&k, KIND_VRF, who, exporter.len, &vrf, sizeof vrf))
            WEIR_TRY(learn(l, &k, (int64_t)received, &text, 0));
    }
    if (text_at(&c[C_APP_ID], row, &app) &&
        either_text(&c[C_APP_NAME], &c[C_APP_DESCRIPTION], row, &text) &&
        make_key(&k, KIND_APP, who, exporter.len, app.data, app.len))
        WEIR_TRY(learn(l, &k, (int64_t)received, &text, 0));
    if (real_at(&c[C_SAMPLING_RATE], row, &rate) && rate > 0 && rate <= 0x1p64) {
        uint64_t which[2] = {domain, 0};
        enum kind kind = KIND_RATE;
        if (number_at(&c[C_SAMPLER_ID], row, &sampler)) {
            kind = KIND_RATE_SAMPLER;
            which[1] = sampler;
        } else if (has_if) {
            kind = KIND_RATE_IF;
            which[1] = index;
        }
        if (make_key(&k, kind, who, exporter.len, which, sizeof which))
            WEIR_TRY(learn(l, &k, (int64_t)received, NULL, rate));
    }
    return WEIR_OK;
}

static weir_status read_windows(query_lookup *l, struct reading *c, uint64_t n_rows, weir_err *err)
{
    for (uint64_t done = 0; done < n_rows;) {
        size_t n = n_rows - done < WINDOW ? (size_t)(n_rows - done) : WINDOW;
        for (size_t i = 0; i < N_COLUMNS; i++)
            if (c[i].cursor) {
                WEIR_TRY(parquet_cursor_read(c[i].cursor, n, &c[i].data, err));
                if (c[i].data.n != n || (c[i].data.codes && !c[i].dict) ||
                    (!c[i].data.codes && !c[i].data.values))
                    return weir_err_set(err, WEIR_EFORMAT, 0, "column %s has too few rows",
                                        column_names[i]);
            }
        for (size_t row = 0; row < n; row++)
            if (learn_row(l, c, row) != WEIR_OK)
                return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory for names");
        done += n;
    }
    return WEIR_OK;
}

/* Rows [from, end) of a row group. */
static weir_status read_group(query_lookup *l, const parquet_file *f, size_t group, uint64_t from,
                              weir_err *err)
{
    struct reading c[N_COLUMNS] = {0};
    struct parquet_group_info info;
    weir_status st = WEIR_OK;
    bool useful = false;
    parquet_group(f, group, &info);
    for (size_t i = 0; i < N_COLUMNS && st == WEIR_OK; i++) {
        int at = parquet_column_find(f, column_names[i]);
        if (at < 0)
            continue;
        const struct parquet_column *column = &parquet_schema_of(f)->columns[at];
        struct parquet_chunk_info chunk;
        parquet_chunk(f, group, (size_t)at, &chunk);
        if (column->list || (chunk.n_nulls >= 0 && (uint64_t)chunk.n_nulls == info.n_rows))
            continue;
        uint32_t n_dict;
        c[i].type = column->type;
        c[i].unsigned_order = column->unsigned_order;
        st = parquet_cursor_new(f, group, (size_t)at, &c[i].cursor, err);
        if (st == WEIR_OK)
            st = parquet_cursor_dict(c[i].cursor, &c[i].dict, &n_dict, err);
        if (st == WEIR_OK && from)
            st = parquet_cursor_skip(c[i].cursor, from, err);
        useful = useful || i == C_IF_NAME || i == C_IF_DESCRIPTION || i == C_VRF_NAME ||
                 i == C_APP_NAME || i == C_APP_DESCRIPTION || i == C_SAMPLING_RATE;
    }
    if (st == WEIR_OK && useful && c[C_EXPORTER].cursor)
        st = read_windows(l, c, info.n_rows - from, err);
    for (size_t i = 0; i < N_COLUMNS; i++)
        parquet_cursor_free(c[i].cursor);
    return st;
}

weir_status query_lookup_rows(query_lookup *l, const parquet_file *f, uint64_t from, weir_err *err)
{
    for (size_t g = 0; g < parquet_n_groups(f); g++) {
        struct parquet_group_info info;
        parquet_group(f, g, &info);
        if (from < info.n_rows)
            WEIR_TRY(read_group(l, f, g, from, err));
        from -= from < info.n_rows ? from : info.n_rows;
    }
    return WEIR_OK;
}

static weir_status read_archive(query_lookup *l, const char *dir, weir_err *err)
{
    archive_scan *scan;
    struct archive_part *parts;
    size_t n;
    weir_status st = archive_scan_open(dir, FLOW_TABLE_OPTIONS, NULL, NULL, &scan, err);
    if (st != WEIR_OK)
        return st == WEIR_ENOMEM ? st : WEIR_OK;
    while ((st = archive_scan_next(scan, &parts, &n, err)) != WEIR_END && st != WEIR_ENOMEM) {
        if (st != WEIR_OK)
            continue; /* a file that cannot be read; the scan goes on behind it */
        for (size_t i = 0; i < n && st != WEIR_ENOMEM; i++)
            for (size_t g = 0; g < parquet_n_groups(parts[i].file) && st != WEIR_ENOMEM; g++)
                st = read_group(l, parts[i].file, g, 0, err);
        archive_scan_release(scan, parts, n);
        if (st == WEIR_ENOMEM)
            break;
    }
    archive_scan_close(scan);
    return st == WEIR_ENOMEM ? st : WEIR_OK;
}

static bool has_options(const char *dir)
{
    char path[4096 + sizeof "/options"];
    struct stat st;
    int n = snprintf(path, sizeof path, "%s/options", dir);
    return n > 0 && (size_t)n < sizeof path && stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* The archive that path is, or whose flows/ it is inside of, into dir[cap]; false: none with options records. */
static bool archive_of(const char *path, char *dir, size_t cap)
{
    if (snprintf(dir, cap, "%s", path) >= (int)cap)
        return false;
    if (has_options(dir))
        return true;
    for (char *slash = dir; slash;) {
        slash = strrchr(dir, '/');
        bool flows = strcmp(slash ? slash + 1 : dir, "flows") == 0;
        if (!slash)
            memcpy(dir, ".", 2);
        else if (slash == dir) {
            slash[1] = 0;
            slash = NULL;
        } else
            *slash = 0;
        if (flows && has_options(dir))
            return true;
    }
    return false;
}

weir_status query_lookup_options(query_lookup *l, const char *const *paths, size_t n, weir_err *err)
{
    char dir[4096], before[4096] = "";
    for (size_t i = 0; i < n; i++) {
        if (!archive_of(paths[i], dir, sizeof dir) || strcmp(dir, before) == 0)
            continue;
        WEIR_TRY(read_archive(l, dir, err));
        memcpy(before, dir, sizeof before);
    }
    return WEIR_OK;
}

/* ---- answers ---- */

bool query_lookup_has(const query_lookup *l, enum query_lookup_what what)
{
    bool geo = false, as = false;
    for (size_t i = 0; i < l->n_databases; i++) {
        geo = geo || query_geo_has_country(l->databases[i]);
        as = as || query_geo_has_as(l->databases[i]);
    }
    switch (what) {
    case QUERY_LOOKUP_IF:
        return l->n_of[KIND_IF] > 0;
    case QUERY_LOOKUP_VRF:
        return l->n_of[KIND_VRF] > 0;
    case QUERY_LOOKUP_APP:
        return l->n_of[KIND_APP] > 0;
    case QUERY_LOOKUP_RATE:
        return l->n_of[KIND_RATE] + l->n_of[KIND_RATE_SAMPLER] + l->n_of[KIND_RATE_IF] > 0;
    case QUERY_LOOKUP_GEO:
        return geo;
    case QUERY_LOOKUP_ASN:
        return as;
    }
    return false;
}

static const struct name *ask(const query_lookup *l, enum kind kind, const char *exporter,
                              size_t len, const void *id, size_t id_len)
{
    struct key k;
    if (l->n_of[kind] == 0 || !make_key(&k, kind, exporter, len, id, id_len))
        return NULL;
    return find(l, &k, base_hash(k.octets, k.len, l->seed));
}

static const char *text_of(const query_lookup *l, const struct name *n)
{
    return n && n->value_room ? l->text.data + n->value : NULL;
}

const char *query_lookup_interface(const query_lookup *l, const char *exporter, size_t len,
                                   uint32_t index)
{
    return text_of(l, ask(l, KIND_IF, exporter, len, &index, sizeof index));
}

const char *query_lookup_vrf(const query_lookup *l, const char *exporter, size_t len, uint32_t vrf)
{
    return text_of(l, ask(l, KIND_VRF, exporter, len, &vrf, sizeof vrf));
}

const char *query_lookup_app(const query_lookup *l, const char *exporter, size_t len,
                             const uint8_t *id, size_t id_len)
{
    return text_of(l, ask(l, KIND_APP, exporter, len, id, id_len));
}

/* Options of the domain first, then of domain 0, which speaks for the whole exporter (RFC 7011 section 3.1). */
static double rate_of(const query_lookup *l, enum kind kind, const char *exporter, size_t len,
                      uint32_t domain, uint64_t id)
{
    const uint64_t own[2] = {domain, id}, whole[2] = {0, id};
    const struct name *n = ask(l, kind, exporter, len, own, sizeof own);
    if (!n && domain != 0)
        n = ask(l, kind, exporter, len, whole, sizeof whole);
    return n ? n->rate : 0;
}

double query_lookup_rate(const query_lookup *l, const char *exporter, size_t len, uint32_t domain,
                         bool has_sampler, uint64_t sampler)
{
    double rate = has_sampler ? rate_of(l, KIND_RATE_SAMPLER, exporter, len, domain, sampler) : 0;
    return rate > 0 ? rate : rate_of(l, KIND_RATE, exporter, len, domain, 0);
}

double query_lookup_rate_interface(const query_lookup *l, const char *exporter, size_t len,
                                   uint32_t domain, uint32_t index)
{
    return rate_of(l, KIND_RATE_IF, exporter, len, domain, index);
}

/* ---- addresses ---- */

weir_status query_lookup_geo(query_lookup *l, const char *path, weir_err *err)
{
    if (l->n_databases == MAX_DATABASES)
        return weir_err_set(err, WEIR_ELIMIT, 0, "%s: %d databases are open already", path,
                            MAX_DATABASES);
    WEIR_TRY(query_geo_open(path, &l->databases[l->n_databases], err));
    l->n_databases++;
    return WEIR_OK;
}

/* 4 or 6, 0: text is no address. */
static int parse(const char *text, size_t len, uint8_t addr[16])
{
    char copy[INET6_ADDRSTRLEN];
    if (len >= sizeof copy)
        return 0;
    memcpy(copy, text, len);
    copy[len] = 0;
    int family = memchr(copy, ':', len) ? 6 : 4;
    return inet_pton(family == 6 ? AF_INET6 : AF_INET, copy, addr) == 1 ? family : 0;
}

typedef bool part_fn(const struct query_geo_entry *e, const char **text, size_t *len);

/* Of the first database that knows it. */
static size_t text_of_address(const query_lookup *l, const char *addr, size_t len, part_fn *part,
                              bool (*has)(const query_geo *g), char *out, size_t cap)
{
    uint8_t octets[16];
    int family = l->n_databases ? parse(addr, len, octets) : 0;
    for (size_t i = 0; family && i < l->n_databases; i++) {
        struct query_geo_entry e;
        const char *text;
        size_t n;
        if (!has(l->databases[i]) || !query_geo_find(l->databases[i], octets, family, &e) ||
            !part(&e, &text, &n))
            continue;
        if (n > cap) /* not inside a character */
            for (n = cap; n && ((uint8_t)text[n] & 0xc0) == 0x80; n--)
                ;
        memcpy(out, text, n);
        return n;
    }
    return 0;
}

size_t query_lookup_country(const query_lookup *l, const char *addr, size_t len, char *out,
                            size_t cap)
{
    return text_of_address(l, addr, len, query_geo_country, query_geo_has_country, out, cap);
}

size_t query_lookup_city(const query_lookup *l, const char *addr, size_t len, char *out, size_t cap)
{
    return text_of_address(l, addr, len, query_geo_city, query_geo_has_city, out, cap);
}

size_t query_lookup_as_org(const query_lookup *l, const char *addr, size_t len, char *out,
                           size_t cap)
{
    return text_of_address(l, addr, len, query_geo_as_org, query_geo_has_as, out, cap);
}

uint32_t query_lookup_as(const query_lookup *l, const char *addr, size_t len)
{
    uint8_t octets[16];
    int family = l->n_databases ? parse(addr, len, octets) : 0;
    for (size_t i = 0; family && i < l->n_databases; i++) {
        struct query_geo_entry e;
        uint32_t n;
        if (query_geo_has_as(l->databases[i]) &&
            query_geo_find(l->databases[i], octets, family, &e) && (n = query_geo_as(&e)) != 0)
            return n;
    }
    return 0;
}
