#include "query/geo.h"

#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <maxminddb.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    MAX_DEPTH = 16,           /* of maps and arrays; cities need five */
    MAX_VALUES = 4096,        /* looked at for one answer; a city has about 150 */
    METADATA_SEARCH = 131072, /* the metadata begins in so many last octets */
    SEPARATOR = 16            /* octets between tree and data */
};

struct query_geo {
    MMDB_s db;
    bool country, city, as;
};

/* ---- values ---- */

/* A data section, and how much of it may still be looked at. */
struct section {
    const uint8_t *p;
    size_t len;
    unsigned left;
};

enum type {
    TYPE_POINTER = MMDB_DATA_TYPE_POINTER,
    TYPE_TEXT = MMDB_DATA_TYPE_UTF8_STRING,
    TYPE_U16 = MMDB_DATA_TYPE_UINT16,
    TYPE_U32 = MMDB_DATA_TYPE_UINT32,
    TYPE_MAP = MMDB_DATA_TYPE_MAP,
    TYPE_U64 = MMDB_DATA_TYPE_UINT64,
    TYPE_ARRAY = MMDB_DATA_TYPE_ARRAY,
    TYPE_BOOL = MMDB_DATA_TYPE_BOOLEAN,
    TYPE_FLOAT = MMDB_DATA_TYPE_FLOAT
};

struct value {
    unsigned type;
    uint32_t size; /* octets, elements or pairs */
    size_t at;     /* of its first octet, element or key */
    size_t next;   /* behind it, unless it is a map or an array; behind the pointer that led here */
};

static bool in(const struct section *s, size_t at, size_t n)
{
    return at <= s->len && s->len - at >= n;
}

static uint32_t be(const uint8_t *p, size_t n)
{
    uint32_t v = 0;
    while (n--)
        v = v << 8 | *p++;
    return v;
}

/* The control octets at `at`; false: damaged, or enough was looked at. */
static bool control(struct section *s, size_t at, struct value *v)
{
    static const uint32_t pointer_base[] = {0, 2048, 526336, 0}, size_base[] = {29, 285, 65821};
    if (s->left == 0 || !in(s, at, 1))
        return false;
    s->left--;
    unsigned c = s->p[at++];
    v->type = c >> 5;
    if (v->type == TYPE_POINTER) {
        unsigned more = (c >> 3 & 3) + 1;
        if (!in(s, at, more))
            return false;
        uint32_t high = more == 4 ? 0 : (c & 7) << (8 * more);
        v->at = (size_t)(high | be(s->p + at, more)) + pointer_base[more - 1];
        v->size = 0;
        v->next = at + more;
        return true;
    }
    if (v->type == 0) {
        if (!in(s, at, 1))
            return false;
        v->type = s->p[at++] + 7U;
        if (v->type <= TYPE_MAP || v->type > TYPE_FLOAT || v->type == MMDB_DATA_TYPE_CONTAINER ||
            v->type == MMDB_DATA_TYPE_END_MARKER)
            return false;
    }
    v->size = c & 31;
    if (v->size >= 29) {
        unsigned more = v->size - 28;
        if (!in(s, at, more))
            return false;
        v->size = be(s->p + at, more) + size_base[more - 1];
        at += more;
    }
    v->at = at;
    bool nested = v->type == TYPE_MAP || v->type == TYPE_ARRAY || v->type == TYPE_BOOL;
    v->next = nested ? at : at + v->size;
    return nested || in(s, at, v->size);
}

/* The value at `at`, through a pointer if that is one. A pointer to a pointer is not allowed. */
static bool read_value(struct section *s, size_t at, struct value *v)
{
    if (!control(s, at, v))
        return false;
    if (v->type != TYPE_POINTER)
        return true;
    size_t next = v->next;
    if (!control(s, v->at, v) || v->type == TYPE_POINTER)
        return false;
    v->next = next;
    return true;
}

/* Behind the value at `at`. follow: what pointers lead to is looked at as well. */
static bool pass(struct section *s, size_t at, bool follow, unsigned depth, size_t *next)
{
    struct value v;
    if (depth > MAX_DEPTH || !control(s, at, &v))
        return false;
    *next = v.next;
    size_t end;
    if (v.type == TYPE_POINTER) {
        if (!follow)
            return true;
        if (!in(s, v.at, 1) || s->p[v.at] >> 5 == TYPE_POINTER)
            return false;
        return pass(s, v.at, true, depth + 1, &end);
    }
    if (v.type != TYPE_MAP && v.type != TYPE_ARRAY)
        return true;
    end = v.at;
    for (uint32_t i = 0; i < v.size; i++) {
        if (v.type == TYPE_MAP) {
            struct value key;
            if (!read_value(s, end, &key) || key.type != TYPE_TEXT)
                return false;
            end = key.next;
        }
        if (!pass(s, end, follow, depth + 1, &end))
            return false;
    }
    *next = end;
    return true;
}

/* The member `name` of map, or false. */
static bool member(struct section *s, const struct value *map, const char *name, struct value *out)
{
    size_t at = map->at, len = strlen(name);
    if (map->type != TYPE_MAP)
        return false;
    for (uint32_t i = 0; i < map->size; i++) {
        struct value key;
        if (!read_value(s, at, &key) || key.type != TYPE_TEXT)
            return false;
        if (key.size == len && memcmp(s->p + key.at, name, len) == 0)
            return read_value(s, key.next, out);
        if (!pass(s, key.next, false, 0, &at))
            return false;
    }
    return false;
}

static bool integer(const struct section *s, const struct value *v, uint32_t *out)
{
    if ((v->type != TYPE_U16 && v->type != TYPE_U32 && v->type != TYPE_U64) || v->size > 8)
        return false;
    uint64_t n = 0;
    for (uint32_t i = 0; i < v->size; i++)
        n = n << 8 | s->p[v->at + i];
    *out = (uint32_t)n;
    return n <= UINT32_MAX;
}

/* ---- opening ---- */

static bool has_word(const char *text, const char *word)
{
    return strcasestr(text, word) != NULL;
}

static weir_status damaged(const char *path, const char *why, weir_err *err)
{
    return weir_err_set(err, WEIR_EFORMAT, 0, "%s: no MaxMind-format database: %s", path, why);
}

/* Whether the member `name` of map, if there is one, is a map or an array of texts. */
static bool holds_texts(struct section *s, const struct value *map, const char *name, unsigned type)
{
    struct value list, v;
    if (!member(s, map, name, &list))
        return true;
    if (list.type != type)
        return false;
    size_t at = list.at;
    for (uint64_t i = 0; i < (uint64_t)list.size * (type == TYPE_MAP ? 2 : 1); i++) {
        if (!read_value(s, at, &v) || v.type != TYPE_TEXT)
            return false;
        at = v.next;
    }
    return true;
}

/* What libmaxminddb 1.7 takes for granted: that metadata does not nest deeper than the stack is and does not unfold
 * without end, that the size of the tree does not overflow 32 bits, and (else it leaks) that languages and descriptions are texts.
 * p[len]: the file. */
static weir_status check(const char *path, const uint8_t *p, size_t len, weir_err *err)
{
    static const char marker[] = "\xab\xcd\xefMaxMind.com";
    const size_t marker_len = sizeof marker - 1;
    const uint8_t *at = p + (len > METADATA_SEARCH ? len - METADATA_SEARCH : 0), *found = NULL;
    while ((at = memmem(at, (size_t)(p + len - at), marker, marker_len)))
        found = at += marker_len;
    if (!found)
        return damaged(path, "its metadata is missing", err);
    struct section s = {found, (size_t)(p + len - found), MAX_VALUES};
    struct value top, v;
    size_t next;
    uint32_t nodes, bits;
    if (!pass(&s, 0, true, 0, &next) || !read_value(&s, 0, &top))
        return damaged(path, "its metadata is damaged", err);
    if (!holds_texts(&s, &top, "languages", TYPE_ARRAY) ||
        !holds_texts(&s, &top, "description", TYPE_MAP))
        return damaged(path, "its languages or descriptions are no texts", err);
    if (!member(&s, &top, "node_count", &v) || !integer(&s, &v, &nodes) ||
        !member(&s, &top, "record_size", &v) || !integer(&s, &v, &bits))
        return damaged(path, "its metadata has no node_count or no record_size", err);
    if (bits != 24 && bits != 28 && bits != 32)
        return weir_err_set(err, WEIR_EFORMAT, 0, "%s: record_size %u, allowed are 24, 28 and 32",
                            path, bits);
    uint64_t tree = (uint64_t)nodes * bits / 4;
    if (len > UINT32_MAX || tree + SEPARATOR > (uint64_t)(found - p) - marker_len)
        return weir_err_set(err, WEIR_EFORMAT, 0,
                            "%s: %u nodes do not fit into %zu octets (is the file complete?)", path,
                            nodes, len);
    return WEIR_OK;
}

static weir_status check_file(const char *path, weir_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    if (fd < 0)
        return weir_err_set(err, WEIR_EIO, 0, "cannot open %s: %s", path, strerror(errno));
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size <= 0) {
        (void)close(fd);
        return damaged(path, "not a file, or an empty one", err);
    }
    size_t len = (size_t)st.st_size;
    void *p = mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, 0);
    (void)close(fd);
    if (p == MAP_FAILED)
        return weir_err_set(err, WEIR_EIO, 0, "cannot read %s: %s", path, strerror(errno));
    weir_status status = check(path, p, len, err);
    (void)munmap(p, len);
    return status;
}

weir_status query_geo_open(const char *path, query_geo **out, weir_err *err)
{
    WEIR_TRY(check_file(path, err));
    query_geo *g = calloc(1, sizeof *g);
    if (!g)
        return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
    int status = MMDB_open(path, MMDB_MODE_MMAP, &g->db);
    if (status != MMDB_SUCCESS) {
        free(g);
        return status == MMDB_OUT_OF_MEMORY_ERROR
                   ? weir_err_set(err, WEIR_ENOMEM, 0, "out of memory")
               : status == MMDB_FILE_OPEN_ERROR || status == MMDB_IO_ERROR
                   ? weir_err_set(err, WEIR_EIO, 0, "cannot read %s: %s", path,
                                  MMDB_strerror(status))
                   : damaged(path, MMDB_strerror(status), err);
    }
    const char *type = g->db.metadata.database_type ? g->db.metadata.database_type : "";
    bool all = has_word(type, "enterprise");
    g->city = all || has_word(type, "city");
    g->country = g->city || has_word(type, "country");
    g->as = all || has_word(type, "asn") || has_word(type, "isp");
    if (!g->country && !g->as)
        g->country = g->city = g->as = true;
    *out = g;
    return WEIR_OK;
}

void query_geo_close(query_geo *g)
{
    if (g)
        MMDB_close(&g->db);
    free(g);
}

bool query_geo_has_country(const query_geo *g)
{
    return g->country;
}

bool query_geo_has_city(const query_geo *g)
{
    return g->city;
}

bool query_geo_has_as(const query_geo *g)
{
    return g->as;
}

/* ---- looking up ---- */

bool query_geo_find(const query_geo *g, const uint8_t addr[16], int family,
                    struct query_geo_entry *out)
{
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } sa = {.any.sa_family = AF_UNSPEC};
    if (family == 4) {
        sa.in.sin_family = AF_INET;
        memcpy(&sa.in.sin_addr, addr, 4);
    } else if (g->db.metadata.ip_version == 6) {
        sa.in6.sin6_family = AF_INET6;
        memcpy(&sa.in6.sin6_addr, addr, 16);
    } else {
        return false;
    }
    int status = MMDB_SUCCESS;
    MMDB_lookup_result_s r = MMDB_lookup_sockaddr(&g->db, &sa.any, &status);
    if (status != MMDB_SUCCESS || !r.found_entry)
        return false;
    *out = (struct query_geo_entry){g, r.entry.offset};
    return true;
}

/* The value behind path (names separated by '/'), or false. */
static bool at_path(const struct query_geo_entry *e, const char *path, struct section *s,
                    struct value *v)
{
    *s = (struct section){e->g->db.data_section, e->g->db.data_section_size, MAX_VALUES};
    if (!read_value(s, e->at, v))
        return false;
    while (*path) {
        char name[64];
        size_t len = strcspn(path, "/");
        struct value map = *v;
        if (len >= sizeof name)
            return false;
        memcpy(name, path, len);
        name[len] = 0;
        if (!member(s, &map, name, v))
            return false;
        path += len + (path[len] == '/');
    }
    return true;
}

/* The first of paths (NULL ends them) that is text of min to max octets. */
static bool text_at(const struct query_geo_entry *e, const char *const *paths, size_t min,
                    size_t max, const char **text, size_t *len)
{
    for (; *paths; paths++) {
        struct section s;
        struct value v;
        if (!at_path(e, *paths, &s, &v) || v.type != TYPE_TEXT || v.size < min || v.size > max ||
            !base_utf8_ok(s.p + v.at, v.size))
            continue;
        *text = (const char *)s.p + v.at;
        *len = v.size;
        return true;
    }
    return false;
}

bool query_geo_country(const struct query_geo_entry *e, const char **text, size_t *len)
{
    /* MaxMind, DB-IP and IP2Location; then the flat forms of IPinfo */
    static const char *const paths[] = {"country/iso_code", "country_code", "country",
                                        "registered_country/iso_code", NULL};
    return e->g->country && text_at(e, paths, 2, 2, text, len);
}

bool query_geo_city(const struct query_geo_entry *e, const char **text, size_t *len)
{
    static const char *const paths[] = {"city/names/en", "city", NULL};
    return e->g->city && text_at(e, paths, 1, 255, text, len);
}

bool query_geo_as_org(const struct query_geo_entry *e, const char **text, size_t *len)
{
    static const char *const paths[] = {"autonomous_system_organization", "as_name", "name", NULL};
    return e->g->as && text_at(e, paths, 1, 255, text, len);
}

uint32_t query_geo_as(const struct query_geo_entry *e)
{
    static const char *const paths[] = {"autonomous_system_number", "asn", NULL};
    for (size_t i = 0; e->g->as && paths[i]; i++) {
        struct section s;
        struct value v;
        uint32_t n = 0;
        if (!at_path(e, paths[i], &s, &v))
            continue;
        if (integer(&s, &v, &n))
            return n;
        if (v.type != TYPE_TEXT || v.size < 3 || v.size > 12 || memcmp(s.p + v.at, "AS", 2) != 0)
            continue;
        uint64_t number = 0;
        uint32_t digits = 2;
        for (; digits < v.size && s.p[v.at + digits] >= '0' && s.p[v.at + digits] <= '9'; digits++)
            number = number * 10 + (uint64_t)(s.p[v.at + digits] - '0');
        if (digits == v.size && number <= UINT32_MAX)
            return (uint32_t)number;
    }
    return 0;
}
