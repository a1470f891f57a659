/* Lines of a collector's file: the JSON scanner, the entries, the order and the pairing behind them. The input is
 * taken as the lines of a file, the second time through in both pairing modes. */
#include "analyze/connection.h"
#include "analyze/entry.h"
#include "analyze/order.h"
#include "analyze/report.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void analyse(const uint8_t *data, size_t size, enum pair_mode mode)
{
    struct entry_host anyone = {.family = 0};
    entry_parser *parser = entry_parser_new(mode == PAIR_5TUPLE, anyone);
    order *sorted = order_new(1 << 20, "/tmp", mode == PAIR_5TUPLE);
    pairing *pairs = pairing_new(mode, 1000, 1 << 20);
    base_buf text = {0};
    if (!parser || !sorted || !pairs)
        abort();
    while (size) {
        const uint8_t *nl = memchr(data, '\n', size);
        size_t len = nl ? (size_t)(nl - data) : size;
        /* In an allocation of its own: a step past the newline is seen. */
        char *line = malloc(len + 1);
        if (!line)
            abort();
        memcpy(line, data, len);
        line[len] = '\n';
        struct entry e;
        weir_err err = {0};
        weir_status st = entry_parse(parser, line, len, &e, &err);
        if (st == WEIR_OK && order_add(sorted, &e, &err) != WEIR_OK)
            abort();
        if (st != WEIR_OK && (st != WEIR_EFORMAT || err.at > len || !err.msg[0]))
            abort();
        free(line);
        data += len + (nl ? 1 : 0);
        size -= len + (nl ? 1 : 0);
    }
    struct order_item item;
    char before[ENTRY_KEY_MAX + 1] = "";
    while (order_next(sorted, &item, NULL) == WEIR_OK) {
        if (strcmp(before, item.key) > 0)
            abort();
        memcpy(before, item.key, sizeof before);
        double time;
        if (!entry_key_time(item.key, item.key_len, &time))
            abort();
        (void)report_second(time);
        for (size_t i = 0; i < item.n; i++) {
            struct flow peer;
            if (pairing_find(pairs, &item.flows[i], (int64_t)time * 1000, &peer) != WEIR_OK)
                continue;
            struct connection c = connection_of(&item.flows[i], &peer);
            (void)connection_packets(&c);
            base_buf_reset(&text);
            size_text(&text, c.src.octets);
            duration_text(&text, connection_duration_ms(&c));
            address_text(&text, c.src.src, c.src.family);
            if (c.src.octets < c.dest.octets || text.len > 128)
                abort();
        }
    }
    size_t n, n_starts;
    const struct flow **left = pairing_left(pairs, &n, &n_starts);
    if (n != pairing_waiting(pairs) || n_starts > n || (n && !n_starts))
        abort();
    free(left);
    base_buf_done(&text);
    pairing_free(pairs);
    order_free(sorted);
    entry_parser_free(parser);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    analyse(data, size, PAIR_START);
    analyse(data, size, PAIR_5TUPLE);
    return 0;
}
