/* plan -- what a template's records look like as text, worked out once: the key of each field as it stands in the
 * output, and which fields share one key. Found again by the template's serial, so that a record costs no look-up
 * of names and no search for repeats. */
#ifndef RENDER_PLAN_H
#define RENDER_PLAN_H

#include <stdbool.h>
#include <weir/record.h>

enum {
    RENDER_NONE = UINT32_MAX, /* end of a chain of fields */
    RENDER_SLACK = 32         /* octets readable behind the last key, for copies of a fixed size */
};

/* One key of the output. */
struct render_key {
    uint32_t at, len;     /* in plan->text, with what goes before and behind it */
    uint32_t first, last; /* fields with this key; between them: plan->next */
    uint8_t kind;         /* the style's own: how the value is written */
};

typedef struct render_plan {
    struct render_plan *chain;
    const weir_template *tmpl; /* only compared */
    uint64_t serial;
    uint32_t n_fields;
    uint32_t n_scope_keys,
        n_keys; /* keys[0 .. n_scope_keys) are of scopes set apart, up to n_keys of the rest */
    struct render_key *keys;
    uint32_t *next; /* next[field]: the next field with the same key, or RENDER_NONE */
    char *text;
    size_t octets;
} render_plan;

struct render_style {
    const char *before, *behind; /* of a key: ,"  and ": */
    bool ascii;                  /* as in base_json_string */
    bool scope_apart; /* scopes are an object of their own; else they share one with the rest */
    /* The key of a field and the kind of its value; NULL leaves the field out. */
    const char *(*name)(const weir_field *f, uint8_t *kind);
};

typedef struct render_plans render_plans;

/* The plans of one decoder's templates: another decoder needs another one, or render_plans_forget first.
 * NULL: out of memory. */
render_plans *render_plans_new(const struct render_style *style);
void render_plans_free(render_plans *c);
void render_plans_forget(render_plans *c);

/* The plan for a record with a template; NULL: out of memory. Valid until the next call for a record of depth 0:
 * an outer record's plan outlives the plans of the items in its lists. */
const render_plan *render_plan_make(render_plans *c, const weir_record *r);

struct render_plans {
    const struct render_style *style;
    render_plan *recent; /* of the last record */
    render_plan **buckets;
    size_t octets, count;
    uint64_t seed;
};

static inline const render_plan *render_plan_get(render_plans *c, const weir_record *r)
{
    const render_plan *p = c->recent;
    if (p && p->tmpl == r->tmpl && p->serial == r->tmpl->serial && p->n_fields == r->n_fields)
        return p;
    return render_plan_make(c, r);
}

#endif
