/* source -- the octets of a file, of stdin or of memory, in order, decompressed on the way (gzip, bzip2, told
 * by their first octets as RFC 5655 section 10.1 asks, never by name). Streaming: a fixed window, no temporary
 * files, never the whole input in memory. */
#ifndef COLLECT_SOURCE_H
#define COLLECT_SOURCE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <weir/status.h>

typedef struct source source;

enum { SOURCE_PEEK_MAX = 128 * 1024 }; /* most octets that source_peek can show at once */

/* path "-" is stdin, which is not closed. WEIR_EIO cannot be opened; WEIR_ENOMEM. */
weir_status source_open(const char *path, source **out, weir_err *err);

/* Over data[len], borrowed until source_close. name: for messages, copied. WEIR_ENOMEM. */
weir_status source_open_memory(const char *name, const void *data, size_t len, source **out,
                               weir_err *err);
void source_close(source *s); /* takes NULL */

/* What messages call it: the path, "stdin" for "-"; a long one is cut at its front. */
const char *source_name(const source *s);

/* Show what comes next without taking it: at least n <= SOURCE_PEEK_MAX octets unless the input ends or fails
 * before. *p is borrowed until the next call. Returns how many octets are at *p, which may be more than n. */
size_t source_peek(source *s, size_t n, const uint8_t **p);

/* Take n octets that were shown. */
void source_skip(source *s, size_t n);

/* Octets taken so far: the offset, after decompression, of the next one. */
uint64_t source_offset(const source *s);

/* WEIR_OK while nothing failed, also at the end; WEIR_EIO reading failed; WEIR_EFORMAT, WEIR_ETRUNC the
 * compressed data are broken or end early. What came before the failure is still shown first. */
weir_status source_status(const source *s, weir_err *err);

/* The rest of the input as a stdio stream, for libpcap; ftello tells the offset from the start of the input.
 * The stream does not own s, which must outlive it. NULL: out of memory. */
FILE *source_stream(source *s);

#endif
