#include "flow/stage.h"

#include <stdlib.h>

struct flow_stage *flow_stage_new(void)
{
    struct flow_stage *s = malloc(sizeof *s);
    if (!s)
        return NULL;
    s->next = NULL;
    s->n = s->n_spans = s->tail_len = 0;
    s->tails = NULL;
    s->tail = NULL;
    return s;
}

void flow_stage_free(struct flow_stage *s)
{
    if (!s)
        return;
    free(s->tails);
    free(s->tail);
    free(s);
}

bool flow_stage_tails(struct flow_stage *s)
{
    if (!s->tails)
        s->tails = malloc(FLOW_STAGE_ROWS * sizeof *s->tails);
    if (!s->tail)
        s->tail = malloc(FLOW_STAGE_OCTETS);
    return s->tails && s->tail;
}
