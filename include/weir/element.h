/* element -- Information Elements: what a field of a record means and how its octets are read.
 *
 * Three id spaces: IPFIX (RFC 7012: enterprise number and id), NetFlow v9 field types (RFC 3954:
 * plain numbers up to 65535) and NetFlow v9 scope types. Built-in rows come from registry/ TSV files
 * and are static; a weir_elements adds a user's rows on top of them. Thread-safe once loaded. */
#ifndef WEIR_ELEMENT_H
#define WEIR_ELEMENT_H

#include <stddef.h>
#include <stdint.h>
#include <weir/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Abstract data types, numbered as in the IANA registry (RFC 7012 section 3.1; lists RFC 6313;
 * unsigned256 RFC 9740). */
#define WEIR_TYPE_MAP(X)                                                                           \
    X(OCTET_ARRAY, "octetArray", 0)                                                                \
    X(UNSIGNED8, "unsigned8", 1)                                                                   \
    X(UNSIGNED16, "unsigned16", 2)                                                                 \
    X(UNSIGNED32, "unsigned32", 4)                                                                 \
    X(UNSIGNED64, "unsigned64", 8)                                                                 \
    X(SIGNED8, "signed8", 1)                                                                       \
    X(SIGNED16, "signed16", 2)                                                                     \
    X(SIGNED32, "signed32", 4)                                                                     \
    X(SIGNED64, "signed64", 8)                                                                     \
    X(FLOAT32, "float32", 4)                                                                       \
    X(FLOAT64, "float64", 8)                                                                       \
    X(BOOLEAN, "boolean", 1)                                                                       \
    X(MAC_ADDRESS, "macAddress", 6)                                                                \
    X(STRING, "string", 0)                                                                         \
    X(DATE_TIME_SECONDS, "dateTimeSeconds", 4)                                                     \
    X(DATE_TIME_MILLISECONDS, "dateTimeMilliseconds", 8)                                           \
    X(DATE_TIME_MICROSECONDS, "dateTimeMicroseconds", 8)                                           \
    X(DATE_TIME_NANOSECONDS, "dateTimeNanoseconds", 8)                                             \
    X(IPV4_ADDRESS, "ipv4Address", 4)                                                              \
    X(IPV6_ADDRESS, "ipv6Address", 16)                                                             \
    X(BASIC_LIST, "basicList", 0)                                                                  \
    X(SUB_TEMPLATE_LIST, "subTemplateList", 0)                                                     \
    X(SUB_TEMPLATE_MULTI_LIST, "subTemplateMultiList", 0)                                          \
    X(UNSIGNED256, "unsigned256", 32)

typedef enum weir_type {
#define X(name, text, octets) WEIR_TYPE_##name,
    WEIR_TYPE_MAP(X)
#undef X
        WEIR_N_TYPES
} weir_type;

/* Semantics, numbered as in the IANA registry (RFC 7012 section 3.2). */
#define WEIR_SEMANTICS_MAP(X)                                                                      \
    X(DEFAULT, "default")                                                                          \
    X(QUANTITY, "quantity")                                                                        \
    X(TOTAL_COUNTER, "totalCounter")                                                               \
    X(DELTA_COUNTER, "deltaCounter")                                                               \
    X(IDENTIFIER, "identifier")                                                                    \
    X(FLAGS, "flags")                                                                              \
    X(LIST, "list")                                                                                \
    X(SNMP_COUNTER, "snmpCounter")                                                                 \
    X(SNMP_GAUGE, "snmpGauge")

typedef enum weir_semantics {
#define X(name, text) WEIR_SEMANTICS_##name,
    WEIR_SEMANTICS_MAP(X)
#undef X
        WEIR_N_SEMANTICS
} weir_semantics;

enum {
    WEIR_ELEMENT_REVERSE = 1,    /* reverse direction of a biflow (RFC 5103) */
    WEIR_ELEMENT_UNKNOWN = 2,    /* in no registry: octets under the name e<pen>id<id> */
    WEIR_ELEMENT_V9 = 4,         /* id is a NetFlow v9 field type */
    WEIR_ELEMENT_SCOPE = 8,      /* id is a NetFlow v9 scope type (RFC 3954 section 6.1) */
    WEIR_ELEMENT_REVERSIBLE = 16 /* has a reverse form under PEN 29305 */
};

enum { WEIR_PEN_REVERSE = 29305, WEIR_PEN_CERT = 6871 };

typedef struct weir_element {
    const char *name;    /* registry name, "octetDeltaCount"; never NULL */
    const char *v9_name; /* NetFlow v9 spelling, "IN_BYTES", or NULL */
    const char *units;   /* "octets", "packets", ... or "" */
    uint32_t pen;        /* private enterprise number, 0: IANA (or NetFlow v9) */
    uint16_t id;         /* without the enterprise bit */
    uint8_t type;        /* weir_type */
    uint8_t semantics;   /* weir_semantics */
    uint8_t flags;       /* WEIR_ELEMENT_* */
} weir_element;

/* Which numbering an id belongs to. */
typedef enum weir_space { WEIR_SPACE_IPFIX, WEIR_SPACE_V9, WEIR_SPACE_V9_SCOPE } weir_space;

/* Built-in rows plus a user's. Created once, read by any thread after that. */
typedef struct weir_elements weir_elements;

/* A registry with the built-in rows alone; NULL: out of memory. Free with weir_elements_free. */
WEIR_API weir_elements *weir_elements_new(void);
WEIR_API void weir_elements_free(weir_elements *r);

/* Add or override rows from a tab-separated file with the header line of registry/ipfix-elements.tsv or
 * registry/enterprise-elements.tsv (columns are found by name: pen, id, name, abstract_data_type are
 * required, semantics and units optional; pen "v9" adds a NetFlow v9 field type).
 * A row of a later file overrides the same row of an earlier one. The full rules are in registry/README.md.
 * WEIR_EIO cannot be read; WEIR_EFORMAT a bad line, err names it and err->at is its number; WEIR_ELIMIT
 * longer than 16 MiB; WEIR_ENOMEM; on failure nothing of the file is kept. Not while decoders use r. */
WEIR_API weir_status weir_elements_load(weir_elements *r, const char *path, weir_err *err);

/* The row of an element, or NULL when no registry knows it. r NULL: the built-in rows. The row lives as
 * long as r (static for built-in rows). */
WEIR_API const weir_element *weir_element_find(const weir_elements *r, weir_space space,
                                               uint32_t pen, uint16_t id);

/* The row with this registry name or NetFlow v9 name (exact spelling), or NULL. */
WEIR_API const weir_element *weir_element_by_name(const weir_elements *r, const char *name);

/* All rows of a space in ascending (pen, id) order, the user's included: call with *cursor = 0 first;
 * NULL at the end. */
WEIR_API const weir_element *weir_element_next(const weir_elements *r, weir_space space,
                                               size_t *cursor);

/* The organisation behind a private enterprise number, or NULL. */
WEIR_API const char *weir_enterprise_name(uint32_t pen);

/* "unsigned32", ...: static; "unknown" outside the enum. */
WEIR_API const char *weir_type_text(weir_type type);
WEIR_API const char *weir_semantics_text(weir_semantics semantics);

#ifdef __cplusplus
}
#endif
#endif
