#include "query/filter.h"

#include "query/parse.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- phrases ---- */

static weir_status made(struct query_parser *p, struct query_expr *e, struct query_expr **out)
{
    *out = e;
    return e ? WEIR_OK : query_no_memory(p);
}

static struct query_expr *on_number(struct query_parser *p, enum flow_column_id column,
                                    uint64_t number)
{
    struct query_field f = query_field_column(column);
    struct query_expr *e = query_expr_on(p, QUERY_OP_EQ, &f);
    if (e)
        e->number = number;
    return e;
}

static weir_status with(struct query_parser *p, struct query_expr *a, struct query_expr *b,
                        struct query_expr **out)
{
    struct query_expr *both[] = {a, b};
    return made(p, query_expr_join(p, QUERY_OP_AND, both, 2), out);
}

/* nfdump's "not flags AFR": none of them is set, where "flags AFR" means that all are. The condition for the "not" to stand
 * before: any of them is. Conditions by the column's name are plain logic. */
static weir_status any_flag(struct query_parser *p, struct query_expr **out)
{
    struct query_expr *items[16];
    size_t n = 0;
    for (unsigned bit = 0; bit < 16; bit++)
        if ((*out)->number >> bit & 1) {
            items[n] = query_expr_on(p, QUERY_OP_BITS, &(*out)->field);
            if (!items[n])
                return query_no_memory(p);
            items[n++]->number = UINT64_C(1) << bit;
        }
    return n ? made(p, query_expr_join(p, QUERY_OP_OR, items, n), out) : WEIR_OK;
}

/* ICMP and ICMPv6: the protocols that have a type and a code. */
static struct query_expr *is_icmp(struct query_parser *p)
{
    struct query_field f = query_field_column(FLOW_proto);
    struct query_expr *e = query_expr_on(p, QUERY_OP_IN, &f);
    if (!e || !(e->numbers = query_arena_alloc(p->arena, 2 * sizeof *e->numbers)))
        return NULL;
    e->numbers[0] = (struct query_range){1, 1};
    e->numbers[1] = (struct query_range){58, 58};
    e->n_numbers = 2;
    return e;
}

/* Both addresses are of the family. */
static weir_status of_family(struct query_parser *p, uint8_t family, struct query_expr **out)
{
    struct query_expr *both[2];
    for (int i = 0; i < 2; i++) {
        struct query_field f = query_field_column(i ? FLOW_dst_addr : FLOW_src_addr);
        both[i] = query_expr_on(p, QUERY_OP_PREFIX, &f);
        if (!both[i] ||
            !(both[i]->prefixes = query_arena_alloc(p->arena, sizeof *both[i]->prefixes)))
            return query_no_memory(p);
        both[i]->prefixes[0].family = family;
        both[i]->n_prefixes = 1;
    }
    return made(p, query_expr_join(p, QUERY_OP_AND, both, 2), out);
}

/* "ttl equal": the smallest is the largest. */
static weir_status same_ttl(struct query_parser *p, struct query_expr **out)
{
    struct query_field f = query_field_column(FLOW_ttl_min);
    struct query_expr *e = query_expr_on(p, QUERY_OP_SAME, &f);
    if (e)
        e->other = query_field_column(FLOW_ttl_max);
    return made(p, e, out);
}

/* "in nat pblock": between the ends of the flow's own block. */
static weir_status in_block(struct query_parser *p, const struct query_subject *s,
                            struct query_expr **out)
{
    struct query_expr *items[QUERY_MOST_REFS];
    p->t += query_token_is(&p->t[1], "pblock") ? 2 : 3;
    for (size_t i = 0; i < s->n; i++) {
        struct query_expr *both[] = {query_expr_on(p, QUERY_OP_NOT_BELOW, &s->fields[i]),
                                     query_expr_on(p, QUERY_OP_NOT_ABOVE, &s->fields[i])};
        if (!both[0] || !both[1])
            return query_no_memory(p);
        both[0]->other = query_field_column(FLOW_port_block_start);
        both[1]->other = query_field_column(FLOW_port_block_end);
        items[i] = query_expr_join(p, QUERY_OP_AND, both, 2);
    }
    return made(p, query_expr_join(p, QUERY_OP_OR, items, s->n), out);
}

/* The reason behind "denied"; optional: there may be none. */
static weir_status denied(struct query_parser *p, bool optional, struct query_expr **out)
{
    struct query_field reason = query_field_column(FLOW_fw_ext_event);
    int number = p->t->kind == QUERY_T_WORD
                     ? query_name_number(query_field_names(&reason), query_token_word(p->t))
                     : -1;
    if (number < 0 && optional)
        return made(p, on_number(p, FLOW_fw_event, 3), out);
    if (number < 0)
        return query_expected(p, p->t, "ingress, egress, interface, nosyn");
    p->t++;
    return with(p, on_number(p, FLOW_fw_event, 3),
                on_number(p, FLOW_fw_ext_event, (uint64_t)number), out);
}

/* "label3", "exp10", "any" behind "mpls". */
static weir_status mpls(struct query_parser *p, struct query_expr **out)
{
    const char *expected = "label1 to label10, exp1 to exp10, any, eos";
    const struct query_token *t = p->t;
    struct query_subject s = {.n = 1};
    struct query_word w = query_token_word(t);
    bool label = w.len > 5 && query_word_is((struct query_word){w.at, 5}, "label");
    bool exp = w.len > 3 && query_word_is((struct query_word){w.at, 3}, "exp");
    if (t->kind != QUERY_T_WORD)
        return query_expected(p, t, expected);
    if (query_token_is(t, "any")) {
        s.fields[0] = query_field_column(FLOW_mpls_labels);
    } else if (label || exp) {
        unsigned n = 0;
        for (size_t i = label ? 5 : 3; i < w.len; i++)
            n = w.at[i] >= '0' && w.at[i] <= '9' && n < 100 ? n * 10 + (unsigned)(w.at[i] - '0')
                                                            : 1000;
        if (n < 1 || n > 10)
            return query_expected(p, t, expected);
        s.fields[0] = query_field_derived(label ? QUERY_D_MPLS_LABEL : QUERY_D_MPLS_EXP_N);
        s.fields[0].n = n;
    } else {
        return query_expected(p, t, expected);
    }
    p->t++;
    return query_condition(p, &s, out);
}

/* What a phrase stands for; p->t is behind it. */
static weir_status phrase(struct query_parser *p, const struct query_phrase *f, bool net,
                          const struct query_token *from, struct query_expr **out)
{
    struct query_subject s = {.n = f->n_refs, .net = net || f->act == QUERY_A_NET};
    if (f->act != QUERY_A_FAMILY)
        for (size_t i = 0; i < f->n_refs; i++)
            s.fields[i] = query_ref_field(f->refs[i]);
    switch ((enum query_act)f->act) {
    case QUERY_A_FIELDS:
    case QUERY_A_NET:
        break;
    case QUERY_A_PORT:
        if (query_token_is(p->t, "in") &&
            (query_token_is(&p->t[1], "pblock") ||
             ((query_token_is(&p->t[1], "nat") || query_token_is(&p->t[1], "xlate")) &&
              query_token_is(&p->t[2], "pblock"))))
            return in_block(p, &s, out);
        break;
    case QUERY_A_FLAGS:
        WEIR_TRY(query_condition(p, &s, out));
        if ((*out)->op == QUERY_OP_BITS && p->negative)
            WEIR_TRY(any_flag(p, out));
        return with(p, on_number(p, FLOW_proto, 6), *out, out);
    case QUERY_A_ICMP:
        WEIR_TRY(query_condition(p, &s, out));
        return with(p, is_icmp(p), *out, out);
    case QUERY_A_MS:
        s.ms = true;
        break;
    case QUERY_A_ENGINE:
        s.part = f->refs[0].n ? 1 : 2;
        break;
    case QUERY_A_FWEVENT:
        if (query_token_is(p->t, "denied") || query_token_is(p->t, "deny")) {
            p->t++;
            return denied(p, true, out);
        }
        break;
    case QUERY_A_DENIED:
        return denied(p, false, out);
    case QUERY_A_LABEL:
        return mpls(p, out);
    case QUERY_A_ANY:
        return made(p, query_expr_new(p, QUERY_OP_TRUE), out);
    case QUERY_A_FAMILY:
        return of_family(p, f->refs[0].n, out);
    case QUERY_A_TTLEQUAL:
        return same_ttl(p, out);
    case QUERY_A_MISSING:
        return query_wrong(p, WEIR_ENOTFOUND, from, (size_t)(p->t - from), NULL,
                           "not available: %s", f->why);
    }
    return query_condition(p, &s, out);
}

/* ---- what a filter is made of ---- */

static weir_status unknown(struct query_parser *p, const struct query_token *t, bool field,
                           const char *expected)
{
    char text[64], near[48];
    bool found =
        t->kind == QUERY_T_WORD && query_word_near(query_token_word(t), field, near, sizeof near);
    if (found && query_token_is(t, near)) /* a good word in a wrong place */
        return query_expected(p, t, expected);
    if (found)
        return query_wrong(p, WEIR_EFORMAT, t, 1, expected, "unknown word %s, did you mean %s?",
                           query_token_text(t, text), near);
    if (t->kind == QUERY_T_WORD)
        return query_wrong(p, WEIR_EFORMAT, t, 1, expected, "unknown word %s",
                           query_token_text(t, text));
    return query_expected(p, t, expected);
}

/* A condition on a field by its name. */
static weir_status by_name(struct query_parser *p, const struct query_token *t, bool exact,
                           struct query_expr **out)
{
    struct query_subject s = {.n = 1};
    char *name = query_arena_text(p->arena, t->at, t->len);
    if (!name)
        return query_no_memory(p);
    s.fields[0] = query_field_named(name);
    /* Quoted names are of columns as they are, not nfdump's words for them. */
    if (exact && strcmp(s.fields[0].name, name) != 0)
        s.fields[0] = (struct query_field){.what = QUERY_F_EXTRA,
                                           .id = -1,
                                           .name = name,
                                           .kind = QUERY_UNKNOWN,
                                           .bits4 = 255,
                                           .bits6 = 255};
    if (s.fields[0].what == QUERY_F_DERIVED && s.fields[0].id == QUERY_D_TIME_BUCKET)
        return query_wrong(p, WEIR_EFORMAT, t, 1, "first seen, last seen, received",
                           "\"time\" is only for grouping");
    p->t = t + 1;
    if (s.fields[0].what == QUERY_F_EXTRA && !query_is_operator(p->t))
        return query_wrong(p, WEIR_EFORMAT, p->t, 1,
                           "=, !=, <, <=, >, >=, ~, contains, in [ ], present",
                           "no operator behind the column %.40s", name);
    return query_condition(p, &s, out);
}

/* "src and dst" with what follows: once for each side. */
static weir_status both_sides(struct query_parser *p, struct query_word *w, size_t n,
                              struct query_expr **out)
{
    struct query_phrase f[2];
    struct query_expr *side[2];
    size_t used[2];
    bool net;
    const struct query_token *from = p->t;
    enum query_op op = query_word_is(w[1], "and") ? QUERY_OP_AND : QUERY_OP_OR;
    struct query_word second = w[2];
    for (int i = 0; i < 2; i++) {
        w[2] = i ? second : w[0];
        if (!query_phrase_find(w + 2, n - 2, &f[i], &used[i], &net)) {
            char expected[120];
            query_phrase_next(w + 2, used[i], expected, sizeof expected);
            return unknown(p, from + 2 + used[i], false, expected);
        }
    }
    if (used[0] != used[1])
        return query_expected(p, from + 3, "a field that both sides have: ip, port, as, ...");
    for (int i = 0; i < 2; i++) {
        p->t = from + 2 + used[i];
        WEIR_TRY(phrase(p, &f[i], net, from, &side[i]));
    }
    return made(p, query_expr_join(p, op, side, 2), out);
}

static bool opposite(struct query_word a, struct query_word b)
{
    return (query_word_is(a, "src") && query_word_is(b, "dst")) ||
           (query_word_is(a, "dst") && query_word_is(b, "src")) ||
           (query_word_is(a, "in") && query_word_is(b, "out")) ||
           (query_word_is(a, "out") && query_word_is(b, "in"));
}

static weir_status primary(struct query_parser *p, struct query_expr **out)
{
    const struct query_token *t = p->t;
    struct query_word w[QUERY_MOST_WORDS];
    struct query_phrase f;
    struct query_field field;
    size_t n = 0, used;
    bool net;
    if (t->kind == QUERY_T_STRING)
        return by_name(p, t, true, out);
    while (n < QUERY_MOST_WORDS && t[n].kind == QUERY_T_WORD) {
        w[n] = query_token_word(&t[n]);
        n++;
    }
    if (n == 0 || query_token_is(t, "and") || query_token_is(t, "or"))
        return query_expected(p, t,
                              "a condition: ip, port, proto, bytes, the name of a column, ...");
    if (n >= 3 && (query_word_is(w[1], "and") || query_word_is(w[1], "or")) && opposite(w[0], w[2]))
        return both_sides(p, w, n, out);
    if (query_phrase_find(w, n, &f, &used, &net)) {
        p->t = t + used;
        return phrase(p, &f, net, t, out);
    }
    if (query_word_field(w[0], &field))
        return by_name(p, t, false, out);
    if (used > 0) { /* the beginning of a phrase */
        char expected[120];
        query_phrase_next(w, used, expected, sizeof expected);
        return unknown(p, &t[used], false, expected);
    }
    if (query_is_operator(&t[1]))
        return by_name(p, t, false, out);
    return unknown(p, t, false, "a condition: ip, port, proto, bytes, the name of a column, ...");
}

/* ---- and, or, not, parentheses ---- */

/* Operands wait on one stack: those of the innermost parentheses from ors on, its finished terms of "or" up to ands, the
 * factors of the present term above. No recursion, so parentheses cost no stack. */
struct frame {
    size_t ors, ands;
    bool negated; /* the parentheses, as a whole */
    const struct query_token *open;
};

struct nest {
    struct frame *frames;
    struct query_expr **stack;
    size_t n_frames, n_stack, cap;
};

static void nest_done(struct nest *x)
{
    free(x->frames);
    free(x->stack);
}

static bool push(struct query_parser *p, struct nest *x, struct query_expr *e, bool negated)
{
    if (negated)
        e = query_expr_not(p, e);
    if (x->n_stack == x->cap) {
        size_t cap = x->cap ? x->cap * 2 : 64;
        struct query_expr **stack = realloc(x->stack, cap * sizeof *stack);
        if (!stack)
            return false;
        x->stack = stack;
        x->cap = cap;
    }
    x->stack[x->n_stack++] = e;
    return e != NULL;
}

/* The operands from `from` on as one. */
static bool fold(struct query_parser *p, struct nest *x, size_t from, enum query_op op)
{
    struct query_expr *e = query_expr_join(p, op, x->stack + from, x->n_stack - from);
    x->n_stack = from;
    x->stack[x->n_stack++] = e;
    return e != NULL;
}

static weir_status whole(struct query_parser *p, struct nest *x, struct query_expr **out)
{
    bool negated = false, operand = true; /* expected next */
    bool outer = false;                   /* negated by the parentheses around */
    x->frames = calloc(QUERY_MAX_DEPTH + 1, sizeof *x->frames);
    if (!x->frames)
        return query_no_memory(p);
    x->n_frames = 1;
    for (;;) {
        const struct query_token *t = p->t;
        struct frame *f = &x->frames[x->n_frames - 1];
        bool good = true;
        if (operand && (t->kind == QUERY_T_NOT || query_token_is(t, "not"))) {
            negated = !negated;
            p->t++;
        } else if (operand && t->kind == QUERY_T_OPEN) {
            if (x->n_frames > QUERY_MAX_DEPTH)
                return query_wrong(p, WEIR_ELIMIT, t, 1, NULL,
                                   "more than %d parentheses inside each other",
                                   (int)QUERY_MAX_DEPTH);
            x->frames[x->n_frames++] = (struct frame){x->n_stack, x->n_stack, negated, t};
            outer = outer != negated;
            negated = false;
            p->t++;
        } else if (operand) {
            struct query_expr *e = NULL;
            p->negative = outer != negated;
            WEIR_TRY(primary(p, &e));
            /* The first tokens' columns: an included file's are its own. */
            const struct query_source *source = &p->tokens.sources[t->source];
            e->from = (uint32_t)(t->at - source->text);
            e->to = p->t[-1].source == t->source
                        ? (uint32_t)(p->t[-1].at + p->t[-1].len - source->text)
                        : e->from + t->len;
            good = push(p, x, e, negated);
            negated = operand = false;
        } else if (t->kind == QUERY_T_AND || query_token_is(t, "and")) {
            operand = true;
            p->t++;
        } else if (t->kind == QUERY_T_OR || query_token_is(t, "or")) {
            good = fold(p, x, f->ands, QUERY_OP_AND);
            f->ands = x->n_stack;
            operand = true;
            p->t++;
        } else if ((t->kind == QUERY_T_CLOSE && x->n_frames > 1) ||
                   (t->kind == QUERY_T_END && x->n_frames == 1)) {
            good = fold(p, x, f->ands, QUERY_OP_AND) && fold(p, x, f->ors, QUERY_OP_OR);
            if (good && t->kind == QUERY_T_END) {
                *out = x->stack[0];
                return WEIR_OK;
            }
            outer = outer != f->negated;
            if (good && f->negated) {
                struct query_expr *e = x->stack[--x->n_stack];
                good = push(p, x, e, true);
            }
            x->n_frames--;
            p->t++;
        } else if (t->kind == QUERY_T_END) {
            return query_wrong(p, WEIR_EFORMAT, f->open, 1, "a closing )",
                               "the parenthesis is never closed");
        } else {
            return unknown(p, t, false,
                           x->n_frames > 1 ? "and, or, )" : "and, or, the end of the filter");
        }
        if (!good)
            return query_no_memory(p);
    }
}

/* ---- tidying ---- */

struct pile {
    struct query_expr **items;
    size_t n, cap;
};

static struct query_expr *tidy(struct query_parser *p, struct query_expr *e);

static bool append(struct pile *to, struct query_expr *item)
{
    if (to->n == to->cap) {
        size_t cap = to->cap ? to->cap * 2 : 8;
        struct query_expr **items = realloc(to->items, cap * sizeof *items);
        if (!items)
            return false;
        to->items = items;
        to->cap = cap;
    }
    to->items[to->n++] = item;
    return true;
}

/* All operands of nested operators of one kind, tidied; neutral ones left out. False: out of memory. */
static bool gather(struct query_parser *p, struct query_expr *e, struct pile *to, bool *decided)
{
    bool all = e->op == QUERY_OP_AND;
    for (size_t i = 0; i < e->n_items; i++) {
        struct query_expr *item = e->items[i];
        if (item->op == e->op) {
            if (!gather(p, item, to, decided))
                return false;
            continue;
        }
        item = tidy(p, item);
        if (!item)
            return false;
        if (item->op == e->op) { /* not (not (a and b)): its operands are tidy */
            for (size_t k = 0; k < item->n_items; k++)
                if (!append(to, item->items[k]))
                    return false;
        } else if (item->op != (all ? QUERY_OP_TRUE : QUERY_OP_FALSE)) {
            *decided = *decided || item->op == (all ? QUERY_OP_FALSE : QUERY_OP_TRUE);
            if (!append(to, item))
                return false;
        }
    }
    return true;
}

/* Nested "and" and "or" as one, constants and double "not" away: then equal filters are equal trees. NULL: out of memory.
 * Recursion is bounded by QUERY_MAX_DEPTH. */
static struct query_expr *tidy(struct query_parser *p, struct query_expr *e)
{
    if (e->op == QUERY_OP_NOT) {
        struct query_expr *item = tidy(p, e->items[0]);
        if (!item)
            return NULL;
        if (item->op == QUERY_OP_TRUE)
            return query_expr_new(p, QUERY_OP_FALSE);
        if (item->op == QUERY_OP_FALSE)
            return query_expr_new(p, QUERY_OP_TRUE);
        if (item->op == QUERY_OP_NOT)
            return item->items[0];
        e->items[0] = item;
        return e;
    }
    if (e->op != QUERY_OP_AND && e->op != QUERY_OP_OR)
        return e;
    struct pile pile = {0};
    bool decided = false;
    struct query_expr *out = NULL;
    if (gather(p, e, &pile, &decided)) {
        bool all = e->op == QUERY_OP_AND;
        if (decided)
            out = query_expr_new(p, all ? QUERY_OP_FALSE : QUERY_OP_TRUE);
        else if (pile.n == 0)
            out = query_expr_new(p, all ? QUERY_OP_TRUE : QUERY_OP_FALSE);
        else
            out = query_expr_join(p, e->op, pile.items, pile.n);
    }
    free(pile.items);
    return out;
}

weir_status query_filter_parse(query_arena *a, const char *text, size_t len,
                               const struct query_filter_options *o, struct query_expr **out,
                               struct query_error *where, weir_err *err)
{
    static const struct query_error nowhere = {.text = ""};
    weir_err own = {.code = WEIR_OK};
    struct query_parser p = {
        .arena = a, .options = o, .where = where, .err = err ? err : &own}; /* callbacks want one */
    struct nest nest = {0};
    weir_status status;
    if (where)
        *where = nowhere;
    status = query_lex(&p, text, len);
    if (status == WEIR_OK) {
        p.t = p.tokens.list;
        if (p.t->kind == QUERY_T_END)
            status = made(&p, query_expr_new(&p, QUERY_OP_TRUE), out);
        else
            status = whole(&p, &nest, out);
    }
    if (status == WEIR_OK)
        status = made(&p, tidy(&p, *out), out);
    nest_done(&nest);
    free(p.tokens.list);
    free(p.tokens.sources);
    return status;
}
