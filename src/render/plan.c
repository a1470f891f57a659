#include "render/plan.h"

#include "base/hash.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

enum { N_BUCKETS = 4096, MAX_PLANS = 16384, MAX_OCTETS = 32 << 20 };

render_plans *render_plans_new(const struct render_style *style)
{
    render_plans *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->style = style;
    c->seed = base_hash_seed();
    c->buckets = calloc(N_BUCKETS, sizeof(render_plan *));
    if (!c->buckets) {
        free(c);
        return NULL;
    }
    return c;
}

static void plan_free(render_plan *p)
{
    free(p->keys);
    free(p->next);
    free(p->text);
    free(p);
}

void render_plans_forget(render_plans *c)
{
    for (size_t i = 0; i < N_BUCKETS; i++) {
        while (c->buckets[i]) {
            render_plan *p = c->buckets[i];
            c->buckets[i] = p->chain;
            plan_free(p);
        }
    }
    c->recent = NULL;
    c->octets = c->count = 0;
}

void render_plans_free(render_plans *c)
{
    if (!c)
        return;
    render_plans_forget(c);
    free(c->buckets);
    free(c);
}

/* While a plan is built: key number + 1 by hash of the key's text, 0 empty. */
struct index {
    uint32_t *slots;
    uint32_t mask;
};

/* The keys of fields [from, to). Two fields share a key when their names are equal: what counts is that no key
 * stands twice in one JSON object. */
static bool add_keys(const render_plans *c, render_plan *p, base_buf *text, struct index *index,
                     const weir_record *r, uint32_t from, uint32_t to)
{
    const struct render_style *style = c->style;
    memset(index->slots, 0, ((size_t)index->mask + 1) * sizeof *index->slots);
    for (uint32_t i = from; i < to; i++) {
        struct render_key key = {.first = i, .last = i};
        const char *name = style->name(&r->fields[i], &key.kind);
        if (!name)
            continue;
        key.at = (uint32_t)text->len;
        base_buf_str(text, style->before);
        size_t quoted = text->len;
        base_json_string(text, name, strlen(name), style->ascii);
        base_buf_str(text, style->behind);
        if (text->failed || text->len > UINT32_MAX)
            return false;
        key.len = (uint32_t)(text->len - key.at);
        uint32_t slot =
            (uint32_t)base_hash(text->data + quoted, text->len - quoted, c->seed) & index->mask;
        for (; index->slots[slot]; slot = (slot + 1) & index->mask) {
            struct render_key *k = &p->keys[index->slots[slot] - 1];
            if (k->len == key.len && !memcmp(text->data + k->at, text->data + key.at, key.len)) {
                p->next[k->last] = i;
                k->last = i;
                text->len = key.at;
                break;
            }
        }
        if (!index->slots[slot]) {
            index->slots[slot] = ++p->n_keys;
            p->keys[p->n_keys - 1] = key;
        }
    }
    return true;
}

static render_plan *plan_new(const render_plans *c, const weir_record *r)
{
    uint32_t n = r->n_fields;
    render_plan *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    base_buf text = {0};
    struct index index = {.mask = 15};
    while (index.mask < 2 * n)
        index.mask = 2 * index.mask + 1;
    index.slots = malloc(((size_t)index.mask + 1) * sizeof *index.slots);
    p->tmpl = r->tmpl;
    p->serial = r->tmpl->serial;
    p->n_fields = n;
    p->keys = malloc((n + 1) * sizeof *p->keys);
    p->next = malloc((n + 1) * sizeof *p->next);
    bool ok = index.slots && p->keys && p->next;
    if (ok) {
        memset(p->next, 0xff, (n + 1) * sizeof *p->next); /* RENDER_NONE everywhere */
        uint32_t n_scope = c->style->scope_apart ? r->n_scope : 0;
        ok = add_keys(c, p, &text, &index, r, 0, n_scope);
        p->n_scope_keys = p->n_keys;
        ok = ok && add_keys(c, p, &text, &index, r, n_scope, n);
    }
    free(index.slots);
    char *slack = ok ? base_buf_room(&text, RENDER_SLACK) : NULL;
    if (slack)
        memset(slack, 0, RENDER_SLACK);
    p->text = text.data;
    p->octets = sizeof *p + text.cap + (n + 1) * (sizeof *p->keys + sizeof *p->next);
    if (!slack) {
        plan_free(p);
        return NULL;
    }
    return p;
}

const render_plan *render_plan_make(render_plans *c, const weir_record *r)
{
    if (r->depth == 0 && (c->octets > MAX_OCTETS || c->count > MAX_PLANS))
        render_plans_forget(c);
    struct {
        uint64_t serial;
        const weir_template *tmpl;
    } id = {r->tmpl->serial, r->tmpl};
    render_plan **bucket = &c->buckets[base_hash(&id, sizeof id, c->seed) % N_BUCKETS];
    render_plan *p = *bucket;
    while (p && !(p->tmpl == r->tmpl && p->serial == id.serial && p->n_fields == r->n_fields))
        p = p->chain;
    if (!p) {
        p = plan_new(c, r);
        if (!p)
            return NULL;
        p->chain = *bucket;
        *bucket = p;
        c->octets += p->octets;
        c->count++;
    }
    c->recent = p;
    return p;
}
