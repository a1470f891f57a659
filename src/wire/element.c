#include <weir/element.h>

#include "base/err.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "element_tables.inc"

_Static_assert(ARRAY_LEN(element_rows) == ELEMENT_N_IPFIX + ELEMENT_N_V9 + ELEMENT_N_SCOPE,
               "the three spaces fill the table");
_Static_assert(ARRAY_LEN(element_rows) < UINT16_MAX / 2, "a place and one bit fit the name index");

enum { N_SPACES = WEIR_SPACE_V9_SCOPE + 1 };

static const struct {
    size_t first, n; /* rows of element_rows */
} spaces[N_SPACES] = {
    [WEIR_SPACE_IPFIX] = {ELEMENT_FIRST_IPFIX, ELEMENT_N_IPFIX},
    [WEIR_SPACE_V9] = {ELEMENT_FIRST_V9, ELEMENT_N_V9},
    [WEIR_SPACE_V9_SCOPE] = {ELEMENT_FIRST_SCOPE, ELEMENT_N_SCOPE},
};

const char *weir_type_text(weir_type type)
{
    static const char *const texts[] = {
#define X(name, text, octets) text,
        WEIR_TYPE_MAP(X)
#undef X
    };
    return (unsigned)type < ARRAY_LEN(texts) ? texts[type] : "unknown";
}

const char *weir_semantics_text(weir_semantics semantics)
{
    static const char *const texts[] = {
#define X(name, text) text,
        WEIR_SEMANTICS_MAP(X)
#undef X
    };
    return (unsigned)semantics < ARRAY_LEN(texts) ? texts[semantics] : "unknown";
}

const char *weir_enterprise_name(uint32_t pen)
{
    size_t low = 0, high = ARRAY_LEN(enterprises);
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (enterprises[mid].pen < pen)
            low = mid + 1;
        else
            high = mid;
    }
    return low < ARRAY_LEN(enterprises) && enterprises[low].pen == pen ? enterprises[low].name
                                                                       : NULL;
}

/* Order of rows within a space. */
static uint64_t row_key(uint32_t pen, uint16_t id)
{
    return (uint64_t)pen << 16 | id;
}

static uint64_t key_of(const weir_element *e)
{
    return row_key(e->pen, e->id);
}

/* ---- built-in rows ---- */

static const weir_element *builtin_find(weir_space space, uint32_t pen, uint16_t id)
{
    if (pen == 0 && space == WEIR_SPACE_IPFIX && id < ARRAY_LEN(element_iana_index)) {
        uint16_t place = element_iana_index[id];
        return place ? &element_rows[place - 1] : NULL;
    }
    if (pen == 0 && space == WEIR_SPACE_V9 && id < ARRAY_LEN(element_v9_index)) {
        uint16_t place = element_v9_index[id];
        return place ? &element_rows[place - 1] : NULL;
    }
    const weir_element *rows = element_rows + spaces[space].first;
    const uint64_t key = row_key(pen, id);
    size_t low = 0, high = spaces[space].n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (key_of(&rows[mid]) < key)
            low = mid + 1;
        else
            high = mid;
    }
    return low < spaces[space].n && key_of(&rows[low]) == key ? &rows[low] : NULL;
}

static const weir_element *builtin_by_name(const char *name)
{
    size_t low = 0, high = ARRAY_LEN(element_name_index);
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        const weir_element *e = &element_rows[element_name_index[mid] / 2];
        int order = strcmp(element_name_index[mid] & 1 ? e->v9_name : e->name, name);
        if (order == 0)
            return e;
        if (order < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

/* ---- a user's rows on top of them ---- */

/* One loaded file. Its rows and their names stay where they are until the registry goes, so that rows handed
 * out before a second file was loaded stay good. */
struct user_file {
    struct user_file *next;
    char *text; /* the file; names and units of its rows point into it */
    weir_element *rows;
};

/* A name under which a row can be found. rank: who wins among equals, lowest first. */
struct named {
    const char *name;
    const weir_element *row;
    uint64_t rank;
};

struct rows {
    const weir_element **row;
    size_t n;
};

/* What lookups need once there are user rows. Built anew by every load and swapped in whole. */
struct index {
    struct rows user[N_SPACES]; /* the user's, ascending, the newest definition alone */
    struct rows all[N_SPACES];  /* those and the built-in ones they leave visible, ascending */
    struct named *names;        /* of all rows; ascending by (name, rank) */
    size_t n_names;
};

struct weir_elements {
    struct user_file *files;
    struct index index; /* empty until a file is loaded */
};

static void index_done(struct index *x)
{
    for (size_t s = 0; s < N_SPACES; s++) {
        free(x->user[s].row);
        free(x->all[s].row);
    }
    free(x->names);
}

static void user_file_free(struct user_file *f)
{
    if (f) {
        free(f->text);
        free(f->rows);
        free(f);
    }
}

static const weir_element *rows_find(const struct rows *rows, uint64_t key)
{
    size_t low = 0, high = rows->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (key_of(rows->row[mid]) < key)
            low = mid + 1;
        else
            high = mid;
    }
    return low < rows->n && key_of(rows->row[low]) == key ? rows->row[low] : NULL;
}

/* Merge two ascending lists; of equals, top's stays. False: out of memory. */
static bool rows_merge(struct rows *out, const struct rows *top, const struct rows *bottom)
{
    const weir_element **row = calloc(top->n + bottom->n + 1, sizeof *row);
    if (!row)
        return false;
    size_t n = 0;
    for (size_t t = 0, b = 0; t < top->n || b < bottom->n;) {
        if (b == bottom->n) {
            row[n++] = top->row[t++];
        } else if (t == top->n) {
            row[n++] = bottom->row[b++];
        } else if (key_of(top->row[t]) > key_of(bottom->row[b])) {
            row[n++] = bottom->row[b++];
        } else {
            b += key_of(top->row[t]) == key_of(bottom->row[b]);
            row[n++] = top->row[t++];
        }
    }
    *out = (struct rows){row, n};
    return true;
}

static int named_order(const void *a, const void *b)
{
    const struct named *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    return order ? order : (x->rank > y->rank) - (x->rank < y->rank);
}

/* Who wins a name: the user's rows, then as in element_name_index. */
enum { RANK_USER, RANK_IANA, RANK_V9_SPELLING, RANK_REST };

static void index_add_name(struct index *x, const char *name, const weir_element *row,
                           uint64_t rank)
{
    x->names[x->n_names] = (struct named){name, row, rank << 32 | x->n_names};
    x->n_names++;
}

/* All names of all rows. */
static bool index_names(struct index *x)
{
    size_t n = 0;
    for (size_t s = 0; s < N_SPACES; s++)
        n += x->all[s].n;
    x->names = calloc(2 * n, sizeof *x->names);
    if (!x->names)
        return false;
    for (size_t s = 0; s < N_SPACES; s++) {
        for (size_t i = 0; i < x->all[s].n; i++) {
            const weir_element *e = x->all[s].row[i];
            bool user = rows_find(&x->user[s], key_of(e)) != NULL;
            bool iana = s == WEIR_SPACE_IPFIX && e->pen == 0;
            index_add_name(x, e->name, e, user ? RANK_USER : iana ? RANK_IANA : RANK_REST);
            if (e->v9_name && strcmp(e->v9_name, e->name) != 0)
                index_add_name(x, e->v9_name, e, user ? RANK_USER : RANK_V9_SPELLING);
        }
    }
    qsort(x->names, x->n_names, sizeof *x->names, named_order);
    return true;
}

/* *x: added on top of the user rows of old, on top of the built-in rows. On failure *x is as empty as before. */
static weir_status index_build(struct index *x, const struct index *old,
                               const struct rows added[N_SPACES], weir_err *err)
{
    bool made = true;
    for (size_t s = 0; made && s < N_SPACES; s++) {
        struct rows builtin = {calloc(spaces[s].n, sizeof *builtin.row), spaces[s].n};
        for (size_t i = 0; builtin.row && i < spaces[s].n; i++)
            builtin.row[i] = &element_rows[spaces[s].first + i];
        made = builtin.row && rows_merge(&x->user[s], &added[s], &old->user[s]) &&
               rows_merge(&x->all[s], &x->user[s], &builtin);
        free(builtin.row);
    }
    if (made && index_names(x))
        return WEIR_OK;
    index_done(x);
    *x = (struct index){0};
    return weir_err_set(err, WEIR_ENOMEM, 0, "no memory for the element tables");
}

/* ---- reading a user's file ---- */

enum {
    FILE_MAX = 16 << 20, /* octets */
    LINE_MAX_OCTETS = 4096,
    COLUMNS_MAX = 64,
    NAME_MAX_OCTETS = 64,
    UNITS_MAX_OCTETS = 64,
    ID_MAX_IPFIX =
        32767, /* the 16th bit says that an enterprise number follows (RFC 7011 section 3.2) */
    ID_MAX_V9 = 65535
};

enum column {
    COLUMN_PEN,
    COLUMN_ID,
    COLUMN_NAME,
    COLUMN_TYPE,
    COLUMN_SEMANTICS,
    COLUMN_UNITS,
    N_COLUMNS
};

static const struct {
    const char *name;
    bool required;
} columns[N_COLUMNS] = {
    [COLUMN_PEN] = {"pen", true},
    [COLUMN_ID] = {"id", true},
    [COLUMN_NAME] = {"name", true},
    [COLUMN_TYPE] = {"abstract_data_type", true},
    [COLUMN_SEMANTICS] = {"semantics", false},
    [COLUMN_UNITS] = {"units", false},
};

struct line_row {
    weir_element row;
    weir_space space;
    uint64_t line;
};

struct reader {
    char *text; /* the file, NUL-terminated; fields become strings in place */
    size_t len;
    uint64_t line;        /* of the file, from 1 */
    size_t n_header;      /* columns of the header line */
    size_t at[N_COLUMNS]; /* which field of a line each column is; SIZE_MAX: the file has none */
    struct line_row *rows;
    size_t n_rows, cap_rows;
    weir_err *err;
};

/* A piece of the file as it may stand in a message: printable and short. */
struct shown {
    char text[36];
};

static struct shown shown(const char *s)
{
    struct shown out;
    size_t i = 0;
    for (; s[i] && i < sizeof out.text - 4; i++)
        out.text[i] = s[i] >= ' ' && s[i] <= '~' ? s[i] : '?';
    memcpy(out.text + i, s[i] ? "..." : "", s[i] ? 4 : 1);
    return out;
}

static weir_status read_file(const char *path, char **text, size_t *len, weir_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return weir_err_set(err, WEIR_EIO, 0, "elements: cannot open %.80s: %s", path,
                            strerror(errno));
    char *data = NULL;
    size_t n = 0, cap = 0;
    weir_status status = WEIR_OK;
    for (;;) {
        if (n == cap) {
            cap = cap ? 2 * cap : 64 * 1024;
            char *more = realloc(data, cap + 1);
            if (!more) {
                status = weir_err_set(err, WEIR_ENOMEM, 0, "elements: no memory for %.80s", path);
                break;
            }
            data = more;
        }
        ssize_t got = read(fd, data + n, cap - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            status = weir_err_set(err, WEIR_EIO, 0, "elements: cannot read %.80s: %s", path,
                                  strerror(errno));
        if (got <= 0)
            break;
        n += (size_t)got;
        if (n > FILE_MAX) {
            status = weir_err_set(err, WEIR_ELIMIT, 0,
                                  "elements: %.80s is longer than the %d octets allowed", path,
                                  FILE_MAX);
            break;
        }
    }
    (void)close(fd);
    if (status != WEIR_OK) {
        free(data);
        return status;
    }
    data[n] = 0;
    *text = data;
    *len = n;
    return WEIR_OK;
}

/* Cut a line into its fields. A tab ends a field, so "a\t" has two. */
static weir_status split(const struct reader *r, char *line, char *fields[COLUMNS_MAX], size_t *n)
{
    *n = 0;
    for (char *at = line; at;) {
        if (*n == COLUMNS_MAX)
            return weir_err_set(r->err, WEIR_EFORMAT, r->line,
                                "elements: line %" PRIu64 ": more than %d columns", r->line,
                                COLUMNS_MAX);
        fields[(*n)++] = at;
        at = strchr(at, '\t');
        if (at)
            *at++ = 0;
    }
    return WEIR_OK;
}

static weir_status read_header(struct reader *r, char *line)
{
    char *fields[COLUMNS_MAX];
    size_t n;
    WEIR_TRY(split(r, line, fields, &n));
    while (n > 0 && fields[n - 1][0] == 0)
        n--;
    r->n_header = n;
    for (size_t c = 0; c < N_COLUMNS; c++) {
        r->at[c] = SIZE_MAX;
        for (size_t i = 0; i < n; i++) {
            if (strcmp(fields[i], columns[c].name) != 0)
                continue;
            if (r->at[c] != SIZE_MAX)
                return weir_err_set(r->err, WEIR_EFORMAT, r->line,
                                    "elements: line %" PRIu64 ": column '%s' is there twice",
                                    r->line, columns[c].name);
            r->at[c] = i;
        }
        if (columns[c].required && r->at[c] == SIZE_MAX)
            return weir_err_set(r->err, WEIR_EFORMAT, r->line,
                                "elements: line %" PRIu64 ": no column '%s' (the first line names "
                                "the columns, with tabs between them)",
                                r->line, columns[c].name);
    }
    return WEIR_OK;
}

/* Decimal digits alone, at most max. */
static bool read_number(const char *s, uint64_t max, uint64_t *v)
{
    if (*s == 0)
        return false;
    for (*v = 0; *s; s++) {
        if (*s < '0' || *s > '9')
            return false;
        *v = *v * 10 + (uint64_t)(*s - '0');
        if (*v > max)
            return false;
    }
    return true;
}

/* [A-Za-z_][A-Za-z0-9_.-]{0,63}: safe as a JSON key, a column, a file name and a word of a filter. */
static bool name_good(const char *s)
{
    size_t n = 0;
    for (; s[n]; n++) {
        char c = s[n];
        bool first = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
        bool later = (c >= '0' && c <= '9') || c == '.' || c == '-';
        if (n == NAME_MAX_OCTETS || !(first || (n > 0 && later)))
            return false;
    }
    return n > 0;
}

static bool units_good(const char *s)
{
    size_t n = 0;
    for (; s[n]; n++)
        if (n == UNITS_MAX_OCTETS || s[n] < ' ' || s[n] > '~')
            return false;
    return true;
}

static weir_status bad_field(const struct reader *r, enum column c, const char *value,
                             const char *allowed)
{
    return weir_err_set(r->err, WEIR_EFORMAT, r->line,
                        "elements: line %" PRIu64 ": %s '%s' is not %s", r->line, columns[c].name,
                        shown(value).text, allowed);
}

static weir_status read_row(struct reader *r, char *line)
{
    char *fields[COLUMNS_MAX];
    const char *value[N_COLUMNS];
    size_t n;
    WEIR_TRY(split(r, line, fields, &n));
    for (size_t i = r->n_header; i < n; i++)
        if (fields[i][0] != 0)
            return weir_err_set(r->err, WEIR_EFORMAT, r->line,
                                "elements: line %" PRIu64
                                ": column %zu has a value, the first line "
                                "names %zu columns",
                                r->line, i + 1, r->n_header);
    for (size_t c = 0; c < N_COLUMNS; c++)
        value[c] = r->at[c] < n ? fields[r->at[c]] : "";

    struct line_row out = {.space = WEIR_SPACE_IPFIX, .line = r->line};
    weir_element *e = &out.row;
    uint64_t pen = 0, id = 0;
    if (strcmp(value[COLUMN_PEN], "v9") == 0)
        out.space = WEIR_SPACE_V9;
    else if (!read_number(value[COLUMN_PEN], UINT32_MAX, &pen))
        return bad_field(r, COLUMN_PEN, value[COLUMN_PEN], "a number up to 4294967295 or v9");
    if (out.space == WEIR_SPACE_V9 && !read_number(value[COLUMN_ID], ID_MAX_V9, &id))
        return bad_field(r, COLUMN_ID, value[COLUMN_ID], "a number up to 65535");
    if (out.space == WEIR_SPACE_IPFIX && !read_number(value[COLUMN_ID], ID_MAX_IPFIX, &id))
        return bad_field(r, COLUMN_ID, value[COLUMN_ID], "a number up to 32767");
    e->pen = (uint32_t)pen;
    e->id = (uint16_t)id;

    if (!name_good(value[COLUMN_NAME]))
        return bad_field(r, COLUMN_NAME, value[COLUMN_NAME],
                         "1 to 64 of A-Z a-z 0-9 _ . - starting with a letter or _");
    e->name = value[COLUMN_NAME];

    unsigned type = 0, semantics = WEIR_SEMANTICS_DEFAULT;
    while (type < WEIR_N_TYPES && strcmp(weir_type_text(type), value[COLUMN_TYPE]) != 0)
        type++;
    if (type == WEIR_N_TYPES)
        return bad_field(r, COLUMN_TYPE, value[COLUMN_TYPE],
                         "a type (octetArray keeps the octets as they are)");
    e->type = (uint8_t)type;
    if (value[COLUMN_SEMANTICS][0] != 0) {
        while (semantics < WEIR_N_SEMANTICS &&
               strcmp(weir_semantics_text(semantics), value[COLUMN_SEMANTICS]) != 0)
            semantics++;
        if (semantics == WEIR_N_SEMANTICS)
            return bad_field(r, COLUMN_SEMANTICS, value[COLUMN_SEMANTICS],
                             "a kind of semantics (leave it empty for default)");
    }
    e->semantics = (uint8_t)semantics;
    if (!units_good(value[COLUMN_UNITS]))
        return bad_field(r, COLUMN_UNITS, value[COLUMN_UNITS], "up to 64 printable characters");
    e->units = value[COLUMN_UNITS];

    /* What stays true of an element whatever the user calls it, and the v9 spelling while the name stays. */
    const weir_element *under = builtin_find(out.space, e->pen, e->id);
    if (under)
        e->flags = under->flags;
    if (under && under->v9_name && strcmp(under->name, e->name) == 0)
        e->v9_name = under->v9_name;
    if (out.space == WEIR_SPACE_V9)
        e->flags |= WEIR_ELEMENT_V9;
    if (e->pen == WEIR_PEN_REVERSE)
        e->flags |= WEIR_ELEMENT_REVERSE;

    if (r->n_rows == r->cap_rows) {
        size_t cap = r->cap_rows ? 2 * r->cap_rows : 64;
        struct line_row *more = realloc(r->rows, cap * sizeof *more);
        if (!more)
            return weir_err_set(r->err, WEIR_ENOMEM, r->line, "elements: no memory for %zu rows",
                                cap);
        r->rows = more;
        r->cap_rows = cap;
    }
    r->rows[r->n_rows++] = out;
    return WEIR_OK;
}

static weir_status read_lines(struct reader *r)
{
    char *at = r->text, *end = r->text + r->len;
    if (r->len >= 3 && memcmp(at, "\xef\xbb\xbf", 3) == 0)
        at += 3; /* spreadsheets put a byte order mark there */
    while (at < end) {
        r->line++;
        char *next = memchr(at, '\n', (size_t)(end - at));
        char *stop = next ? next : end;
        size_t len = (size_t)(stop - at);
        if (len > LINE_MAX_OCTETS)
            return weir_err_set(r->err, WEIR_EFORMAT, r->line,
                                "elements: line %" PRIu64 ": %zu octets, allowed are %d", r->line,
                                len, LINE_MAX_OCTETS);
        if (memchr(at, 0, len))
            return weir_err_set(r->err, WEIR_EFORMAT, r->line,
                                "elements: line %" PRIu64 ": has a NUL octet (not a text file?)",
                                r->line);
        if (len > 0 && stop[-1] == '\r')
            stop--;
        *stop = 0;
        if (r->line == 1)
            WEIR_TRY(read_header(r, at));
        else if (*at != 0 && *at != '#')
            WEIR_TRY(read_row(r, at));
        at = next ? next + 1 : end;
    }
    if (r->line == 0)
        return weir_err_set(r->err, WEIR_EFORMAT, 1,
                            "elements: line 1: the file is empty, it needs a line that names the "
                            "columns");
    return WEIR_OK;
}

static int line_row_order(const void *a, const void *b)
{
    const struct line_row *x = a, *y = b;
    if (x->space != y->space)
        return x->space < y->space ? -1 : 1;
    if (key_of(&x->row) != key_of(&y->row))
        return key_of(&x->row) < key_of(&y->row) ? -1 : 1;
    return x->line < y->line ? -1 : x->line > y->line;
}

/* Sort by space, pen and id; the first line of the file that repeats a row is an error. */
static weir_status sort_rows(struct reader *r)
{
    const struct line_row *again = NULL;
    if (r->n_rows > 1)
        qsort(r->rows, r->n_rows, sizeof *r->rows, line_row_order);
    for (size_t i = 1; i < r->n_rows; i++) {
        const struct line_row *row = &r->rows[i];
        if (row[-1].space == row->space && key_of(&row[-1].row) == key_of(&row->row) &&
            (!again || row->line < again->line))
            again = row;
    }
    if (!again)
        return WEIR_OK;
    char pen[16] = "v9";
    if (again->space != WEIR_SPACE_V9)
        (void)snprintf(pen, sizeof pen, "%" PRIu32, again->row.pen);
    return weir_err_set(r->err, WEIR_EFORMAT, again->line,
                        "elements: line %" PRIu64 ": pen %s id %u is already in line %" PRIu64,
                        again->line, pen, again->row.id, again[-1].line);
}

/* Put the sorted rows of the reader into r; the file's text moves with them. */
static weir_status keep_rows(weir_elements *r, struct reader *in)
{
    struct user_file *file = calloc(1, sizeof *file);
    const weir_element **place = calloc(in->n_rows + 1, sizeof *place);
    if (file)
        file->rows = calloc(in->n_rows + 1, sizeof *file->rows);
    if (!file || !file->rows || !place) {
        user_file_free(file);
        free(place);
        return weir_err_set(in->err, WEIR_ENOMEM, 0, "elements: no memory for %zu rows",
                            in->n_rows);
    }
    struct rows added[N_SPACES] = {{NULL, 0}};
    for (size_t i = 0; i < in->n_rows; i++) {
        struct rows *to = &added[in->rows[i].space];
        file->rows[i] = in->rows[i].row;
        place[i] = &file->rows[i];
        if (to->n++ == 0)
            to->row = &place[i];
    }
    struct index index = {0};
    weir_status status = index_build(&index, &r->index, added, in->err);
    free(place);
    if (status != WEIR_OK) {
        user_file_free(file);
        return status;
    }
    file->text = in->text;
    in->text = NULL;
    file->next = r->files;
    r->files = file;
    index_done(&r->index);
    r->index = index;
    return WEIR_OK;
}

weir_status weir_elements_load(weir_elements *r, const char *path, weir_err *err)
{
    if (!r || !path)
        return weir_err_set(err, WEIR_EINVAL, 0, "elements: no registry or no path");
    struct reader in = {.err = err};
    weir_status status = read_file(path, &in.text, &in.len, err);
    if (status == WEIR_OK)
        status = read_lines(&in);
    if (status == WEIR_OK)
        status = sort_rows(&in);
    if (status == WEIR_OK)
        status = keep_rows(r, &in);
    if (status != WEIR_OK && in.text &&
        err) { /* what is wrong inside the file does not name it yet */
        static const char prefix[] = "elements: ";
        weir_err inner = *err;
        size_t skip = strncmp(inner.msg, prefix, sizeof prefix - 1) == 0 ? sizeof prefix - 1 : 0;
        (void)weir_err_set(err, inner.code, inner.at, "%s%.60s: %s", prefix, path,
                           inner.msg + skip);
    }
    free(in.rows);
    free(in.text);
    return status;
}

/* ---- the registry ---- */

weir_elements *weir_elements_new(void)
{
    return calloc(1, sizeof(weir_elements));
}

void weir_elements_free(weir_elements *r)
{
    if (!r)
        return;
    while (r->files) {
        struct user_file *next = r->files->next;
        user_file_free(r->files);
        r->files = next;
    }
    index_done(&r->index);
    free(r);
}

const weir_element *weir_element_find(const weir_elements *r, weir_space space, uint32_t pen,
                                      uint16_t id)
{
    if ((unsigned)space >= N_SPACES)
        return NULL;
    if (r && r->index.user[space].n > 0) {
        const weir_element *e = rows_find(&r->index.user[space], row_key(pen, id));
        if (e)
            return e;
    }
    return builtin_find(space, pen, id);
}

const weir_element *weir_element_by_name(const weir_elements *r, const char *name)
{
    if (!name)
        return NULL;
    if (!r || !r->index.names)
        return builtin_by_name(name);
    const struct named *names = r->index.names;
    size_t low = 0, high = r->index.n_names;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (strcmp(names[mid].name, name) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low < r->index.n_names && strcmp(names[low].name, name) == 0 ? names[low].row : NULL;
}

const weir_element *weir_element_next(const weir_elements *r, weir_space space, size_t *cursor)
{
    if ((unsigned)space >= N_SPACES)
        return NULL;
    size_t at = *cursor;
    const weir_element *e = NULL;
    if (r && r->index.all[space].row)
        e = at < r->index.all[space].n ? r->index.all[space].row[at] : NULL;
    else
        e = at < spaces[space].n ? &element_rows[spaces[space].first + at] : NULL;
    if (e)
        *cursor = at + 1;
    return e;
}
