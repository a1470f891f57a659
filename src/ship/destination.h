/* destination -- where rows go: a broker, a database, a file, a command. One file each, all behind this. */
#ifndef SHIP_DESTINATION_H
#define SHIP_DESTINATION_H

#include "base/buf.h"
#include "query/run.h"

/* Some rows of one file of the archive. The same rows may come again (after a failure, after a restart), then always with the same
 * file and numbers, but perhaps cut elsewhere. */
struct ship_rows {
    enum flow_table table; /* FLOW_TABLE_FLOWS or FLOW_TABLE_LEDGER */
    const char *file;      /* its name without suffix, which no other file of any time has */
    uint64_t from, to;     /* rows [from, to) of it were looked at */
    const struct query_field *fields; /* n_fields columns of the block, as `fields` asked for */
    size_t n_fields;
    struct query_block block; /* those that the filter leaves; n may be 0 */
    const uint32_t *
        at; /* block row i is row from + at[i] of the file; NULL: from + i, as all of [from, to) are there */
};

/* One name=value of a destination's settings, "--set name=value". */
struct ship_setting {
    const char *name, *value;
};

struct ship_destination_options {
    const char *
        url; /* as given: "kafka://broker:9092/topic", "clickhouse://host:8123/db", "file:flows.ndjson", "command:..." */
    const char *format;                  /* of the messages, NULL: the destination's default */
    const struct ship_setting *settings; /* n_settings */
    size_t n_settings;
    const char *
        archive; /* id of the archive, 16 hex digits: what tells its files from those of others; NULL: none */
    bool create;              /* make the table, the topic, ... when it is missing */
    bool (*stop)(void *user); /* asked while it waits; true: come back soon with WEIR_END */
    void (*log)(void *user, const char *text); /* what the operator should know */
    void *user;
};

typedef struct ship_destination ship_destination;

/* What a kind of destination can do. Used by one thread at a time. */
struct ship_destination_ops {
    const char *scheme, *help;        /* "kafka", one line */
    const char *const *settings_help; /* pairs of name and help, ends with NULL */

    /* Look at the settings, connect to nobody. WEIR_EINVAL: err says which setting is wrong and what is right. */
    weir_status (*open)(const struct ship_destination_options *o, ship_destination **out,
                        weir_err *err);
    /* The columns it wants of a table, when files have these extra columns (n_extras of them); n 0: it takes nothing of that
     * table. Borrowed until the next call of this. */
    weir_status (*fields)(ship_destination *d, enum flow_table table,
                          const struct query_field *extras, size_t n_extras,
                          const struct query_field **fields, size_t *n, weir_err *err);
    /* Take these rows; all that is borrowed is so until it returns. WEIR_OK: taken, and done when `done` says so.
     * WEIR_EIO: it cannot be reached or refuses at this time; all that is not done will come again, as after open, from the first
     * row that is not done on. WEIR_EINVAL, WEIR_EFORMAT: it will never take them (no such table, not allowed, ...): the
     * operator must do something; it is tried again, slowly. WEIR_END: stop said so. */
    weir_status (*put)(ship_destination *d, const struct ship_rows *rows, weir_err *err);
    /* How many of the puts since open, or since put or done last failed, are done for good, in their order: the first *done of
     * them. Waits at most wait_ms for one more; 0: not at all. Same statuses as put. */
    weir_status (*done)(ship_destination *d, int wait_ms, uint64_t *done, weir_err *err);
    void (*close)(
        ship_destination *d); /* takes NULL; what is not done is dropped: it comes again */
};

/* All kinds; ends with NULL. */
const struct ship_destination_ops *const *ship_destinations(void);
/* By the url's scheme; NULL: err says which there are. */
const struct ship_destination_ops *ship_destination_find(const char *url, weir_err *err);

/* A setting's value, NULL: not given. */
const char *ship_setting_find(const struct ship_destination_options *o, const char *name);
/* WEIR_EINVAL: a setting that none of names (as settings_help) is. */
weir_status ship_settings_known(const struct ship_destination_options *o,
                                const char *const *settings_help, weir_err *err);

/* kind://[user[:password]@]host[:port][/path][?name=value[&...]]; parts with %XX decoded. */
struct ship_url {
    char *scheme, *user, *password, *host, *port,
        *path;              /* NULL: not there; path without its slash */
    char **names, **values; /* n of the query */
    size_t n;
};
weir_status ship_url_parse(const char *text, struct ship_url *out, weir_err *err);
void ship_url_done(struct ship_url *u);

#endif
