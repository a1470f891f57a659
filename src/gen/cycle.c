#include "gen/cycle.h"

#include <stdlib.h>

weir_status gen_cycle_add(struct gen_cycle *c, const struct gen_packet *p, weir_err *err)
{
    if (c->n == c->cap) {
        size_t cap = c->cap ? 2 * c->cap : 1024;
        struct gen_packet *grown = reallocarray(c->packets, cap, sizeof *grown);
        if (!grown)
            return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory for %zu packets", cap);
        c->packets = grown;
        c->cap = cap;
    }
    base_buf_add(&c->data, p->data, p->len);
    base_buf_add(&c->times, p->times, p->n_records * sizeof *p->times);
    if (c->data.failed || c->times.failed)
        return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory after %zu packets", c->n);
    c->packets[c->n] = *p;
    c->packets[c->n].flows = NULL;
    c->n++;
    return WEIR_OK;
}

void gen_cycle_close(struct gen_cycle *c)
{
    uint8_t *data = (uint8_t *)c->data.data;
    uint16_t *times = (void *)c->times.data;
    for (size_t i = 0; i < c->n; i++) {
        c->packets[i].data = data;
        c->packets[i].times = times;
        data += c->packets[i].len;
        times += c->packets[i].n_records;
    }
}

void gen_cycle_done(struct gen_cycle *c)
{
    free(c->packets);
    base_buf_done(&c->data);
    base_buf_done(&c->times);
    *c = (struct gen_cycle){0};
}
