/* plan -- what the fields of a template become, worked out once: which column each one fills, which become extra columns,
 * which belong together. It follows from what the template says alone: templates that say the same, of whatever exporter
 * and under whatever id, share one. */
#ifndef FLOW_PLAN_H
#define FLOW_PLAN_H

#include "flow/batch.h"
#include "flow/load.h"
#include "wire/use.h"

#include <weir/record.h>

#define FLOW_NONE UINT32_MAX
#define FLOW_NO_ROOM (UINT32_MAX - 1)

/* A column that something goes to. */
struct flow_target {
    const char *name;
    uint32_t
        column; /* of the batch that the plan is bound to; FLOW_NONE: not asked for yet, FLOW_NO_ROOM */
    uint32_t pen, id;
    uint8_t type; /* enum flow_type */
    bool list;
    bool extra;
};

enum flow_op_kind {
    FLOW_OP_VALUE,  /* one field into one column */
    FLOW_OP_REPEAT, /* all fields of an element into a list */
    FLOW_OP_EITHER, /* an IPv4 and an IPv6 field that fill one column */
    FLOW_OP_TIMES,  /* first and last */
    FLOW_OP_ICMP,
    FLOW_OP_MPLS,
    FLOW_OP_SCOPE,
    FLOW_OP_AVC /* text that says itself whether it is http_host or http_url */
};

/* How a field of fixed length is read over many records. */
enum flow_load {
    FLOW_LOAD_ROWS, /* record by record */
    FLOW_LOAD_UINT,
    FLOW_LOAD_KEY
};

struct flow_op {
    uint8_t kind;
    uint8_t how;        /* enum flow_how */
    uint8_t load_other; /* of `other`, where that is a field */
    uint8_t load;       /* enum flow_load */
    uint32_t field;
    uint32_t
        other; /* EITHER: the IPv6 field, field is that of IPv4; AVC: the target of http_url, or FLOW_NONE */
    uint32_t target;
    bool windowed; /* done by flow_plan.windows, where records are many, */
    bool misfit;   /* but for this: a value does not fit into the column */
};

struct flow_plan_field {
    const char *name; /* of its element, no other element of the template has it */
    uint32_t next;    /* next field of the same element, or FLOW_NONE */
    bool again;       /* one of the same element stands before it, or it says nothing */
    uint32_t extra;   /* target of its extra column (a list when the element repeats) */
};

/* Fields that say something about ICMP, in the order of their ids. */
enum {
    FLOW_ICMP_BOTH4,
    FLOW_ICMP_BOTH6,
    FLOW_ICMP_TYPE4,
    FLOW_ICMP_CODE4,
    FLOW_ICMP_TYPE6,
    FLOW_ICMP_CODE6,
    FLOW_N_ICMP
};
enum { FLOW_N_MPLS = 10, FLOW_SAMPLING_OCTETS = 32 };

/* What becomes of one of the four numbers that a kernel takes out of a window of 16 octets. */
enum flow_lane_kind {
    FLOW_LANE_NONE,
    FLOW_LANE_UINT, /* a column of its width */
    FLOW_LANE_KEY,  /* an IPv4 address: the four octets as they lie in memory */
    FLOW_LANE_TIME, /* first or last */
    FLOW_LANE_LOW   /* the low half of the number of the lane before */
};

struct flow_lane {
    uint8_t kind;  /* enum flow_lane_kind */
    uint8_t width; /* octets of the column */
    bool wide;     /* a low half follows */
    uint32_t op;   /* of UINT */
    uint32_t column;
};

struct flow_window {
    uint32_t offset; /* octets of the record */
    uint8_t shuffle[16];
    struct flow_lane lanes[4];
};

typedef struct flow_plan {
    struct flow_plan *chain;
    uint64_t hash;       /* flow_plan_hash */
    uint64_t generation; /* of the batch that targets are bound to: no two fillings have the same */
    uint32_t n_fields, n_scope, n_ops, n_targets, n_windows;
    struct flow_window *windows;
    bool times_windowed; /* first and last are among them */
    bool
        icmp_of_ports; /* so are protocol and destination port, and no field says more of ICMP than these */
    struct flow_plan_field *fields;
    struct flow_op *ops;
    struct flow_target *targets;
    char *text; /* names */
    size_t octets;
    struct wire_time_fields times;
    bool times_kept[2];                   /* first and last say all that their fields say */
    uint32_t proto, dst_port, ip_version; /* fields, or FLOW_NONE */
    uint32_t family;                      /* 4 or 6: of all records; 0: look at each */
    uint32_t addresses[2][2]; /* [family 6][source, destination]: fields, or FLOW_NONE */
    uint32_t icmp[FLOW_N_ICMP];
    uint32_t mpls[FLOW_N_MPLS];
    uint32_t n_mpls;
    uint32_t n_sampling; /* fields that weir_record_sampling looks at, the first so many of them: */
    uint32_t sampling[8];
    uint32_t n_fixed; /* the first so many fields have the same place in every record, */
    uint32_t stride;  /* in so many octets; of a template without variable fields all of them */
    uint32_t
        max_gathered; /* records that may wait to become rows; 0: they need what the decoder knows when they come */
    weir_template
        *own; /* a copy of the template it was made for: what gathered records are read by, */
    uint16_t version;         /* and of which version of the protocol they are */
    weir_field *scratch;      /* fields of one record of a template with variable fields */
    struct flow_stage *stage; /* where they wait, or NULL */
    uint32_t active;          /* then its place among those of the normaliser */
    uint32_t
        sampling_octets; /* of all of them; more than FLOW_SAMPLING_OCTETS: too much to compare */
} flow_plan;

/* hash: flow_plan_hash. NULL: out of memory. */
flow_plan *flow_plan_new(const weir_record *r, uint64_t hash);
/* Whether the plan is right for records of this one's template. */
bool flow_plan_serves(const flow_plan *p, const weir_record *r);
/* Of all that flow_plan_serves compares. */
uint64_t flow_plan_hash(const weir_record *r, uint64_t seed);
void flow_plan_free(flow_plan *p);

/* How the values of an element stand in an extra column. */
enum flow_type flow_extra_type(const weir_element *e);

#endif
