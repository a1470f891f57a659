#include "arrow/array.h"

#include "base/err.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* ---- memory ---- */

struct piece {
    struct piece *next;
    void *octets;
};

struct arrow_memory {
    atomic_size_t holders;
    void *kept;
    void (*done)(void *kept);
    struct piece *pieces;
};

arrow_memory *arrow_memory_new(void)
{
    arrow_memory *m = calloc(1, sizeof *m);
    if (m)
        atomic_init(&m->holders, (size_t)1);
    return m;
}

void arrow_memory_keep(arrow_memory *m, void *what, void (*done)(void *what))
{
    m->kept = what;
    m->done = done;
}

static arrow_memory *hold(arrow_memory *m)
{
    atomic_fetch_add_explicit(&m->holders, 1, memory_order_relaxed);
    return m;
}

void arrow_memory_drop(arrow_memory *m)
{
    if (!m || atomic_fetch_sub_explicit(&m->holders, 1, memory_order_acq_rel) > 1)
        return;
    while (m->pieces) {
        struct piece *next = m->pieces->next;
        free(m->pieces->octets);
        free(m->pieces);
        m->pieces = next;
    }
    if (m->done)
        m->done(m->kept);
    free(m);
}

bool arrow_memory_take(arrow_memory *m, void *octets)
{
    struct piece *p = malloc(sizeof *p);
    if (!p) {
        free(octets);
        return false;
    }
    *p = (struct piece){m->pieces, octets};
    m->pieces = p;
    return true;
}

void *arrow_memory_alloc(arrow_memory *m, size_t n)
{
    void *octets = calloc(n + 1, 1);
    return octets && arrow_memory_take(m, octets) ? octets : NULL;
}

char *arrow_text(const char *text)
{
    size_t n = strlen(text) + 1;
    char *copy = malloc(n);
    if (copy)
        memcpy(copy, text, n);
    return copy;
}

/* ---- types ---- */

static const struct {
    const char *format;
    bool dict;
} forms[FLOW_N_TYPES] = {
    [FLOW_TYPE_BOOL] = {"b", false},       [FLOW_TYPE_U8] = {"C", false},
    [FLOW_TYPE_U16] = {"S", false},        [FLOW_TYPE_U32] = {"I", false},
    [FLOW_TYPE_U64] = {"L", false},        [FLOW_TYPE_S8] = {"c", false},
    [FLOW_TYPE_S16] = {"s", false},        [FLOW_TYPE_S32] = {"i", false},
    [FLOW_TYPE_S64] = {"l", false},        [FLOW_TYPE_F64] = {"g", false},
    [FLOW_TYPE_TIME] = {"tsu:UTC", false}, [FLOW_TYPE_TIME_NS] = {"tsn:UTC", false},
    [FLOW_TYPE_ADDR] = {"u", true},        [FLOW_TYPE_MAC] = {"u", true},
    [FLOW_TYPE_TEXT] = {"u", true},        [FLOW_TYPE_OCTETS] = {"z", true},
    [FLOW_TYPE_JSON] = {"u", true},
};
static const char code_format[] = "I";

const char *arrow_format(enum flow_type type)
{
    return forms[type].format;
}

int arrow_errno(weir_status s)
{
    switch (s) {
    case WEIR_OK:
    case WEIR_END:
        return 0;
    case WEIR_ENOMEM:
        return ENOMEM;
    case WEIR_EIO:
        return EIO;
    case WEIR_ENOTFOUND:
        return ENOENT;
    case WEIR_ELIMIT:
        return E2BIG;
    case WEIR_EINVAL:
    case WEIR_EFORMAT:
    case WEIR_ETRUNC:
    case WEIR_EVERSION:
    case WEIR_ETYPE:
    case WEIR_N_STATUS:
        break;
    }
    return EINVAL;
}

static weir_status no_memory(weir_err *err)
{
    return weir_err_set(err, WEIR_ENOMEM, 0, "arrow: out of memory");
}

/* ---- schemas ---- */

/* Behind ArrowSchema.private_data. The structs of its children stay here when somebody has moved their contents away. */
struct schema_node {
    char *name;
    struct ArrowSchema dictionary;
    struct ArrowSchema *kids;
    struct ArrowSchema **children;
};

static void schema_release(struct ArrowSchema *s)
{
    struct schema_node *node = s->private_data;
    for (int64_t i = 0; i < s->n_children; i++)
        if (node->kids[i].release)
            node->kids[i].release(&node->kids[i]);
    if (node->dictionary.release)
        node->dictionary.release(&node->dictionary);
    free(node->name);
    free(node->kids);
    free((void *)node->children);
    free(node);
    s->release = NULL;
}

static bool schema_node(struct ArrowSchema *out, const char *name, const char *format, size_t n)
{
    struct schema_node *node = calloc(1, sizeof *node);
    if (!node)
        return false;
    node->name = arrow_text(name);
    node->kids = calloc(n + 1, sizeof *node->kids);
    node->children = calloc(n + 1, sizeof *node->children);
    *out = (struct ArrowSchema){.format = format,
                                .name = node->name,
                                .flags = ARROW_FLAG_NULLABLE,
                                .n_children = node->kids ? (int64_t)n : 0,
                                .children = n ? node->children : NULL,
                                .release = schema_release,
                                .private_data = node};
    if (!node->name || !node->kids || !node->children) {
        schema_release(out);
        return false;
    }
    for (size_t i = 0; i < n; i++)
        node->children[i] = &node->kids[i];
    return true;
}

static bool schema_values(struct ArrowSchema *out, const char *name, enum flow_type type)
{
    bool dict = forms[type].dict;
    if (!schema_node(out, name, dict ? code_format : forms[type].format, 0))
        return false;
    struct schema_node *node = out->private_data;
    if (dict && !schema_node(&node->dictionary, "", forms[type].format, 0)) {
        schema_release(out);
        return false;
    }
    out->dictionary = dict ? &node->dictionary : NULL;
    return true;
}

static bool schema_column(struct ArrowSchema *out, const struct arrow_type *t)
{
    if (!t->list)
        return schema_values(out, t->name, t->type);
    if (!schema_node(out, t->name, "+l", 1))
        return false;
    if (schema_values(out->children[0], "item", t->type))
        return true;
    schema_release(out);
    return false;
}

weir_status arrow_schema_make(const struct arrow_type *types, size_t n, struct ArrowSchema *out,
                              weir_err *err)
{
    struct ArrowSchema s;
    if (!schema_node(&s, "", "+s", n))
        return no_memory(err);
    s.flags = 0;
    for (size_t i = 0; i < n; i++)
        if (!schema_column(s.children[i], &types[i])) {
            schema_release(&s);
            return no_memory(err);
        }
    *out = s;
    return WEIR_OK;
}

/* ---- arrays ---- */

struct array_node {
    arrow_memory *memory;
    const void *buffers[3];
    struct ArrowArray dictionary;
    struct ArrowArray *kids;
    struct ArrowArray **children;
};

static void array_release(struct ArrowArray *a)
{
    struct array_node *node = a->private_data;
    for (int64_t i = 0; i < a->n_children; i++)
        if (node->kids[i].release)
            node->kids[i].release(&node->kids[i]);
    if (node->dictionary.release)
        node->dictionary.release(&node->dictionary);
    arrow_memory_drop(node->memory);
    free(node->kids);
    free((void *)node->children);
    free(node);
    a->release = NULL;
}

/* Room for n children; n_buffers buffers, of which the first is the bits of validity. */
static bool array_node(struct ArrowArray *out, arrow_memory *m, size_t n, size_t length,
                       size_t n_null, int64_t n_buffers)
{
    struct array_node *node = calloc(1, sizeof *node);
    if (!node)
        return false;
    node->memory = hold(m);
    if (n) {
        node->kids = calloc(n, sizeof *node->kids);
        node->children = calloc(n, sizeof *node->children);
    }
    *out = (struct ArrowArray){.length = (int64_t)length,
                               .null_count = (int64_t)n_null,
                               .n_buffers = n_buffers,
                               .buffers = node->buffers,
                               .n_children = node->kids ? (int64_t)n : 0,
                               .children = node->children,
                               .release = array_release,
                               .private_data = node};
    if (n && (!node->kids || !node->children)) {
        array_release(out);
        return false;
    }
    for (size_t i = 0; i < n; i++)
        node->children[i] = &node->kids[i];
    return true;
}

/* What all columns of one struct array are made with. */
struct making {
    arrow_memory *memory;
    size_t n_rows;
    const void *zeros; /* 8 octets a row and 8 more: null in all rows, or nothing at all */
};

/* Octets that are 0 or 1 as bits. NULL: out of memory. */
static const void *bits_of(struct making *k, const uint8_t *octets, size_t n)
{
    uint8_t *bits = arrow_memory_alloc(k->memory, n / 8 + 8);
    for (size_t i = 0; bits && i < n; i++)
        bits[i / 8] = (uint8_t)(bits[i / 8] | (octets[i] != 0) << i % 8);
    return bits;
}

/* n values (or codes) without their lists. */
static weir_status make_values(struct making *k, enum flow_type type, const struct arrow_values *v,
                               size_t n, size_t n_null, const void *valid, struct ArrowArray *out,
                               weir_err *err)
{
    bool dict = forms[type].dict;
    const void *data = dict ? v->codes : v->values;
    if (data && type == FLOW_TYPE_BOOL && !(data = bits_of(k, data, n)))
        return no_memory(err);
    if (!array_node(out, k->memory, 0, n, n_null, 2))
        return no_memory(err);
    struct array_node *node = out->private_data;
    node->buffers[0] = valid;
    node->buffers[1] = data ? data : k->zeros;
    if (!dict)
        return WEIR_OK;
    if (!array_node(&node->dictionary, k->memory, 0, v->n_dict, 0, 3)) {
        array_release(out);
        return no_memory(err);
    }
    struct array_node *texts = node->dictionary.private_data;
    texts->buffers[1] = v->n_dict ? v->dict_starts : k->zeros;
    texts->buffers[2] = v->n_dict && v->dict_octets ? v->dict_octets : k->zeros;
    out->dictionary = &node->dictionary;
    return WEIR_OK;
}

static weir_status make_column(struct making *k, const struct arrow_type *t,
                               const struct arrow_values *v, struct ArrowArray *out, weir_err *err)
{
    size_t n_null = k->n_rows - v->n_valid;
    const void *valid = n_null == 0 ? NULL : v->valid ? v->valid : k->zeros;
    if (!t->list)
        return make_values(k, t->type, v, k->n_rows, n_null, valid, out, err);
    if (!array_node(out, k->memory, 1, k->n_rows, n_null, 2))
        return no_memory(err);
    struct array_node *node = out->private_data;
    node->buffers[0] = valid;
    node->buffers[1] = v->starts ? v->starts : k->zeros;
    size_t n_items = v->starts ? (size_t)v->starts[k->n_rows] : 0;
    weir_status s = make_values(k, t->type, v, n_items, 0, NULL, out->children[0], err);
    if (s != WEIR_OK)
        array_release(out);
    return s;
}

weir_status arrow_array_make(const struct arrow_type *types, const struct arrow_values *values,
                             size_t n, size_t n_rows, arrow_memory *m, struct ArrowArray *out,
                             weir_err *err)
{
    struct ArrowArray a;
    struct making k = {.memory = m, .n_rows = n_rows};
    if (n_rows >= INT32_MAX)
        return weir_err_set(err, WEIR_ELIMIT, 0, "arrow: %zu rows in one array, %d are allowed",
                            n_rows, INT32_MAX - 1);
    k.zeros = arrow_memory_alloc(m, 8 * n_rows + 8);
    if (!k.zeros || !array_node(&a, m, n, n_rows, 0, 1))
        return no_memory(err);
    weir_status s = WEIR_OK;
    for (size_t i = 0; i < n && s == WEIR_OK; i++)
        s = make_column(&k, &types[i], &values[i], a.children[i], err);
    if (s == WEIR_OK)
        *out = a;
    else
        array_release(&a);
    return s;
}
