/* rowbinary -- rows of a block as ClickHouse's RowBinary: one row behind the other, no separators, little-endian. Nothing here
 * does I/O. https://clickhouse.com/docs/interfaces/formats/RowBinary */
#ifndef SHIP_ROWBINARY_H
#define SHIP_ROWBINARY_H

#include "base/buf.h"
#include "query/run.h"

/* What values of a column are on the wire; LowCardinality(T) is as T. */
enum ship_rowbinary_form {
    SHIP_ROWBINARY_UINT,
    SHIP_ROWBINARY_INT,
    SHIP_ROWBINARY_BOOL,
    SHIP_ROWBINARY_FLOAT,
    SHIP_ROWBINARY_STRING,
    SHIP_ROWBINARY_FIXED,   /* FixedString(octets): text filled up with NULs */
    SHIP_ROWBINARY_IPV4,    /* an address as UInt32 */
    SHIP_ROWBINARY_IPV6,    /* an address as 16 octets, IPv4 as ::ffff:a.b.c.d */
    SHIP_ROWBINARY_SECONDS, /* DateTime: UInt32 */
    SHIP_ROWBINARY_TICKS,   /* DateTime64(precision): Int64 */
    SHIP_ROWBINARY_N_FORMS
};

struct ship_rowbinary_type {
    uint8_t form;      /* of the items of a list */
    uint8_t precision; /* of TICKS: digits of a second */
    bool nullable, list;
    uint32_t octets; /* of a value; 0: STRING */
};

/* "LowCardinality(Nullable(String))", "DateTime64(6, 'UTC')", "Array(UInt32)", ...; false: a type that is not written here. */
bool ship_rowbinary_type_parse(const char *text, struct ship_rowbinary_type *out);
/* Whether values of an enum query_kind can be of that type, so long as each of them fits. */
bool ship_rowbinary_takes(const struct ship_rowbinary_type *t, uint8_t kind);

struct ship_rowbinary_column {
    const char *name, *type_text; /* for messages */
    struct ship_rowbinary_type type;
    bool address;         /* text is that of an address: FixedString(16) takes it as IPv6 does */
    struct query_vec vec; /* kind QUERY_UNKNOWN: null in all rows */
};

typedef struct ship_rowbinary ship_rowbinary; /* its memory for one call after the other */
ship_rowbinary *ship_rowbinary_new(void);     /* NULL: out of memory */
void ship_rowbinary_free(ship_rowbinary *r);  /* takes NULL */

/* Rows [from, to) of n_columns, appended to out. Null in a column that is not Nullable is 0, an empty text, an empty list.
 * WEIR_EINVAL: a value does not fit its column (err names both); out is then as it was. WEIR_ENOMEM. */
weir_status ship_rowbinary_rows(ship_rowbinary *r, const struct ship_rowbinary_column *columns,
                                size_t n_columns, size_t from, size_t to, base_buf *out,
                                weir_err *err);

/* A length or a number in 7-bit groups, the lowest first. */
void ship_rowbinary_varint(base_buf *b, uint64_t v);

#endif
