/* thrift -- the Thrift compact protocol, as far as Parquet's metadata needs it. Reading is careful: past the end or at
 * a wrong type the reader is dead, yields zeros, and remembers why and where, so one check serves a struct. Writing
 * appends to a base_buf, whose `failed` serves likewise. Apache thrift-compact-protocol.md. */
#ifndef PARQUET_THRIFT_H
#define PARQUET_THRIFT_H

#include "base/buf.h"
#include "parquet/parquet.h"

enum thrift_type {
    THRIFT_STOP,
    THRIFT_TRUE, /* of a field: the bool itself; as type of a list's elements: bool */
    THRIFT_FALSE,
    THRIFT_I8,
    THRIFT_I16,
    THRIFT_I32,
    THRIFT_I64,
    THRIFT_DOUBLE,
    THRIFT_BINARY,
    THRIFT_LIST,
    THRIFT_SET,
    THRIFT_MAP,
    THRIFT_STRUCT,
    THRIFT_UUID
};

/* Structs inside structs that are followed; deeper ones are an error. */
#define THRIFT_MAX_DEPTH 64

struct thrift_rd {
    const uint8_t *p;
    size_t len, off;
    weir_status bad; /* WEIR_OK: alive; WEIR_ETRUNC, WEIR_EFORMAT, WEIR_ENOMEM, WEIR_ELIMIT: dead */
    size_t bad_off;  /* where */
    const char *why;
};

/* A field of the struct that is being read; start each struct with a zero one. */
struct thrift_field {
    int32_t id;
    uint8_t type;
};

static inline struct thrift_rd thrift_rd_of(const void *p, size_t len)
{
    return (struct thrift_rd){.p = p, .len = len, .why = ""};
}

/* Make r dead, unless it is. */
void thrift_fail(struct thrift_rd *r, weir_status bad, const char *why);
/* Its error, with `at` the offset of r->p in the file and `what` the struct's name. WEIR_OK while alive. */
weir_status thrift_status(const struct thrift_rd *r, uint64_t at, const char *what, weir_err *err);

/* The header of the next field; false: the struct ended, or r is dead. */
bool thrift_next(struct thrift_rd *r, struct thrift_field *f);
/* The value of the field whose header was just read; another type than asked for kills r. */
int64_t thrift_int(struct thrift_rd *r, const struct thrift_field *f); /* i8 to i64 */
int32_t thrift_i32(struct thrift_rd *r, const struct thrift_field *f); /* ... outside i32: dead */
int64_t thrift_natural(struct thrift_rd *r, const struct thrift_field *f); /* ... below 0: dead */
int32_t thrift_natural32(struct thrift_rd *r,
                         const struct thrift_field *f); /* ... or outside i32 */
bool thrift_bool(struct thrift_rd *r, const struct thrift_field *f);
struct parquet_bytes thrift_bytes(struct thrift_rd *r,
                                  const struct thrift_field *f); /* data never NULL when alive */
/* Begin a list of elements of `type`, each of at least min_octets: their number, 0 when dead. The elements follow, read
 * with the functions for elements below. */
size_t thrift_list(struct thrift_rd *r, const struct thrift_field *f, enum thrift_type type,
                   size_t min_octets);
/* That the field is a struct, whose fields follow; false: dead. */
bool thrift_struct(struct thrift_rd *r, const struct thrift_field *f);
void thrift_skip(struct thrift_rd *r, const struct thrift_field *f);

int64_t thrift_item_int(struct thrift_rd *r);
bool thrift_item_bool(struct thrift_rd *r);
struct parquet_bytes thrift_item_bytes(struct thrift_rd *r);

/* Writing one struct: fields by rising id, then thrift_end. */
struct thrift_wr {
    base_buf *b;
    int last; /* id of the field before */
};

static inline struct thrift_wr thrift_wr_of(base_buf *b)
{
    return (struct thrift_wr){b, 0};
}

void thrift_put_header(struct thrift_wr *w, int id, enum thrift_type type);
void thrift_put_i8(struct thrift_wr *w, int id, int8_t v);
void thrift_put_i16(struct thrift_wr *w, int id, int16_t v);
void thrift_put_i32(struct thrift_wr *w, int id, int32_t v);
void thrift_put_i64(struct thrift_wr *w, int id, int64_t v);
void thrift_put_bool(struct thrift_wr *w, int id, bool v);
void thrift_put_bytes(struct thrift_wr *w, int id, const void *p, size_t len);
void thrift_put_list(struct thrift_wr *w, int id, enum thrift_type type, size_t n);
/* A struct inside w: write its fields to the result, then thrift_end it. */
struct thrift_wr thrift_put_struct(struct thrift_wr *w, int id);
void thrift_put_empty(struct thrift_wr *w, int id); /* a struct without fields */
void thrift_end(struct thrift_wr *w);

/* Elements of lists. */
void thrift_add_varint(base_buf *b, uint64_t v);
void thrift_add_int(base_buf *b, int64_t v);
void thrift_add_bool(base_buf *b, bool v);
void thrift_add_bytes(base_buf *b, const void *p, size_t len);

#endif
