/* ledger_rows -- rows of the ledger for tests: a key, then columns and whole numbers in pairs, ended by LEDGER_END. */
#ifndef TESTS_LEDGER_ROWS_H
#define TESTS_LEDGER_ROWS_H

#include "flow/batch.h"
#include "ledger/ledger.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#define LEDGER_END (-1)
#define LEDGER_START (INT64_C(1795381200) * 1000000) /* 2026-11-22T21:00:00Z, microseconds */
#define LEDGER_MINUTE (INT64_C(60) * 1000000)

/* Minute number `minute` behind LEDGER_START. exporter NULL: the collector's; domain, version below 0: null. */
static inline bool ledger_add(flow_batch *b, int minute, unsigned worker, const char *exporter,
                              int64_t domain, int version, ...)
{
    uint32_t row = flow_batch_add_rows(b, 1);
    uint8_t addr[16];
    bool v6 = exporter && strchr(exporter, ':');
    bool good =
        row != UINT32_MAX &&
        flow_batch_set_u64(b, FLOW_LEDGER_minute, row,
                           (uint64_t)(LEDGER_START + minute * LEDGER_MINUTE)) &&
        flow_batch_set_u64(b, FLOW_LEDGER_worker, row, worker) &&
        (!exporter || (inet_pton(v6 ? AF_INET6 : AF_INET, exporter, addr) == 1 &&
                       flow_batch_set_key(b, FLOW_LEDGER_exporter, row, addr, v6 ? 16 : 4))) &&
        (domain < 0 || flow_batch_set_u64(b, FLOW_LEDGER_domain, row, (uint64_t)domain)) &&
        (version < 0 ||
         flow_batch_set_u64(b, FLOW_LEDGER_protocol_version, row, (uint64_t)version));
    va_list list;
    va_start(list, version);
    for (int column; good && (column = va_arg(list, int)) != LEDGER_END;) {
        int64_t v = va_arg(list, int64_t);
        good = column == FLOW_LEDGER_sampling_rate
                   ? flow_batch_set_f64(b, (uint32_t)column, row, (double)v)
                   : flow_batch_set_u64(b, (uint32_t)column, row, (uint64_t)v);
    }
    va_end(list);
    return good;
}

#define LEDGER(name, v) (int)FLOW_LEDGER_##name, (int64_t)(v)

#endif
