#include "gen/way.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* What is known of one exporter's packets. */
struct lane {
    struct gen_counts counts;
    struct gen_packet *waiting; /* with drop: the newest packet, neither sent nor lost yet */
    uint8_t *held;              /* with reorder: one that is overtaken; room for a payload */
    uint32_t held_len, held_flows;
    uint32_t n_drop, n_twice, n_reorder; /* packets of data seen by each, within a turn */
};

struct gen_way {
    struct gen_way_options o;
    gen_exporters *x;
    struct gen_receiver to;
    struct gen_counts total;
    struct lane lanes[];
};

gen_way *gen_way_new(const struct gen_way_options *o, gen_exporters *x,
                     const struct gen_receiver *to)
{
    gen_way *w = calloc(1, sizeof *w + o->exporters * sizeof w->lanes[0]);
    if (!w)
        return NULL;
    w->o = *o;
    w->x = x;
    w->to = *to;
    return w;
}

void gen_way_free(gen_way *w)
{
    if (!w)
        return;
    for (uint32_t i = 0; i < w->o.exporters; i++)
        free(w->lanes[i].held);
    free(w);
}

/* True for packets 1 .. k of every n, counted from 0: the first of all tells a collector where numbers begin. */
static bool struck(struct gen_share s, uint32_t *at)
{
    if (!s.n)
        return false;
    uint32_t i = *at;
    *at = i + 1 == s.n ? 0 : i + 1;
    return i >= 1 && i <= s.k;
}

static void count(gen_way *w, uint32_t i, const struct gen_counts *c)
{
    const uint64_t *from = (const uint64_t *)c;
    uint64_t *total = (uint64_t *)&w->total, *own = (uint64_t *)&w->lanes[i].counts;
    for (size_t k = 0; k < sizeof *c / sizeof *from; k++) {
        total[k] += from[k];
        own[k] += from[k];
    }
}

static weir_status send_out(gen_way *w, const struct gen_out *out, weir_err *err)
{
    count(w, out->exporter, &(struct gen_counts){.packets = 1, .octets = out->len});
    return w->to.payload(w->to.user, out, err);
}

static weir_status send_held(gen_way *w, uint32_t i, uint64_t now_ms, weir_err *err)
{
    struct lane *l = &w->lanes[i];
    struct gen_out out = {.data = l->held,
                          .len = l->held_len,
                          .now_ms = now_ms,
                          .exporter = i,
                          .n_flows = l->held_flows};
    if (!l->held_len)
        return WEIR_OK;
    l->held_len = 0;
    return send_out(w, &out, err);
}

/* Keep a stamped packet back until the next one of its exporter has been sent. */
static weir_status hold(struct lane *l, const struct gen_packet *p, weir_err *err)
{
    if (!l->held)
        l->held = malloc(GEN_MOST_PAYLOAD);
    if (!l->held)
        return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory for packets that are overtaken");
    memcpy(l->held, p->data, p->len);
    l->held_len = p->len;
    l->held_flows = p->n_records;
    return WEIR_OK;
}

static weir_status send_packet(gen_way *w, struct gen_packet *p, uint64_t now_ms, bool lost,
                               weir_err *err)
{
    struct lane *l = &w->lanes[p->exporter];
    if (gen_exporters_due(w->x, p->exporter, now_ms)) {
        uint8_t told[GEN_LEAST_PAYLOAD];
        size_t len = gen_exporters_templates(w->x, p->exporter, now_ms, told);
        struct gen_out out = {.data = told, .len = len, .now_ms = now_ms, .exporter = p->exporter};
        count(w, p->exporter, &(struct gen_counts){.template_packets = 1});
        WEIR_TRY(send_out(w, &out, err));
    }
    gen_exporters_stamp(w->x, p, now_ms);
    if (lost) {
        count(w, p->exporter,
              &(struct gen_counts){.lost_packets = 1,
                                   .lost_flows = p->n_records,
                                   .lost_units = gen_exporters_units(w->x, p)});
        return WEIR_OK;
    }
    count(w, p->exporter,
          &(struct gen_counts){.flows = p->n_records,
                               .ipv6_flows = p->n_ipv6,
                               .flow_packets = p->packets,
                               .flow_octets = p->octets});
    struct gen_out out = {.data = p->data,
                          .len = p->len,
                          .now_ms = now_ms,
                          .exporter = p->exporter,
                          .n_flows = p->n_records,
                          .stays = true};
    if (w->to.flows)
        WEIR_TRY(w->to.flows(w->to.user, p, err));
    if (w->o.reorder && ++l->n_reorder == w->o.reorder) {
        l->n_reorder = 0;
        return hold(l, p, err);
    }
    WEIR_TRY(send_out(w, &out, err));
    if (struck(w->o.twice, &l->n_twice)) {
        count(w, p->exporter,
              &(struct gen_counts){.twice_packets = 1, .twice_flows = p->n_records});
        WEIR_TRY(send_out(w, &out, err));
    }
    if (l->held_len)
        count(w, p->exporter, &(struct gen_counts){.overtaken_packets = 1});
    return send_held(w, p->exporter, now_ms, err);
}

weir_status gen_way_put(gen_way *w, struct gen_packet *p, uint64_t now_ms, weir_err *err)
{
    if (!w->o.drop.n)
        return send_packet(w, p, now_ms, false, err);
    struct lane *l = &w->lanes[p->exporter];
    struct gen_packet *before = l->waiting;
    l->waiting = p;
    if (!before)
        return WEIR_OK;
    return send_packet(w, before, now_ms, struck(w->o.drop, &l->n_drop), err);
}

weir_status gen_way_end(gen_way *w, uint64_t now_ms, weir_err *err)
{
    for (uint32_t i = 0; i < w->o.exporters; i++) {
        struct gen_packet *last = w->lanes[i].waiting;
        w->lanes[i].waiting = NULL;
        if (last)
            WEIR_TRY(send_packet(w, last, now_ms, false, err));
        WEIR_TRY(send_held(w, i, now_ms, err));
    }
    return WEIR_OK;
}

const struct gen_counts *gen_way_total(const gen_way *w)
{
    return &w->total;
}

const struct gen_counts *gen_way_counts(const gen_way *w, uint32_t exporter)
{
    return &w->lanes[exporter].counts;
}

void gen_counts_json(const struct gen_counts *c, base_buf *out)
{
#define X(name) {#name, c->name},
    const struct {
        const char *name;
        uint64_t value;
    } rows[] = {GEN_COUNTS_MAP(X)};
#undef X
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        base_buf_printf(out, "%s\"%s\": %" PRIu64, i ? ", " : "", rows[i].name, rows[i].value);
}
