/* chart: a counter over time as bars, a line an interval. */
#include "query/format_in.h"

#include "parquet/parquet.h"

#include <stdlib.h>
#include <strings.h>

enum { GAP = 6, MAX_BUCKETS = 1 << 22, LABEL = 19, VALUE = 9, LEAST_BAR = 10 };

struct bucket {
    int64_t time;
    uint64_t value;
};

struct chart {
    struct bucket *buckets;
    size_t n, cap;
    struct query_field time;
    int time_at, value_at;
    const char *by;
    uint64_t factor; /* of a value, then divided by the span in microseconds; 0: as it is */
};

static const struct {
    const char *name, *unit;
    int derived; /* QUERY_D_ */
    uint64_t factor;
} measures[] = {
    {"bytes", "octets", QUERY_D_ALL_BYTES, 0},
    {"packets", "packets", QUERY_D_ALL_PACKETS, 0},
    {"flows", "flows", QUERY_D_N_FLOWS, 0},
    {"bps", "bit/s", QUERY_D_ALL_BYTES, 8000000},
    {"pps", "packets/s", QUERY_D_ALL_PACKETS, 1000000},
};

static weir_status chart_block(query_format *f, size_t result, const struct query_block *b,
                               weir_err *err)
{
    (void)result;
    struct chart *c = f->state;
    const struct query_vec *time = &b->vecs[c->time_at], *value = &b->vecs[c->value_at];
    if (c->n + b->n > MAX_BUCKETS)
        return weir_err_set(
            err, WEIR_ELIMIT, 0,
            "a chart of more than %d intervals: use a longer --every, or a shorter time",
            MAX_BUCKETS);
    if (c->n + b->n > c->cap) {
        size_t cap = 2 * c->cap > c->n + b->n ? 2 * c->cap : c->n + b->n;
        struct bucket *more = realloc(c->buckets, cap * sizeof *more);
        if (!more)
            return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
        c->buckets = more;
        c->cap = cap;
    }
    for (size_t i = 0; i < b->n; i++) {
        if (!time->num || (time->valid && !parquet_bit(time->valid, i)))
            continue; /* flows without a time */
        c->buckets[c->n++] = (struct bucket){(int64_t)time->num[i], value->num ? value->num[i] : 0};
    }
    return WEIR_OK;
}

static int by_time(const void *a, const void *b)
{
    int64_t x = ((const struct bucket *)a)->time, y = ((const struct bucket *)b)->time;
    return (x > y) - (x < y);
}

/* v of most as a bar of width columns: eighths of a block, or whole '#'. */
static void put_bar(query_format *f, uint64_t v, uint64_t most, unsigned width)
{
    static const char eighths[8][4] = {"",       "\u258f", "\u258e", "\u258d",
                                       "\u258c", "\u258b", "\u258a", "\u2589"};
    unsigned parts = f->o.ascii ? 1 : 8;
    unsigned n = most ? (unsigned)((unsigned __int128)v * width * parts / most) : 0;
    if (v && !n)
        n = 1;
    if (f->o.color && n)
        base_buf_str(&f->out, "\033[36m");
    for (unsigned i = 0; i < n / parts; i++)
        base_buf_str(&f->out, f->o.ascii ? "#" : "\u2588");
    base_buf_str(&f->out, eighths[n % parts]);
    if (f->o.color && n)
        base_buf_str(&f->out, "\033[0m");
}

static void put_line(query_format *f, int64_t time, uint64_t v, uint64_t most, unsigned width)
{
    char text[40];
    query_clock_text(&f->w.clock, time, text);
    const struct chart *c = f->state;
    base_buf_add(&f->out, text, c->time.span_us % 1000000 ? 23 : LABEL);
    size_t n = query_scaled_text(text, v, f->o.plain_numbers);
    base_buf_char(&f->out, ' ');
    for (size_t i = n; i < VALUE; i++)
        base_buf_char(&f->out, ' ');
    base_buf_add(&f->out, text, n);
    if (v) {
        base_buf_char(&f->out, ' ');
        put_bar(f, v, most, width);
    }
    base_buf_char(&f->out, '\n');
}

static void put_span(base_buf *out, int64_t us)
{
    static const struct {
        int64_t us;
        const char *unit;
    } units[] = {{86400000000, "d"}, {3600000000, "h"}, {60000000, "m"},
                 {1000000, "s"},     {1000, "ms"},      {1, "us"}};
    for (size_t i = 0; i < ARRAY_LEN(units); i++)
        if (us % units[i].us == 0) {
            base_buf_printf(out, "%lld%s", (long long)(us / units[i].us), units[i].unit);
            return;
        }
}

static weir_status chart_end(query_format *f, size_t result, const struct query_summary *s,
                             weir_err *err)
{
    (void)result;
    (void)s;
    struct chart *c = f->state;
    uint64_t most = 0;
    int64_t span = c->time.span_us;
    if (c->n == 0) {
        if (!f->o.quiet)
            base_buf_str(&f->out, "No matching flows\n");
        return WEIR_OK;
    }
    qsort(c->buckets, c->n, sizeof *c->buckets, by_time);
    for (size_t i = 0; i < c->n; i++) {
        if (c->factor && span > 0)
            c->buckets[i].value =
                (uint64_t)((unsigned __int128)c->buckets[i].value * c->factor / (uint64_t)span);
        if (c->buckets[i].value > most)
            most = c->buckets[i].value;
    }
    unsigned room = f->o.width ? f->o.width : 80;
    unsigned used = (span % 1000000 ? 23 : LABEL) + VALUE + 2 + 1;
    unsigned width = room > used + LEAST_BAR ? room - used : LEAST_BAR;
    if (!f->o.quiet) {
        base_buf_printf(&f->out, "%s in intervals of ", c->by);
        put_span(&f->out, span);
        base_buf_char(&f->out, '\n');
    }
    for (size_t i = 0; i < c->n; i++) {
        if (i && span > 0) {
            uint64_t gap =
                ((uint64_t)c->buckets[i].time - (uint64_t)c->buckets[i - 1].time) / (uint64_t)span;
            if (gap > GAP)
                base_buf_printf(&f->out, "%s %llu intervals without flows\n",
                                f->o.ascii ? "..." : "\u22ee", (unsigned long long)(gap - 1));
            for (uint64_t k = 1; k < gap && gap <= GAP; k++)
                put_line(f, c->buckets[i - 1].time + (int64_t)k * span, 0, most, width);
        }
        put_line(f, c->buckets[i].time, c->buckets[i].value, most, width);
        WEIR_TRY(query_format_flush(f, false, err));
    }
    if (!f->o.quiet)
        base_buf_char(&f->out, '\n');
    return WEIR_OK;
}

static void chart_free(query_format *f)
{
    struct chart *c = f->state;
    if (c)
        free(c->buckets);
    free(c);
}

static const struct query_format_kind chart_kind = {
    .block = chart_block, .end = chart_end, .free = chart_free, .people = true};

weir_status query_format_chart(query_format *f, weir_err *err)
{
    const char *by = f->o.chart_by ? f->o.chart_by : "bytes";
    size_t m = 0;
    while (m < ARRAY_LEN(measures) && strcasecmp(measures[m].name, by) != 0)
        m++;
    if (m == ARRAY_LEN(measures))
        return weir_err_set(err, WEIR_EFORMAT, 0,
                            "a chart by '%.30s': is not one of bytes, packets, flows, bps, pps",
                            by);
    const struct query_field *time = NULL;
    for (size_t i = 0; i < f->o.n_keys; i++)
        if (f->o.keys[i].what == QUERY_F_DERIVED && f->o.keys[i].id == QUERY_D_TIME_BUCKET)
            time = &f->o.keys[i];
    if (!time || f->o.n_keys != 1 || f->n_results != 1 || f->o.n_stats)
        return weir_err_set(
            err, WEIR_EFORMAT, 0,
            "a chart shows one counter over time: give --every SPAN, without -A and -s");
    struct chart *c = f->state = calloc(1, sizeof *c);
    f->kind = &chart_kind;
    if (!c)
        return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
    struct query_field value = query_field_derived((enum query_derived)measures[m].derived);
    c->time = *time;
    c->by = measures[m].name;
    c->factor = measures[m].factor;
    c->time_at = query_program_field(&f->results[0].program, time);
    c->value_at = query_program_field(&f->results[0].program, &value);
    return WEIR_OK;
}
