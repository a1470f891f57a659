/* list -- structured data (RFC 6313): basicList, subTemplateList, subTemplateMultiList, nested up to max_depth and
 * max_list_items. */
#include "wire/wire.h"

#include <stdio.h>
#include <stdlib.h>

enum { ENTERPRISE_BIT = 0x8000 };

static weir_status open_basic(weir_list *l, const weir_decoder *d)
{
    base_rd r = base_rd_of(l->at, (size_t)(l->end - l->at));
    uint16_t id = base_rd_u16(&r), len = base_rd_u16(&r);
    uint32_t pen = id & ENTERPRISE_BIT ? base_rd_u32(&r) : 0;
    if (r.dead)
        return WEIR_ETRUNC;
    id &= ENTERPRISE_BIT - 1;
    const weir_element *e = weir_element_find(d->opt.elements, WEIR_SPACE_IPFIX, pen, id);
    if (!e) {
        (void)snprintf(l->unknown_name, sizeof l->unknown_name, "e%uid%u", pen, id);
        l->unknown = (weir_element){.name = l->unknown_name,
                                    .units = "",
                                    .pen = pen,
                                    .id = id,
                                    .type = WEIR_TYPE_OCTET_ARRAY,
                                    .flags = WEIR_ELEMENT_UNKNOWN};
        e = &l->unknown;
    }
    l->field = (weir_field){.element = e, .length = len, .load = wire_load_of(e->type, len)};
    l->item_len = len;
    l->at = r.at;
    l->block_end = l->end;
    if (len == 0 && l->at < l->end)
        return WEIR_EFORMAT; /* items without octets: any number of them */
    l->item.fields = &l->field;
    l->item.n_fields = 1;
    return WEIR_OK;
}

/* Point the list at the records of one inner template, in [at, end). */
static weir_status open_block(weir_list *l, uint16_t id, const uint8_t *end)
{
    const wire_template *t = l->item.stream ? wire_template_find(l->item.stream, id) : NULL;
    l->block_end = end;
    if (!t) {
        l->item.tmpl = NULL;
        l->at = end;
        return WEIR_ENOTFOUND;
    }
    l->item.tmpl = &t->pub;
    l->item.fields = t->pub.fields;
    l->item.n_fields = t->pub.n_fields;
    l->item.n_scope = t->pub.n_scope;
    if (t->pub.variable && l->n_scratch < t->pub.n_fields) {
        weir_field *grown = realloc(l->scratch, t->pub.n_fields * sizeof *grown);
        if (!grown) {
            l->at = end; /* the block cannot be read */
            return WEIR_ENOMEM;
        }
        l->scratch = grown;
        l->n_scratch = t->pub.n_fields;
    }
    return WEIR_OK;
}

weir_status weir_list_open(const weir_record *r, uint32_t i, weir_list *l)
{
    const weir_field *f = &r->fields[i];
    if (f->load != WIRE_LOAD_LIST || !r->stream)
        return WEIR_ETYPE;
    weir_decoder *d = r->stream->d;
    if (r->depth >= d->opt.max_depth)
        return WEIR_ELIMIT;
    if (r->depth == 0)
        d->list_items = d->opt.max_list_items;
    *l = (weir_list){.type = f->element->type, .semantic = 255};
    l->at = r->data + f->offset;
    l->end = l->at + f->length;
    l->item = (weir_record){.packet = r->packet, .depth = r->depth + 1, .stream = r->stream};
    if (l->at == l->end)
        return WEIR_ETRUNC;
    l->semantic = *l->at++;
    weir_status status = WEIR_OK;
    if (l->type == WEIR_TYPE_BASIC_LIST) {
        status = open_basic(l, d);
    } else if (l->type == WEIR_TYPE_SUB_TEMPLATE_LIST) {
        if (l->end - l->at < 2)
            return WEIR_ETRUNC;
        uint16_t id = (uint16_t)weir_be(l->at, 2);
        l->at += 2;
        status = open_block(l, id, l->end);
    } else {
        l->block_end = l->at;
    }
    if (status != WEIR_OK)
        weir_list_close(l);
    return status;
}

/* The next block of a subTemplateMultiList (RFC 6313 section 4.5.3): id, length with these four octets, records. */
static weir_status next_block(weir_list *l)
{
    base_rd r = base_rd_of(l->at, (size_t)(l->end - l->at));
    uint16_t id = base_rd_u16(&r), len = base_rd_u16(&r);
    if (r.dead) {
        l->at = l->end;
        return WEIR_ETRUNC;
    }
    if (len == 0 && base_rd_left(&r) == 0) { /* an empty list may say so; nothing can follow it */
        l->at = l->end;
        return WEIR_END;
    }
    if (len < 4 || len - 4u > base_rd_left(&r)) {
        l->at = l->end;
        return WEIR_EFORMAT;
    }
    l->at = r.at;
    return open_block(l, id, r.at + len - 4);
}

static weir_status next_basic(weir_list *l)
{
    size_t n = l->item_len, left = (size_t)(l->end - l->at);
    if (n == WEIR_VARLEN) {
        n = *l->at++;
        left--;
        if (n == 255) {
            if (left < 2) {
                l->at = l->end;
                return WEIR_ETRUNC;
            }
            n = (size_t)weir_be(l->at, 2);
            l->at += 2;
            left -= 2;
        }
        l->field.load = wire_load_of(l->field.element->type, n);
    }
    if (n > left) {
        l->at = l->end;
        return WEIR_ETRUNC;
    }
    l->field.length = (uint16_t)n;
    l->item.data = l->at;
    l->item.len = (uint32_t)n;
    l->at += n;
    return WEIR_OK;
}

weir_status weir_list_next(weir_list *l)
{
    weir_decoder *d = l->item.stream->d;
    if (l->type == WEIR_TYPE_SUB_TEMPLATE_MULTI_LIST)
        while (l->at == l->block_end && l->at < l->end)
            WEIR_TRY(next_block(l));
    if (l->at >= l->block_end)
        return WEIR_END;
    if (d->list_items == 0)
        return WEIR_ELIMIT;
    d->list_items--;
    if (l->type == WEIR_TYPE_BASIC_LIST)
        return next_basic(l);
    const weir_template *t = l->item.tmpl;
    size_t used = t->min_len;
    l->item.fields = t->fields;
    if (t->variable) {
        uint32_t short_at;
        used = wire_layout(t, l->scratch, l->at, (size_t)(l->block_end - l->at), &short_at);
        l->item.fields = l->scratch;
    }
    if (used == 0 || used > (size_t)(l->block_end - l->at)) {
        l->at =
            l->block_end; /* RFC 6313 section 5.5: no padding in lists, so this is a broken record */
        return WEIR_ETRUNC;
    }
    l->item.data = l->at;
    l->item.len = (uint32_t)used;
    l->at += used;
    return WEIR_OK;
}

void weir_list_close(weir_list *l)
{
    free(l->scratch);
    l->scratch = NULL;
    l->n_scratch = 0;
}
