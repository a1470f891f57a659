/* time -- when a flow was, from whatever its exporter sends. Which fields count is decided once per template. */
#include "wire/wire.h"

static const struct {
    uint16_t id;
    uint8_t family;
    bool last;
} time_elements[] = {
    {150, WIRE_FAMILY_SECONDS, false},      {151, WIRE_FAMILY_SECONDS, true},
    {152, WIRE_FAMILY_MILLISECONDS, false}, {153, WIRE_FAMILY_MILLISECONDS, true},
    {154, WIRE_FAMILY_MICROSECONDS, false}, {155, WIRE_FAMILY_MICROSECONDS, true},
    {156, WIRE_FAMILY_NANOSECONDS, false},  {157, WIRE_FAMILY_NANOSECONDS, true},
    {158, WIRE_FAMILY_DELTA, false},        {159, WIRE_FAMILY_DELTA, true},
    {22, WIRE_FAMILY_UPTIME, false},        {21, WIRE_FAMILY_UPTIME, true},
    {325, WIRE_FAMILY_OBSERVATION, false},  {324, WIRE_FAMILY_OBSERVATION, false},
    {323, WIRE_FAMILY_OBSERVATION, false},  {322, WIRE_FAMILY_OBSERVATION, false},
};

void wire_times_plan(wire_template *t)
{
    int at[WIRE_N_FAMILIES][2];
    for (int f = 0; f < WIRE_N_FAMILIES; f++)
        at[f][0] = at[f][1] = -1;
    wire_times *plan = &t->times;
    *plan = (wire_times){.first = -1, .last = -1, .duration = -1, .init = -1};
    for (int i = 0; i < t->pub.n_fields; i++) {
        const weir_element *e = t->fields[i].element;
        if (e->pen != 0 || (e->flags & WEIR_ELEMENT_SCOPE))
            continue;
        for (size_t k = 0; k < ARRAY_LEN(time_elements); k++)
            if (time_elements[k].id == e->id) {
                int *slot = &at[time_elements[k].family][time_elements[k].last];
                if (*slot < 0)
                    *slot = i;
            }
        if (e->id == 160 && plan->init < 0)
            plan->init = i;
        if ((e->id == 161 || e->id == 162) && plan->duration < 0) {
            plan->duration = i;
            plan->duration_us = e->id == 162;
        }
    }
    for (uint8_t f = 0; f < WIRE_N_FAMILIES; f++) {
        bool pair = at[f][0] >= 0 && at[f][1] >= 0;
        if (pair || (at[f][0] >= 0 && plan->first < 0)) {
            plan->first = at[f][0];
            plan->first_family = f;
        }
        if (pair || (at[f][1] >= 0 && plan->last < 0)) {
            plan->last = at[f][1];
            plan->last_family = f;
        }
        if (pair)
            break;
    }
    /* An event has one moment; with a flow's start beside it (NSEL), it is the other end. */
    if (plan->last < 0 && at[WIRE_FAMILY_OBSERVATION][0] >= 0) {
        plan->last = at[WIRE_FAMILY_OBSERVATION][0];
        plan->last_family = WIRE_FAMILY_OBSERVATION;
    }
}

struct wire_time_fields wire_time_fields(const weir_template *t)
{
    const wire_times *plan = &((const wire_template *)(const void *)t)->times;
    return (struct wire_time_fields){plan->first, plan->last, plan->first_family,
                                     plan->last_family};
}

bool wire_times_plain(const weir_record *r)
{
    const unsigned changing =
        WEIR_QUIRK_UPTIME_SECONDS | WEIR_QUIRK_EXPORT_TIME_FIXED | WEIR_QUIRK_RECORD_TIME_BROKEN;
    return !r->stream || !(r->stream->e->quirks & changing);
}

int64_t wire_reference_s(const weir_packet *p)
{
    return p->received_ns ? p->received_ns / 1000000000 : (int64_t)p->export_s;
}

/* The moment with these low 32 bits that is nearest to near_s, but never before the epoch (RFC 7011 section 5.2). */
int64_t wire_era_s(uint32_t seconds, int64_t near_s)
{
    int64_t ahead = (int64_t)(int32_t)(seconds - (uint32_t)(uint64_t)near_s);
    int64_t s = near_s + ahead;
    return s < 0 ? (int64_t)seconds : s;
}

int64_t weir_packet_export_ns(const weir_packet *p)
{
    return wire_era_s(p->export_s, wire_reference_s(p)) * 1000000000 + p->export_ns % 1000000000;
}

/* A sysUptime value against the header's (v1 to v9). SysUptime wraps every 2^32 ms (49.7 days), so a flow older than
 * the wrap has a value above the header's; unsigned subtraction still gives its age. Values a little ahead of the
 * header (clock granularity, rounding) are the future, not 49 days ago. RFC 3954 section 8, FIRST_SWITCHED. */
static int64_t uptime_ns(const weir_packet *p, int64_t export_ns, uint32_t value, bool seconds,
                         unsigned *flags)
{
    if (seconds)
        return export_ns - (int64_t)(int32_t)(p->uptime_ms - value) * 1000000000;
    uint32_t age_ms = p->uptime_ms - value, ahead_ms = value - p->uptime_ms;
    if (ahead_ms > 0 && ahead_ms < WIRE_AHEAD_MS)
        return export_ns + (int64_t)ahead_ms * 1000000;
    if (value > p->uptime_ms)
        *flags |= WEIR_TIME_WRAPPED;
    return export_ns - (int64_t)age_ms * 1000000;
}

/* The same against the moment the exporter started (IPFIX, IE 160): the latest turn of the 32 bits that is not in the
 * future. A flow may have begun before the exporter says that it did, which is the turn before the first. */
static int64_t since_init_ns(int64_t init_ms, int64_t export_ns, uint32_t value, unsigned *flags)
{
    int64_t ms = init_ms + value, turns = (export_ns / 1000000 + WIRE_AHEAD_MS - ms) >> 32;
    if (turns != 0)
        *flags |= WEIR_TIME_WRAPPED;
    return (ms + turns * ((int64_t)1 << 32)) * 1000000;
}

/* The moment in field i, if it holds one. */
static bool moment(const weir_record *r, int i, uint8_t family, int64_t export_ns, int64_t *ns,
                   unsigned *flags)
{
    weir_value v;
    if (i < 0 || weir_value_read(r, (uint32_t)i, &v) != WEIR_OK)
        return false;
    switch (family) {
    case WIRE_FAMILY_DELTA:
        *ns = export_ns - (int64_t)(v.u64 & UINT32_MAX) * 1000;
        return v.kind == WEIR_KIND_U64;
    case WIRE_FAMILY_UPTIME: {
        if (v.kind != WEIR_KIND_U64)
            return false;
        unsigned quirks = r->stream ? r->stream->e->quirks : 0;
        if (r->packet->version != 10) {
            *ns = uptime_ns(r->packet, export_ns, (uint32_t)v.u64,
                            quirks & WEIR_QUIRK_UPTIME_SECONDS, flags);
            return true;
        }
        const wire_template *t = (const wire_template *)(const void *)r->tmpl;
        weir_value init;
        if (t->times.init >= 0 && weir_value_read(r, (uint32_t)t->times.init, &init) == WEIR_OK &&
            init.kind == WEIR_KIND_TIME)
            *ns = since_init_ns(init.time_ns / 1000000, export_ns, (uint32_t)v.u64, flags);
        else if (r->stream && r->stream->init_known)
            *ns = since_init_ns(r->stream->init_ms, export_ns, (uint32_t)v.u64, flags);
        else
            return false;
        return true;
    }
    default:
        *ns = v.time_ns;
        return v.kind == WEIR_KIND_TIME && v.time_ns != 0; /* 0: the exporter has none */
    }
}

unsigned weir_record_times(const weir_record *r, int64_t *first_ns, int64_t *last_ns)
{
    unsigned flags = 0, quirks = r->stream ? r->stream->e->quirks : 0;
    int64_t export_ns = quirks & WEIR_QUIRK_EXPORT_TIME_FIXED ? r->packet->received_ns
                                                              : weir_packet_export_ns(r->packet);
    *first_ns = *last_ns = export_ns;
    if (!r->tmpl || r->depth || (quirks & WEIR_QUIRK_RECORD_TIME_BROKEN))
        return WEIR_TIME_EXPORT;
    const wire_times *plan = &((const wire_template *)(const void *)r->tmpl)->times;
    bool first = moment(r, plan->first, plan->first_family, export_ns, first_ns, &flags);
    bool last = moment(r, plan->last, plan->last_family, export_ns, last_ns, &flags);
    int64_t duration_ns = -1;
    weir_value v;
    if (first != last && plan->duration >= 0 &&
        weir_value_read(r, (uint32_t)plan->duration, &v) == WEIR_OK && v.kind == WEIR_KIND_U64 &&
        v.u64 <= UINT32_MAX)
        duration_ns = (int64_t)v.u64 * (plan->duration_us ? 1000 : 1000000);
    if (!first && !last) {
        *first_ns = *last_ns = export_ns;
        return flags | WEIR_TIME_EXPORT;
    }
    if (!first) {
        *first_ns = duration_ns >= 0 ? *last_ns - duration_ns : *last_ns;
        flags |= duration_ns >= 0 ? 0 : WEIR_TIME_SUBSTITUTED;
    } else if (!last) {
        if (duration_ns < 0 || __builtin_add_overflow(*first_ns, duration_ns, last_ns))
            *last_ns = *first_ns;
        flags |= duration_ns >= 0 ? 0 : WEIR_TIME_SUBSTITUTED;
    }
    if (*last_ns < *first_ns)
        flags |= WEIR_TIME_REVERSED;
    return flags;
}
