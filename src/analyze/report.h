/* report -- connections as lines for people (the columns of netflow.analyzer) or as JSON lines for machines. Lines
 * come out in the order in which connections went in; host names are looked up for many at a time. */
#ifndef ANALYZE_REPORT_H
#define ANALYZE_REPORT_H

#include "analyze/connection.h"
#include "analyze/names.h"

#include <stdio.h>

typedef struct report report;

/* names: NULL for none, addresses stand in their place. out, names and services stay the caller's. NULL: out of
 * memory. */
report *report_new(FILE *out, bool json, names *hosts, const services *ports);
void report_free(report *r);

/* time: arrival of the later packet, seconds since 1970. WEIR_EIO out cannot be written; WEIR_ENOMEM. */
weir_status report_connection(report *r, double time, const struct connection *c, weir_err *err);

/* What netflow.analyzer says after the connections: how many had less than threshold packets, and with verbose
 * the flows that are left. Text only. */
weir_status report_end(report *r, uint64_t skipped, uint64_t threshold, bool verbose,
                       const pairing *left, weir_err *err);

/* The second that Python's datetime.fromtimestamp() names: rounded to microseconds, half to even, then cut. */
int64_t report_second(double time);

#endif
