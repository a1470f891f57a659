/* Any text as a filter, a time window, an order, keys and a statistic. What is taken as a filter is the same tree when it
 * is printed and read again; what is refused has a place inside the text and words for it. */
#include "base/buf.h"
#include "query/filter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(bool right, const char *what)
{
    if (!right) {
        (void)fprintf(stderr, "%s\n", what);
        abort();
    }
}

static weir_status resolve(void *user, const char *name, struct query_prefix **out, size_t *n,
                           weir_err *err)
{
    static const struct query_prefix found = {.addr = {192, 0, 2, 1}, .family = 4, .bits = 32};
    (void)user;
    if (name[0] == 'x')
        return WEIR_ENOTFOUND;
    struct query_prefix *more = realloc(*out, (*n + 1) * sizeof *more);
    if (!more)
        return weir_err_set(err, WEIR_ENOMEM, 0, "out of memory");
    more[(*n)++] = found;
    *out = more;
    return WEIR_OK;
}

/* A file's text is its name, with = for blanks and / for @: it may include itself. */
static weir_status read_file(void *user, const char *path, char **text, size_t *len, weir_err *err)
{
    (void)user;
    (void)err;
    *len = strlen(path);
    *text = strdup(path);
    for (char *at = *text; *text && *at; at++)
        *at = *at == '=' ? ' ' : *at == '/' ? '@' : *at;
    return *text ? WEIR_OK : WEIR_ENOMEM;
}

static void filter(const char *text, size_t len)
{
    static const struct query_filter_options options = {.resolve = resolve, .read = read_file};
    query_arena *a = query_arena_new();
    struct query_expr *e, *again;
    struct query_error where;
    weir_err err = {.code = WEIR_OK};
    base_buf b = {0};
    check(a != NULL, "no memory");
    weir_status status = query_filter_parse(a, text, len, &options, &e, &where, &err);
    if (status == WEIR_OK) {
        query_expr_print(e, &b);
        check(!b.failed, "not printed");
        status = query_filter_parse(a, b.data, b.len, NULL, &again, &where, &err);
        /* What is printed may be longer than a filter can be. */
        check(status == WEIR_OK || status == WEIR_ELIMIT, "what was printed is refused");
        check(status != WEIR_OK || query_expr_same(e, again), "what was printed is another tree");
    } else {
        check(err.msg[0] && err.code == status, "an error without a message");
        check(where.column <= strlen(where.text) && where.len >= 1, "an error without a place");
        query_error_print(&where, &err, "filter", &b);
        check(b.len > 0 && b.len < 2000, "an error of many lines");
    }
    base_buf_done(&b);
    query_arena_free(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    /* In an allocation of its own, without a NUL. */
    char *text = malloc(len ? len : 1);
    check(text != NULL, "no memory");
    if (len)
        memcpy(text, data, len);
    filter(text, len);
    free(text);

    query_arena *a = query_arena_new();
    char *copy = malloc(len + 1);
    check(a && copy, "no memory");
    if (len)
        memcpy(copy, data, len);
    copy[len] = 0;
    weir_err err = {.code = WEIR_OK};
    int64_t from = 1, to = 0;
    struct query_order order;
    struct query_field *keys;
    struct query_stat stat;
    size_t n = 0;
    if (query_window_parse(copy, INT64_C(1700000000000000), &from, &to, &err) == WEIR_OK)
        check(from <= to, "a window that ends before it begins");
    else
        check(err.msg[0] != '\0', "an error without a message");
    if (query_keys_parse(a, copy, &keys, &n, &err) == WEIR_OK)
        check(n > 0 && keys[0].name, "no keys");
    if (query_order_parse(a, copy, &order, &err) == WEIR_OK)
        check(order.field.name != NULL, "no order");
    if (query_stat_parse(a, copy, &stat, &err) == WEIR_OK)
        check(stat.n_orders > 0 && (stat.record || stat.n_keys > 0), "an empty statistic");
    free(copy);
    query_arena_free(a);
    return 0;
}
