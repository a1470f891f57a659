/* parquet -- what a column of a Parquet file is, and how a column's values stand in memory, on their way in
 * (writer.h) and on their way out (reader.h). Flat schemas and lists of primitives. Apache parquet-format 2.x. */
#ifndef PARQUET_PARQUET_H
#define PARQUET_PARQUET_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Physical types, codecs and encodings, numbered as in the format. */
enum parquet_type {
    PARQUET_BOOLEAN,
    PARQUET_INT32,
    PARQUET_INT64,
    PARQUET_INT96, /* read only: an old timestamp */
    PARQUET_FLOAT,
    PARQUET_DOUBLE,
    PARQUET_BYTE_ARRAY,
    PARQUET_FIXED
};

enum parquet_codec {
    PARQUET_NONE,
    PARQUET_SNAPPY, /* read only */
    PARQUET_GZIP,   /* read only */
    PARQUET_ZSTD = 6,
    PARQUET_LZ4_RAW = 7
};

enum parquet_encoding {
    PARQUET_PLAIN = 0,
    PARQUET_PLAIN_DICTIONARY = 2, /* read only */
    PARQUET_RLE = 3,
    PARQUET_BIT_PACKED = 4, /* read only, levels */
    PARQUET_DELTA_BINARY_PACKED = 5,
    PARQUET_DELTA_LENGTH_BYTE_ARRAY = 6,
    PARQUET_DELTA_BYTE_ARRAY = 7, /* read only */
    PARQUET_RLE_DICTIONARY = 8,
    PARQUET_BYTE_STREAM_SPLIT = 9 /* read only */
};

/* What the values mean. */
enum parquet_logical {
    PARQUET_L_NONE,
    PARQUET_L_STRING, /* UTF-8 */
    PARQUET_L_JSON,
    PARQUET_L_ENUM,
    PARQUET_L_BSON,
    PARQUET_L_UUID,
    PARQUET_L_INT8, /* of INT32, as the five that follow */
    PARQUET_L_INT16,
    PARQUET_L_INT32,
    PARQUET_L_UINT8,
    PARQUET_L_UINT16,
    PARQUET_L_UINT32,
    PARQUET_L_INT64,
    PARQUET_L_UINT64,
    PARQUET_L_TIMESTAMP_MS, /* since 1970, INT64; utc says whether UTC or local */
    PARQUET_L_TIMESTAMP_US,
    PARQUET_L_TIMESTAMP_NS,
    PARQUET_L_DATE, /* days since 1970, INT32 */
    PARQUET_L_TIME_MS,
    PARQUET_L_TIME_US,
    PARQUET_L_TIME_NS,
    PARQUET_L_DECIMAL,
    PARQUET_L_FLOAT16,
    PARQUET_L_INTERVAL,
    PARQUET_L_OTHER /* one that this code does not know: values are still readable */
};

struct parquet_column {
    const char *name;
    uint8_t type;             /* enum parquet_type */
    uint8_t logical;          /* enum parquet_logical */
    bool optional;            /* rows may be null */
    bool list;                /* each row is a list of these (three-level LIST) */
    bool item_optional;       /* of a list: its items may be null; false in what we write */
    bool utc;                 /* of a timestamp or time */
    bool unsigned_order;      /* compares as unsigned (UINT_*) */
    uint8_t scale, precision; /* of a decimal */
    uint32_t type_length;     /* octets of a FIXED value */
};

struct parquet_schema {
    const struct parquet_column *columns; /* n of them, in order */
    size_t n;
};

/* A run of octets, borrowed. */
struct parquet_bytes {
    const uint8_t *data;
    uint32_t len;
};

/* The values of one column for n rows.
 *
 *   rows     "a"  null  "b"  "a"              n 4
 *   valid    1 0 1 1  -> bits 0b1101          NULL: every row has a value
 *   codes    0  ?  1  0                       with dict {"a", "b"};   or
 *   values   one slot a row, null rows' slots hold anything
 *
 * Slots of `values`: BOOLEAN uint8_t 0/1; INT32 and INT64 `width` octets (1, 2, 4, 8; widened by the column's
 * signedness: unsigned_order); FLOAT float; DOUBLE double; BYTE_ARRAY and FIXED struct parquet_bytes.
 * A list column has n + 1 `starts`: row i's items are slots starts[i] .. starts[i + 1] of values or codes; valid stays
 * one bit a row (a null list). Items that are null come only from files of others: item_valid, one bit a slot, says
 * which have values; NULL: all, as in what we write. */
struct parquet_data {
    size_t n;              /* rows */
    const uint64_t *valid; /* n bits, least significant first */
    const void *values;
    const uint32_t *codes; /* instead of values */
    const struct parquet_bytes
        *dict; /* dict[n_dict], each used or not, all different: BYTE_ARRAY or FIXED */
    uint32_t n_dict;
    uint8_t width;
    const uint32_t *starts;
    const uint64_t *item_valid;
};

static inline bool parquet_bit(const uint64_t *bits, size_t i)
{
    return bits[i >> 6] >> (i & 63) & 1;
}

#endif
