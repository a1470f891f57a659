/* record -- what a decoder hands out: the packet it came in, the template that shapes it, its fields.
 *
 * A record is a view: field i is fields[i].element, at data + fields[i].offset, fields[i].length octets in
 * network order. Nothing is copied and nothing is allocated; a view and all it points to live until the
 * handler that got it returns. NetFlow v1, v5 and v7 records look the same through built-in templates.
 *
 *     for (uint32_t i = 0; i < r->n_fields; i++) {
 *         weir_value v;
 *         if (weir_value_read(r, i, &v) == WEIR_OK && v.kind == WEIR_KIND_U64)
 *             printf("%s=%" PRIu64 "\n", r->fields[i].element->name, v.u64);
 *     }
 */
#ifndef WEIR_RECORD_H
#define WEIR_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <weir/element.h>
#include <weir/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How a packet travelled; it decides framing, template life and withdrawal rules (RFC 7011 section 8). */
typedef enum weir_transport {
    WEIR_UDP,    /* one datagram; withdrawals are ignored (RFC 7011 section 8.4) */
    WEIR_STREAM, /* one message of a TCP or TLS connection; withdrawals are obeyed */
    WEIR_FILE    /* one message of an IPFIX file (RFC 5655); as WEIR_STREAM */
} weir_transport;

/* Who sent a packet. */
typedef struct weir_endpoint {
    uint8_t family;    /* 4 or 6; 0 when nobody knows (a payload file) */
    uint8_t transport; /* weir_transport */
    uint16_t port;     /* host order */
    uint8_t addr[16];  /* network order; IPv4 in the first 4 octets, the rest 0 */
} weir_endpoint;

/* One export packet: a NetFlow datagram or an IPFIX message. */
typedef struct weir_packet {
    uint64_t id;         /* 1, 2, ... in the order this decoder was fed */
    int64_t received_ns; /* arrival as told to weir_decode, ns since 1970-01-01 UTC */
    weir_endpoint from;  /* exporter */
    uint16_t version;    /* 1, 5, 7, 9 or 10 (IPFIX) */
    uint16_t count;      /* header's record count (v1 to v9), message length (IPFIX) */
    uint32_t uptime_ms;  /* sysUptime; 0 for IPFIX */
    uint32_t export_s;   /* export time, seconds since 1970 modulo 2^32 */
    uint32_t export_ns;  /* residual nanoseconds (v1, v5, v7), else 0 */
    uint32_t sequence;   /* as sent; 0 for v1 */
    uint32_t domain;     /* observation domain, v9 source id, v5/v7 engine type * 256 + engine id */
    uint16_t sampling;   /* v5: mode * 16384 + interval, as sent; else 0 */
    bool late;           /* records are of a set that had waited for its template */
    const uint8_t *data; /* the octets as fed, NULL when late */
    size_t len;          /* octets at data, 0 when late */
} weir_packet;

enum { WEIR_VARLEN = 65535 }; /* a template field's length: variable (RFC 7011 section 7) */

/* One field of a template (length as in the template) or of a record (length as found). */
typedef struct weir_field {
    const weir_element *element; /* never NULL */
    uint32_t offset; /* octets from weir_record.data; 0 in a template with variable fields */
    uint16_t length; /* octets of the value; WEIR_VARLEN in a template */
    uint8_t load;    /* how to read it: internal to libweir */
    uint8_t flags;   /* reserved, 0 */
} weir_field;

typedef struct weir_template {
    uint16_t id;       /* 256..65535; 0 for the fixed formats v1, v5, v7 */
    bool options;      /* describes options records */
    bool variable;     /* has a field of variable length */
    uint16_t n_fields; /* scopes included */
    uint16_t n_scope;  /* the first n_scope fields are scopes */
    uint32_t min_len;  /* octets of the shortest record; of every record unless variable */
    uint64_t serial;   /* differs for every definition that this decoder has learnt */
    int64_t learnt_ns; /* arrival of the packet that defined it */
    int64_t seen_ns;   /* arrival of the packet that last repeated it */
    uint16_t port;     /* source port of the last definition */
    uint64_t
        key_fields; /* bit n: field n is a flow key (flowKeyIndicator, RFC 7011 section 4.4), 0 unknown */
    const weir_field *fields; /* n_fields of them, as sent */
} weir_template;

typedef struct weir_record {
    const weir_packet *packet;
    const weir_template
        *tmpl; /* never NULL for records of a packet; NULL for an item of a basicList */
    const weir_field *fields; /* n_fields of them, in wire order, repeats included */
    uint32_t n_fields;
    uint32_t n_scope;
    const uint8_t *data;        /* first octet of the record */
    uint32_t len;               /* octets of the record */
    uint32_t depth;             /* 0, or how many lists deep (RFC 6313) */
    struct weir_stream *stream; /* internal: state of this exporter and domain */
} weir_record;

/* First octet of field i. */
static inline const uint8_t *weir_field_data(const weir_record *r, uint32_t i)
{
    return r->data + r->fields[i].offset;
}

/* Big-endian unsigned integer of len octets; len 0 gives 0, above 8 the last 8 octets count. */
static inline uint64_t weir_be(const uint8_t *p, size_t len)
{
    uint16_t v16;
    uint32_t v32;
    uint64_t v64;
    switch (len) {
    case 1:
        return *p;
    case 2:
        __builtin_memcpy(&v16, p, 2);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
        v16 = __builtin_bswap16(v16);
#endif
        return v16;
    case 4:
        __builtin_memcpy(&v32, p, 4);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
        v32 = __builtin_bswap32(v32);
#endif
        return v32;
    case 8:
        __builtin_memcpy(&v64, p, 8);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
        v64 = __builtin_bswap64(v64);
#endif
        return v64;
    default:
        v64 = 0;
        for (size_t i = len > 8 ? len - 8 : 0; i < len; i++)
            v64 = v64 << 8 | p[i];
        return v64;
    }
}

/* What a value is once its type and length have been looked at. */
typedef enum weir_kind {
    WEIR_KIND_U64,  /* .u64 */
    WEIR_KIND_S64,  /* .s64 */
    WEIR_KIND_F64,  /* .f64, may be NaN or infinite */
    WEIR_KIND_BOOL, /* .boolean */
    WEIR_KIND_TIME, /* .time_ns: ns since 1970-01-01 UTC; .time_digits: digits of a second that the type has */
    WEIR_KIND_IPV4, /* .data: 4 octets */
    WEIR_KIND_IPV6, /* .data: 16 octets */
    WEIR_KIND_MAC,  /* .data: 6 octets */
    WEIR_KIND_TEXT, /* .data, .len: valid UTF-8, trailing NULs cut (RFC 7011 section 6.1.6) */
    WEIR_KIND_OCTETS, /* .data, .len: anything else, a string that is not UTF-8 and unsigned256 included */
    WEIR_KIND_LIST, /* .data, .len: RFC 6313; read with weir_list_open */
    WEIR_N_KINDS
} weir_kind;

typedef struct weir_value {
    weir_kind kind;
    uint8_t time_digits; /* 0, 3, 6 or 9 */
    union {
        uint64_t u64;
        int64_t s64;
        double f64;
        bool boolean;
        int64_t time_ns;
    };
    const uint8_t *data; /* the octets on the wire, borrowed from the record; always set */
    uint32_t len;
} weir_value;

/* Read field i of a record (RFC 7011 section 6). Reduced-size integers of 1 to 8 octets and 4-octet
 * float64 are widened; the NTP times of dateTimeMicroseconds and -Nanoseconds are turned into the era
 * nearest to the packet's arrival.
 * WEIR_OK; WEIR_ETYPE the length or content does not fit the element's type (boolean 3, ipv4Address of
 * 5 octets, ill-formed UTF-8): *v then holds the octets as WEIR_KIND_OCTETS, so nothing is lost.
 * An integer above its registered size but within 8 octets is read as it is; one above 8 octets is read
 * when its high octets are 0. */
WEIR_API weir_status weir_value_read(const weir_record *r, uint32_t i, weir_value *v);

/* The first field with this element, or -1. pen as in weir_element: 0 matches NetFlow v9 fields of the same
 * id too. */
WEIR_API int weir_record_find(const weir_record *r, uint32_t pen, uint16_t id);

/* Where a record's time came from and what is odd about it. */
enum {
    WEIR_TIME_EXPORT = 1,     /* the record has none: export time stands in */
    WEIR_TIME_REVERSED = 2,   /* end before start, kept as sent */
    WEIR_TIME_WRAPPED = 4,    /* sysUptime had wrapped between flow and export */
    WEIR_TIME_SUBSTITUTED = 8 /* one of the two times is missing: both are the same */
};

/* First and last moment of the flow, ns since 1970 UTC, from whatever the record carries: seconds,
 * milliseconds, microseconds, nanoseconds (IE 150-157), delta microseconds (158, 159), sysUptime (21, 22)
 * against the header or systemInitTimeMilliseconds (160), durations (161, 162), observation times (322-325),
 * NAT event times; else the export time. The finest pair wins. Returns WEIR_TIME_* flags. */
WEIR_API unsigned weir_record_times(const weir_record *r, int64_t *first_ns, int64_t *last_ns);

/* The packet's export time in ns since 1970; the era of the 32-bit seconds is the one nearest to arrival. */
WEIR_API int64_t weir_packet_export_ns(const weir_packet *p);

/* Where a sampling rate was learnt. */
#define WEIR_ORIGIN_MAP(X)                                                                         \
    X(UNKNOWN, "unknown")                                                                          \
    X(HEADER, "header")                                                                            \
    X(RECORD, "record")                                                                            \
    X(OPTIONS, "options")                                                                          \
    X(CONFIGURED, "configured")

typedef enum weir_origin {
#define X(name, text) WEIR_ORIGIN_##name,
    WEIR_ORIGIN_MAP(X)
#undef X
        WEIR_N_ORIGINS
} weir_origin;

typedef struct weir_sampling {
    double rate; /* packets seen for one packet counted; 1: all of them; 0: unknown */
    uint16_t
        algorithm; /* as sent: samplerMode, samplingAlgorithm or selectorAlgorithm; v5 mode bits; 0 unknown */
    uint8_t origin; /* weir_origin */
} weir_sampling;

/* The sampling that applies to a record, best known first: configured, the record itself (IE 34, 50, 305,
 * ...), options by selector, sampler, interface or domain, the v5 header. Counters are never scaled. */
WEIR_API weir_sampling weir_record_sampling(const weir_record *r);
WEIR_API const char *weir_origin_text(weir_origin origin);

/* Reading a list (RFC 6313): open it on a field of list type, then take its items one by one. An item is a
 * record whose depth is one more: of one field (basicList) or of the inner template's fields. */
typedef struct weir_list {
    uint8_t type; /* WEIR_TYPE_BASIC_LIST, ... */
    uint8_t
        semantic; /* 255 undefined, 0 noneOf, 1 exactlyOneOf, 2 oneOrMoreOf, 3 allOf, 4 ordered */
    weir_record item; /* the current item, valid until the next call */
    weir_field field; /* internal, as all that follows */
    weir_element unknown;
    char unknown_name[24];
    const uint8_t *at, *end, *block_end;
    uint16_t item_len;
    weir_field *scratch;
    uint32_t n_scratch;
} weir_list;

/* Start on field i of r. WEIR_OK; WEIR_ETYPE not a list; WEIR_ETRUNC or WEIR_EFORMAT broken at its head;
 * WEIR_ELIMIT nested deeper than the decoder's max_depth; from weir_list_next too: WEIR_ENOMEM, and WEIR_ENOTFOUND
 * an inner template that nobody has sent: the list's octets are still there as the field's value.
 * Close every list that was opened with WEIR_OK. */
WEIR_API weir_status weir_list_open(const weir_record *r, uint32_t i, weir_list *list);

/* The next item in list->item. WEIR_OK; WEIR_END; WEIR_ETRUNC, WEIR_EFORMAT broken here; WEIR_ENOTFOUND the
 * block's template is unknown (the next call goes on behind it); WEIR_ELIMIT this field of the
 * record has given max_list_items items, those of lists within it included. */
WEIR_API weir_status weir_list_next(weir_list *list);
WEIR_API void weir_list_close(weir_list *list);

/* Text forms. Each writes no NUL-terminated text longer than its buffer and returns the length. */
enum { WEIR_ENDPOINT_TEXT = 64 };
/* "192.0.2.1:2055", "[2001:db8::1]:2055", "-" when the family is 0; out[WEIR_ENDPOINT_TEXT]. */
WEIR_API size_t weir_endpoint_text(const weir_endpoint *e, char *out);
/* "192.0.2.1", "2001:db8::1" (RFC 5952), "-"; out[WEIR_ENDPOINT_TEXT]. */
WEIR_API size_t weir_endpoint_addr_text(const weir_endpoint *e, char *out);

#ifdef __cplusplus
}
#endif
#endif
