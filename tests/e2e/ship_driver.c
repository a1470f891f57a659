/* ship_driver -- rows made up from their numbers, put to a destination as `weir ship` would: for tests of what an archive cannot
 * easily bring about (rows that come again cut elsewhere, odd names of columns, values that do not fit) and for measuring.
 *
 *     ship_driver URL [create] [set=NAME=VALUE] [table=flows|ledger] [file=NAME] [from=N] [to=N] [cut=N] [every=N]
 *                 [extra=NAME:KIND]... [tries=N]
 *
 * Prints "done PUTS puts ROWS rows SECONDS s", or "failed STATUS: text" and ends with 1. */
#include "ship/destination.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CUT = 16384, ADDRESSES = 4096, EXTRAS = 16, SETTINGS = 32, WAIT_MS = 500 };

static struct ship_destination_options options;
static struct ship_setting settings[SETTINGS];
static struct query_field extras[EXTRAS];
static size_t n_extras;
static struct query_text addresses[ADDRESSES];
static uint64_t *memory[512];
static size_t n_memory;

static void says(void *user, const char *text)
{
    (void)user;
    (void)printf("said %s\n", text);
}

static uint64_t *numbers(size_t n)
{
    uint64_t *p = calloc(n + 2, sizeof *p);
    if (!p || n_memory == sizeof memory / sizeof *memory)
        abort();
    return memory[n_memory++] = p;
}

static void forget(void)
{
    while (n_memory)
        free(memory[--n_memory]);
}

static void make_addresses(void)
{
    static char text[ADDRESSES][48];
    for (unsigned i = 0; i < ADDRESSES; i++) {
        int n = snprintf(text[i], sizeof text[i], i % 4 == 3 ? "2001:db8::%x" : "10.%u.%u.%u",
                         i % 4 == 3 ? i : i >> 8, i & 255, i % 7);
        addresses[i] = (struct query_text){text[i], (uint32_t)n};
    }
}

/* A column by its name, rows [from, from + n) of every so many. */
static struct query_vec column(const struct query_field *f, uint64_t from, size_t n, uint64_t every)
{
    static const struct query_text words[] = {{"header", 6}, {"it's `odd`\\\n", 12}, {"", 0}};
    struct query_vec v = {.kind = f->kind};
    uint64_t *num = numbers(n);
    v.num = num;
    const char *name = f->name;
    bool is = true;
#define IS(text) (strcmp(name, text) == 0)
    for (size_t i = 0; i < n && is; i++) {
        uint64_t row = from + i * every;
        if (IS("received") || IS("last") || IS("minute"))
            num[i] = UINT64_C(1795300000000000) + row * 100;
        else if (IS("first"))
            num[i] = UINT64_C(1795300000000000) + row * 100 - 5000000;
        else if (IS("bytes") || IS("octets"))
            num[i] = row * 3;
        else if (IS("packets") || IS("protocol_version"))
            num[i] = row % 10 + 1;
        else if (IS("src_port") || IS("dst_port"))
            num[i] = row % 65536;
        else if (IS("proto"))
            num[i] = row % 3 ? 6 : 17;
        else if (IS("tcp_flags") || IS("in_if") || IS("out_if") || IS("src_as") || IS("dst_as") ||
                 IS("domain") || IS("template_id") || IS("tos"))
            num[i] = row % 200;
        else
            is = false;
    }
    if (IS("minute") || IS("first") || IS("last"))
        v.kind = QUERY_TIME;
    if (IS("sampling_rate")) { /* every second row has none */
        uint64_t *valid = numbers(n / 64 + 1);
        for (size_t i = 0; i < n; i++) {
            double rate = (double)((from + i * every) % 100);
            if ((from + i * every) % 2)
                continue;
            valid[i >> 6] |= UINT64_C(1) << (i & 63);
            memcpy(&num[i], &rate, sizeof rate);
        }
        v.valid = valid;
        return v;
    }
    if (IS("exporter") || IS("src_addr") || IS("dst_addr")) {
        uint32_t *codes = (uint32_t *)numbers(n);
        unsigned among = IS("exporter") ? 4 : ADDRESSES;
        for (size_t i = 0; i < n; i++)
            codes[i] = (uint32_t)((from + i * every) * (IS("src_addr") ? 1 : 7) % among);
        return (struct query_vec){
            .kind = QUERY_TEXT, .codes = codes, .dict = addresses, .n_dict = ADDRESSES};
    }
    if (IS("sampling_source") || (f->what == QUERY_F_EXTRA && f->kind == QUERY_TEXT)) {
        uint32_t *codes = (uint32_t *)numbers(n);
        for (size_t i = 0; i < n; i++)
            codes[i] = (uint32_t)((from + i * every) % 3);
        return (struct query_vec){.kind = QUERY_TEXT, .codes = codes, .dict = words, .n_dict = 3};
    }
    if (IS("mpls_labels") || f->kind == QUERY_U64_LIST) { /* 0, 1 or 2 of them */
        uint32_t *starts = (uint32_t *)numbers(n);
        uint64_t *items = numbers(2 * n);
        for (size_t i = 0; i < n; i++) {
            uint64_t row = from + i * every;
            starts[i + 1] = starts[i] + (uint32_t)(row % 3);
            for (uint32_t k = starts[i]; k < starts[i + 1]; k++)
                items[k] = row % 200 + (k - starts[i]);
        }
        return (struct query_vec){.kind = QUERY_U64_LIST, .num = items, .starts = starts};
    }
    if (is)
        v.kind = v.kind == QUERY_UNKNOWN ? QUERY_U64 : v.kind;
    else if (f->what == QUERY_F_EXTRA && f->kind != QUERY_UNKNOWN) /* the row's number */
        for (size_t i = 0; i < n; i++)
            num[i] = f->kind == QUERY_BOOL ? (from + i * every) % 2 : from + i * every;
    else
        v = (struct query_vec){.kind = QUERY_UNKNOWN};
    return v;
}

static void add_extra(char *text)
{
    static const char *const kinds[] = {"u64",  "s64",    "f64",     "bool", "time",
                                        "text", "octets", "u64list", NULL};
    char *colon = strrchr(text, ':');
    for (uint8_t k = 0; colon && kinds[k]; k++)
        if (strcmp(kinds[k], colon + 1) == 0 && n_extras < EXTRAS) {
            *colon = '\0';
            extras[n_extras++] =
                (struct query_field){.what = QUERY_F_EXTRA, .id = -1, .name = text, .kind = k};
            return;
        }
    (void)fprintf(stderr, "ship_driver: extra=NAME:KIND\n");
    exit(2);
}

static int failed(weir_status s, const weir_err *err)
{
    (void)printf("failed %d: %s\n", (int)s, err->msg);
    return 1;
}

static double now_s(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    const char *file = "20261122T210000Z-w0-000001";
    enum flow_table table = FLOW_TABLE_FLOWS;
    uint64_t from = 0, to = 1000, cut = CUT, every = 1;
    weir_err err = {0};
    if (argc < 2)
        return 2;
    options.url = argv[1];
    options.settings = settings;
    options.log = says;
    for (int i = 2; i < argc; i++) {
        char *value = strchr(argv[i], '=');
        if (strcmp(argv[i], "create") == 0) {
            options.create = true;
            continue;
        }
        if (!value)
            return 2;
        *value++ = '\0';
        if (strcmp(argv[i], "set") == 0 && options.n_settings < SETTINGS) {
            char *equals = strchr(value, '=');
            if (!equals)
                return 2;
            *equals = '\0';
            settings[options.n_settings++] = (struct ship_setting){value, equals + 1};
        } else if (strcmp(argv[i], "table") == 0) {
            table = strcmp(value, "ledger") == 0 ? FLOW_TABLE_LEDGER : FLOW_TABLE_FLOWS;
        } else if (strcmp(argv[i], "file") == 0) {
            file = value;
        } else if (strcmp(argv[i], "extra") == 0) {
            add_extra(value);
        } else {
            uint64_t n = strtoull(value, NULL, 10);
            *(strcmp(argv[i], "from") == 0  ? &from
              : strcmp(argv[i], "to") == 0  ? &to
              : strcmp(argv[i], "cut") == 0 ? &cut
                                            : &every) = n ? n : 1;
            if (strcmp(argv[i], "from") == 0)
                from = n;
        }
    }
    make_addresses();
    const struct ship_destination_ops *ops = ship_destination_find(options.url, &err);
    ship_destination *d = NULL;
    const struct query_field *fields;
    size_t n_fields;
    weir_status s = ops ? ops->open(&options, &d, &err) : WEIR_EINVAL;
    if (s == WEIR_OK)
        s = ops->fields(d, table, extras, n_extras, &fields, &n_fields, &err);
    if (s != WEIR_OK)
        return failed(s, &err);
    struct query_vec *vecs = calloc(n_fields + 1, sizeof *vecs);
    uint32_t *at = calloc(cut + 1, sizeof *at);
    if (!vecs || !at)
        return 2;
    uint64_t puts = 0, done = 0, rows = 0;
    double spent = 0, began = now_s();
    for (uint64_t row = from; row < to && s == WEIR_OK; row += cut, puts++) {
        uint64_t end = row + cut < to ? row + cut : to, first = row + (every - row % every) % every;
        size_t n = first < end ? (size_t)((end - first + every - 1) / every) : 0;
        double t = now_s();
        for (size_t i = 0; i < n_fields; i++)
            vecs[i] = column(&fields[i], first, n, every);
        for (size_t i = 0; i < n; i++)
            at[i] = (uint32_t)(first + i * every - row);
        spent += now_s() - t;
        const struct ship_rows r = {.table = table,
                                    .file = file,
                                    .from = row,
                                    .to = end,
                                    .fields = fields,
                                    .n_fields = n_fields,
                                    .block = {.n = n, .vecs = vecs},
                                    .at = n == end - row ? NULL : at};
        s = ops->put(d, &r, &err);
        rows += n;
        if (s == WEIR_OK)
            s = ops->done(d, 0, &done, &err);
        t = now_s();
        forget();
        spent += now_s() - t;
    }
    while (s == WEIR_OK && done < puts)
        s = ops->done(d, WAIT_MS, &done, &err);
    double seconds = now_s() - began - spent;
    ops->close(d);
    free(vecs);
    free(at);
    if (s != WEIR_OK)
        return failed(s, &err);
    (void)printf("done %" PRIu64 " puts %" PRIu64 " rows %.3f s\n", done, rows, seconds);
    return 0;
}
