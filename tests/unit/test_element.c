#include "unit.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>
#include <weir/element.h>

/* ---- the registry files, read here by other code than the generator's ---- */

enum { MAX_COLUMNS = 16 };

struct tsv {
    FILE *f;
    char *header, *line;
    char *names[MAX_COLUMNS], *fields[MAX_COLUMNS];
    size_t n_names, n_lines;
};

static size_t cut(char *line, char **fields)
{
    size_t n = 0;
    line[strcspn(line, "\n")] = 0;
    for (char *at = line; at;) {
        assert_true(n < MAX_COLUMNS);
        fields[n++] = strsep(&at, "\t");
    }
    return n;
}

static void tsv_open(struct tsv *t, const char *name)
{
    char path[4096];
    size_t cap = 0;
    const char *root = getenv("WEIR_ROOT");
    (void)snprintf(path, sizeof path, "%s/registry/%s", root ? root : ".", name);
    *t = (struct tsv){.f = fopen(path, "r")};
    if (!t->f)
        fail_msg("cannot open %s: %s (WEIR_ROOT is the root of the repository)", path,
                 strerror(errno));
    assert_true(getline(&t->header, &cap, t->f) > 0);
    t->n_names = cut(t->header, t->names);
}

static bool tsv_next(struct tsv *t)
{
    size_t cap = 0;
    free(t->line);
    t->line = NULL;
    if (getline(&t->line, &cap, t->f) <= 0) {
        free(t->line);
        free(t->header);
        (void)fclose(t->f);
        return false;
    }
    t->n_lines++;
    assert_int_equal(cut(t->line, t->fields), t->n_names);
    return true;
}

static const char *tsv_get(const struct tsv *t, const char *column)
{
    for (size_t i = 0; i < t->n_names; i++)
        if (strcmp(t->names[i], column) == 0)
            return t->fields[i];
    fail_msg("no column %s", column);
    return NULL;
}

static unsigned long tsv_number(const struct tsv *t, const char *column)
{
    return strtoul(tsv_get(t, column), NULL, 10);
}

static const char * or (const char *text, const char *otherwise)
{
    return text[0] ? text : otherwise;
}

static void check_row(const weir_element *e, const struct tsv *t, const char *name, uint32_t pen,
                      unsigned long id)
{
    if (!e)
        fail_msg("pen %" PRIu32 " id %lu (%s) is not found", pen, id, name);
    assert_string_equal(e->name, name);
    assert_int_equal(e->pen, pen);
    assert_int_equal(e->id, id);
    assert_string_equal(weir_type_text(e->type),
                        or (tsv_get(t, "abstract_data_type"), "octetArray"));
    assert_string_equal(weir_semantics_text(e->semantics), or (tsv_get(t, "semantics"), "default"));
    assert_string_equal(e->units, strcmp(tsv_get(t, "units"), "none") ? tsv_get(t, "units") : "");
}

static const weir_element *find(uint32_t pen, unsigned long id)
{
    return weir_element_find(NULL, WEIR_SPACE_IPFIX, pen, (uint16_t)id);
}

static const weir_element *find_v9(unsigned long id)
{
    return weir_element_find(NULL, WEIR_SPACE_V9, 0, (uint16_t)id);
}

static void every_iana_row(void **state)
{
    (void)state;
    struct tsv t;
    size_t n = 0, n_reversible = 0;
    tsv_open(&t, "ipfix-elements.tsv");
    while (tsv_next(&t)) {
        unsigned long id = tsv_number(&t, "id");
        const char *name = tsv_get(&t, "name");
        const weir_element *e = find(0, id), *back = find(WEIR_PEN_REVERSE, id);
        if (!name[0] || strcmp(name, "reserved") == 0) {
            assert_null(e);
            assert_null(back);
            continue;
        }
        n++;
        check_row(e, &t, name, 0, id);
        assert_null(e->v9_name);
        bool reversible = strcmp(tsv_get(&t, "reversible"), "yes") == 0;
        assert_int_equal(e->flags, reversible ? WEIR_ELEMENT_REVERSIBLE : 0);
        assert_ptr_equal(weir_element_by_name(NULL, name), e);
        if (!reversible) {
            assert_null(back);
            continue;
        }
        n_reversible++;
        char reverse[80];
        (void)snprintf(reverse, sizeof reverse, "reverse%c%s", toupper(name[0]), name + 1);
        check_row(back, &t, reverse, WEIR_PEN_REVERSE, id);
        assert_int_equal(back->flags, WEIR_ELEMENT_REVERSE);
        assert_ptr_equal(weir_element_by_name(NULL, reverse), back);
    }
    assert_true(n >= 500);
    assert_true(n_reversible >= 300);
}

static void every_enterprise_row(void **state)
{
    (void)state;
    struct tsv t;
    size_t n_reverse = 0;
    tsv_open(&t, "enterprise-elements.tsv");
    while (tsv_next(&t)) {
        uint32_t pen = (uint32_t)tsv_number(&t, "pen");
        unsigned long id = tsv_number(&t, "id");
        if (pen == WEIR_PEN_REVERSE)
            continue; /* a rule, not a row: see every_iana_row */
        const weir_element *e = find(pen, id), *forward = find(pen, id - 0x4000);
        if (pen == WEIR_PEN_CERT && id >= 0x4000 && forward) {
            assert_non_null(e);
            assert_string_equal(e->name, tsv_get(&t, "name"));
            assert_int_equal(e->type, forward->type);
            assert_int_equal(e->semantics, forward->semantics);
            assert_int_equal(e->flags, WEIR_ELEMENT_REVERSE);
            n_reverse++;
            continue;
        }
        check_row(e, &t, tsv_get(&t, "name"), pen, id);
        assert_int_equal(e->flags, 0);
        assert_non_null(weir_element_by_name(NULL, e->name));
    }
    assert_true(t.n_lines >= 3000);
    assert_true(n_reverse >= 20);
}

static void every_v9_row(void **state)
{
    (void)state;
    struct tsv t;
    tsv_open(&t, "netflow9-fields.tsv");
    while (tsv_next(&t)) {
        unsigned long id = tsv_number(&t, "id");
        const weir_element *e = find_v9(id);
        if (!e)
            fail_msg("v9 field %lu is not found", id);
        assert_int_equal(e->id, id);
        assert_int_equal(e->pen, 0);
        assert_int_equal(e->flags, WEIR_ELEMENT_V9);
        const char *v9_name = tsv_get(&t, "v9_name"), *type = tsv_get(&t, "abstract_data_type");
        char name[128]; /* without the "(371)" that some rows have */
        (void)snprintf(name, sizeof name, "%s", or (tsv_get(&t, "iana_name"), v9_name));
        name[strcspn(name, "(")] = 0;
        assert_string_equal(e->name, name);
        if (v9_name[0]) {
            assert_string_equal(e->v9_name, v9_name);
            assert_non_null(weir_element_by_name(NULL, v9_name));
        } else {
            assert_null(e->v9_name);
        }
        if (type[0])
            assert_string_equal(weir_type_text(e->type), type);
        const weir_element *iana = find(0, id);
        if (iana && tsv_get(&t, "iana_name")[0]) {
            assert_int_equal(e->semantics, iana->semantics);
            assert_string_equal(e->units, iana->units);
        }
    }
    assert_true(t.n_lines >= 1300);
}

/* Rows whose v9 type or units stand in another table. */
static void v9_rows_of_vendors(void **state)
{
    (void)state;
    assert_int_equal(find_v9(40000)->type, WEIR_TYPE_STRING); /* userName(371) */
    assert_string_equal(find_v9(40000)->name, "userName");
    assert_string_equal(find_v9(40000)->v9_name, "NF_F_USERNAME");
    assert_int_equal(find_v9(33610)->type, WEIR_TYPE_STRING);      /* FastIP + 0 */
    assert_int_equal(find_v9(33626)->type, WEIR_TYPE_MAC_ADDRESS); /* FastIP + 16 */
    assert_int_equal(find_v9(45202)->type, WEIR_TYPE_UNSIGNED32);  /* Cisco 12434 */
    assert_int_equal(find_v9(45211)->type, WEIR_TYPE_UNSIGNED64);  /* Cisco 12443 */
    assert_int_equal(find_v9(65500)->type, WEIR_TYPE_OCTET_ARRAY); /* nobody knows */
    assert_int_equal(find_v9(1)->semantics, WEIR_SEMANTICS_DELTA_COUNTER);
    assert_string_equal(find_v9(1)->units, "octets");
    assert_string_equal(find_v9(1)->v9_name, "IN_BYTES");
}

static void v9_scopes(void **state)
{
    (void)state;
    static const char *const names[][2] = {{"scopeSystem", "System"},
                                           {"scopeInterface", "Interface"},
                                           {"scopeLineCard", "Line Card"},
                                           {"scopeCache", "Cache"},
                                           {"scopeTemplate", "Template"}};
    assert_null(weir_element_find(NULL, WEIR_SPACE_V9_SCOPE, 0, 0));
    assert_null(weir_element_find(NULL, WEIR_SPACE_V9_SCOPE, 0, 6));
    for (uint16_t i = 0; i < 5; i++) {
        const weir_element *e = weir_element_find(NULL, WEIR_SPACE_V9_SCOPE, 0, (uint16_t)(i + 1));
        assert_non_null(e);
        assert_string_equal(e->name, names[i][0]);
        assert_string_equal(e->v9_name, names[i][1]);
        assert_int_equal(e->type, WEIR_TYPE_UNSIGNED64);
        assert_int_equal(e->flags, WEIR_ELEMENT_V9 | WEIR_ELEMENT_SCOPE);
        assert_ptr_equal(weir_element_by_name(NULL, names[i][0]), e);
    }
}

static void special_rules(void **state)
{
    (void)state;
    const weir_element *e = find(WEIR_PEN_REVERSE, 1);
    assert_string_equal(e->name, "reverseOctetDeltaCount");
    assert_int_equal(e->type, WEIR_TYPE_UNSIGNED64);
    /* Flow keys of process and template kind have no direction (RFC 5103 section 6.1). */
    assert_null(find(WEIR_PEN_REVERSE, 145));
    /* Copies of the CERT registry disagree on the type of this one; it is its forward element's. */
    assert_string_equal(find(WEIR_PEN_CERT, 0x4000 | 18)->name, "reversePayload");
    assert_int_equal(find(WEIR_PEN_CERT, 0x4000 | 18)->type, WEIR_TYPE_OCTET_ARRAY);
    for (uint16_t id = 1; id <= 12; id++)
        assert_string_equal(find(12326, id)->name, find(10704, id)->name);
    assert_int_equal(find(0, 89)->type, WEIR_TYPE_UNSIGNED32);
}

static void unknown_elements(void **state)
{
    (void)state;
    static const struct {
        uint32_t pen;
        uint16_t id;
    } none[] = {{0, 0},     {0, 97},    {0, 127},   {0, 416},
                {0, 419},   {0, 1023},  {0, 1024},  {0, 1025},
                {0, 32767}, {1, 1},     {9, 0},     {9, 65535},
                {6871, 11}, {29305, 0}, {99999, 1}, {UINT32_MAX, UINT16_MAX}};
    for (size_t i = 0; i < UNIT_N(none); i++)
        if (find(none[i].pen, none[i].id))
            fail_msg("pen %" PRIu32 " id %d is known as %s", none[i].pen, none[i].id,
                     find(none[i].pen, none[i].id)->name);
    assert_null(find_v9(0));
    assert_null(find_v9(68));
    assert_null(find_v9(65535));
    assert_null(weir_element_find(NULL, WEIR_SPACE_V9, 9, 1));
    assert_null(weir_element_find(NULL, (weir_space)3, 0, 1));
    assert_null(weir_element_by_name(NULL, ""));
    assert_null(weir_element_by_name(NULL, "octetdeltacount"));
    assert_null(weir_element_by_name(NULL, "octetDeltaCount "));
    assert_null(weir_element_by_name(NULL, "zzz"));
    assert_null(weir_element_by_name(NULL, NULL));
}

/* The same name in several places: IANA, then the v9 spelling of an IANA element, then the rest in order. */
static void names_that_several_rows_have(void **state)
{
    (void)state;
    assert_ptr_equal(weir_element_by_name(NULL, "octetDeltaCount"), find(0, 1));
    assert_ptr_equal(weir_element_by_name(NULL, "IN_BYTES"), find_v9(1));
    assert_ptr_equal(weir_element_by_name(NULL, "APPLICATION_NAME"), find_v9(96));
    assert_ptr_equal(weir_element_by_name(NULL, "METER_VERSION"), find(33610, 0));
    assert_ptr_equal(weir_element_by_name(NULL, "httpUserAgent"), find(0, 468));
    assert_ptr_equal(weir_element_by_name(NULL, "NF_F_USERNAME"), find_v9(40000));
}

/* Goes once over a space; returns the number of rows. */
static size_t walk(const weir_elements *r, weir_space space)
{
    size_t cursor = 0, n = 0;
    uint64_t last = 0;
    for (const weir_element *e; (e = weir_element_next(r, space, &cursor)); n++) {
        uint64_t key = (uint64_t)e->pen << 16 | e->id;
        assert_true(n == 0 || key > last);
        last = key;
        assert_ptr_equal(weir_element_find(r, space, e->pen, e->id), e);
        const weir_element *named = weir_element_by_name(r, e->name);
        assert_non_null(named);
        /* A v9 spelling may stand before an enterprise's name. */
        if (strcmp(named->name, e->name) != 0)
            assert_string_equal(named->v9_name, e->name);
        assert_true(strlen(e->name) <= 64);
        assert_non_null(e->units);
        assert_true(e->type < WEIR_N_TYPES && e->semantics < WEIR_N_SEMANTICS);
        assert_int_equal(!!(e->flags & WEIR_ELEMENT_V9), space != WEIR_SPACE_IPFIX);
        assert_int_equal(!!(e->flags & WEIR_ELEMENT_SCOPE), space == WEIR_SPACE_V9_SCOPE);
        if (e->v9_name)
            assert_non_null(weir_element_by_name(r, e->v9_name));
    }
    assert_null(weir_element_next(r, space, &cursor));
    return n;
}

static size_t count_rows(const char *file, const char *column, const char *value, bool equal)
{
    struct tsv t;
    size_t n = 0;
    tsv_open(&t, file);
    while (tsv_next(&t))
        n += (strcmp(tsv_get(&t, column), value) == 0) == equal;
    return n;
}

static void iteration(void **state)
{
    (void)state;
    size_t expected = count_rows("ipfix-elements.tsv", "abstract_data_type", "", false) +
                      count_rows("ipfix-elements.tsv", "reversible", "yes", true) +
                      count_rows("enterprise-elements.tsv", "id", "*", false);
    assert_int_equal(walk(NULL, WEIR_SPACE_IPFIX), expected);
    assert_int_equal(walk(NULL, WEIR_SPACE_V9), count_rows("netflow9-fields.tsv", "id", "", false));
    assert_int_equal(walk(NULL, WEIR_SPACE_V9_SCOPE), 5);
    size_t cursor = 0;
    assert_null(weir_element_next(NULL, (weir_space)3, &cursor));
    weir_elements *r = weir_elements_new();
    assert_non_null(r);
    assert_int_equal(walk(r, WEIR_SPACE_IPFIX), expected);
    weir_elements_free(r);
    weir_elements_free(NULL);
}

static void texts(void **state)
{
    (void)state;
    assert_string_equal(weir_type_text(WEIR_TYPE_OCTET_ARRAY), "octetArray");
    assert_string_equal(weir_type_text(WEIR_TYPE_UNSIGNED256), "unsigned256");
    assert_string_equal(weir_type_text(WEIR_N_TYPES), "unknown");
    assert_string_equal(weir_type_text((weir_type)-1), "unknown");
    assert_string_equal(weir_semantics_text(WEIR_SEMANTICS_DEFAULT), "default");
    assert_string_equal(weir_semantics_text(WEIR_SEMANTICS_SNMP_GAUGE), "snmpGauge");
    assert_string_equal(weir_semantics_text(WEIR_N_SEMANTICS), "unknown");
    struct tsv t;
    tsv_open(&t, "enterprise-numbers.tsv");
    while (tsv_next(&t)) {
        uint32_t pen = (uint32_t)tsv_number(&t, "pen");
        if (pen == 0)
            assert_null(weir_enterprise_name(pen)); /* IANA itself, not an enterprise */
        else
            assert_string_equal(weir_enterprise_name(pen), tsv_get(&t, "organisation"));
    }
    assert_null(weir_enterprise_name(8));
    assert_null(weir_enterprise_name(UINT32_MAX));
}

/* ---- a user's file ---- */

#define HEADER "pen\tid\tname\tabstract_data_type\tsemantics\tunits\n"

static weir_status load_octets(weir_elements *r, const char *text, size_t len, weir_err *err)
{
    char path[] = "/tmp/test_element.XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    FILE *f = fdopen(fd, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
    weir_status status = weir_elements_load(r, path, err);
    assert_int_equal(unlink(path), 0);
    return status;
}

static weir_status load(weir_elements *r, const char *text, weir_err *err)
{
    return load_octets(r, text, strlen(text), err);
}

static void user_rows(void **state)
{
    (void)state;
    weir_err err = {0};
    weir_elements *r = weir_elements_new();
    size_t n_ipfix = walk(NULL, WEIR_SPACE_IPFIX), n_v9 = walk(NULL, WEIR_SPACE_V9);
    assert_int_equal(load(r,
                          HEADER "32473\t7\tmyCounter\tunsigned32\tdeltaCounter\tpackets\n"
                                 "4294967295\t32767\tlast.one-2\tstring\n"
                                 "0\t0\tzero\tunsigned8\n"
                                 "0\t1\tmyOctets\tunsigned32\n"
                                 "0\t2\tpacketDeltaCount\tunsigned8\n"
                                 "29305\t3\tback\tunsigned8\n"
                                 "v9\t1\toctetDeltaCount\tunsigned16\n"
                                 "v9\t2\tmyPackets\tunsigned16\n"
                                 "v9\t65535\tmyNine\tipv4Address\tidentifier\t\n",
                          &err),
                     WEIR_OK);
    const weir_element *e = weir_element_find(r, WEIR_SPACE_IPFIX, 32473, 7);
    assert_non_null(e);
    assert_string_equal(e->name, "myCounter");
    assert_null(e->v9_name);
    assert_string_equal(e->units, "packets");
    assert_int_equal(e->type, WEIR_TYPE_UNSIGNED32);
    assert_int_equal(e->semantics, WEIR_SEMANTICS_DELTA_COUNTER);
    assert_int_equal(e->flags, 0);
    assert_ptr_equal(weir_element_by_name(r, "myCounter"), e);
    assert_non_null(weir_element_find(r, WEIR_SPACE_IPFIX, UINT32_MAX, 32767));
    assert_string_equal(weir_element_find(r, WEIR_SPACE_IPFIX, 0, 0)->name, "zero");

    /* Overrides. The v9 row 1 is another row than the IPFIX row 1. */
    e = weir_element_find(r, WEIR_SPACE_IPFIX, 0, 1);
    assert_string_equal(e->name, "myOctets");
    assert_int_equal(e->type, WEIR_TYPE_UNSIGNED32);
    assert_int_equal(e->semantics, WEIR_SEMANTICS_DEFAULT);
    assert_string_equal(e->units, "");
    assert_int_equal(e->flags, WEIR_ELEMENT_REVERSIBLE);
    assert_ptr_equal(weir_element_by_name(r, "packetDeltaCount"),
                     weir_element_find(r, WEIR_SPACE_IPFIX, 0, 2));
    assert_int_equal(weir_element_by_name(r, "packetDeltaCount")->type, WEIR_TYPE_UNSIGNED8);
    assert_int_equal(weir_element_find(r, WEIR_SPACE_IPFIX, 29305, 3)->flags, WEIR_ELEMENT_REVERSE);
    e = weir_element_find(r, WEIR_SPACE_V9, 0, 1);
    assert_int_equal(e->type, WEIR_TYPE_UNSIGNED16);
    assert_int_equal(e->flags, WEIR_ELEMENT_V9);
    assert_string_equal(e->v9_name, "IN_BYTES"); /* same name: still that field */
    assert_ptr_equal(weir_element_by_name(r, "IN_BYTES"), e);
    assert_ptr_equal(weir_element_by_name(r, "octetDeltaCount"),
                     e); /* IPFIX 1 has left that name */
    e = weir_element_find(r, WEIR_SPACE_V9, 0, 2);
    assert_null(e->v9_name);
    assert_null(weir_element_by_name(r, "IN_PKTS"));
    assert_int_equal(weir_element_find(r, WEIR_SPACE_V9, 0, 65535)->type, WEIR_TYPE_IPV4_ADDRESS);

    assert_int_equal(walk(r, WEIR_SPACE_IPFIX), n_ipfix + 3);
    assert_int_equal(walk(r, WEIR_SPACE_V9), n_v9 + 1);
    assert_int_equal(walk(r, WEIR_SPACE_V9_SCOPE), 5);

    /* Names of rows that were left alone answer as before. */
    static const char *const names[] = {"sourceIPv4Address", "APPLICATION_NAME", "METER_VERSION",
                                        "TCP_FLAGS",         "httpUserAgent",    "scopeCache",
                                        "Line Card"};
    for (size_t i = 0; i < UNIT_N(names); i++) {
        assert_non_null(weir_element_by_name(NULL, names[i]));
        assert_ptr_equal(weir_element_by_name(r, names[i]), weir_element_by_name(NULL, names[i]));
    }

    /* The built-in rows know nothing of it. */
    assert_null(find(32473, 7));
    assert_string_equal(find(0, 1)->name, "octetDeltaCount");
    weir_elements_free(r);
}

static void later_file_wins_and_old_rows_stay(void **state)
{
    (void)state;
    weir_elements *r = weir_elements_new();
    assert_int_equal(load(r, HEADER "1\t1\tone\tunsigned8\n1\t2\ttwo\tunsigned8\n", NULL), WEIR_OK);
    const weir_element *old = weir_element_find(r, WEIR_SPACE_IPFIX, 1, 1);
    size_t n = walk(r, WEIR_SPACE_IPFIX);
    assert_int_equal(load(r, HEADER "1\t1\tuno\tunsigned16\n1\t3\tthree\tunsigned8\n", NULL),
                     WEIR_OK);
    assert_string_equal(old->name, "one");
    assert_string_equal(weir_element_find(r, WEIR_SPACE_IPFIX, 1, 1)->name, "uno");
    assert_string_equal(weir_element_find(r, WEIR_SPACE_IPFIX, 1, 2)->name, "two");
    assert_null(weir_element_by_name(r, "one"));
    assert_non_null(weir_element_by_name(r, "three"));
    assert_int_equal(walk(r, WEIR_SPACE_IPFIX), n + 1);
    weir_elements_free(r);
}

/* Every one of these gives the row pen 32473 id 7 "mine" unsigned8. */
static void forms_of_a_good_file(void **state)
{
    (void)state;
    static const char *const good[] = {
        HEADER "32473\t7\tmine\tunsigned8\n",
        HEADER "32473\t7\tmine\tunsigned8",
        "pen\tid\tname\tabstract_data_type\n32473\t7\tmine\tunsigned8\n",
        "pen\tid\tname\tabstract_data_type\t\t\n32473\t7\tmine\tunsigned8\t\t\t\t\n",
        "pen\tid\tname\tabstract_data_type\r\n32473\t7\tmine\tunsigned8\r\n",
        "\xef\xbb\xbfpen\tid\tname\tabstract_data_type\n32473\t7\tmine\tunsigned8\n",
        "units\tabstract_data_type\tx\tname\ty\tid\tpen\n\tunsigned8\tq\tmine\t\t7\t32473\n",
        HEADER
        "\n\r\n# a remark\twith a tab\n32473\t7\tmine\tunsigned8\tquantity\t4-octet words\n\n",
        "pen\tid\tname\tabstract_data_type\tsemantics\tunits\trange\tstatus\treversible\n"
        "32473\t7\tmine\tunsigned8\tdefault\t\t0-3\tcurrent\tno\n",
        HEADER "32473\t0007\tmine\tunsigned8\n",
    };
    for (size_t i = 0; i < UNIT_N(good); i++) {
        weir_err err = {.msg = ""};
        weir_elements *r = weir_elements_new();
        if (load(r, good[i], &err) != WEIR_OK)
            fail_msg("file %zu: %s", i, err.msg);
        const weir_element *e = weir_element_find(r, WEIR_SPACE_IPFIX, 32473, 7);
        assert_non_null(e);
        assert_string_equal(e->name, "mine");
        assert_int_equal(e->type, WEIR_TYPE_UNSIGNED8);
        weir_elements_free(r);
    }
    weir_elements *r = weir_elements_new();
    assert_int_equal(load(r, HEADER, NULL), WEIR_OK);
    assert_int_equal(walk(r, WEIR_SPACE_IPFIX), walk(NULL, WEIR_SPACE_IPFIX));
    weir_elements_free(r);
}

#define TEN "1234567890"
#define SIXTY TEN TEN TEN TEN TEN TEN

/* clang-format off */
static const struct {
    const char *what, *text;
    uint64_t line;
    const char *says; /* a part of the message */
} bad[] = {
    {"empty", "", 1, "empty"},
    {"no header", "32473\t7\tmine\tunsigned8\n", 1, "no column 'pen'"},
    {"column missing", "pen\tid\tname\n1\t1\ta\n", 1, "no column 'abstract_data_type'"},
    {"column twice", "pen\tid\tname\tabstract_data_type\tid\n", 1, "column 'id' is there twice"},
    {"type", HEADER "1\t1\ta\tunsigned8\n1\t2\tb\tunsigned9\n", 3, "'unsigned9'"},
    {"type's case", HEADER "1\t1\ta\tUnsigned8\n", 2, "abstract_data_type 'Unsigned8'"},
    {"no type", HEADER "1\t1\ta\n", 2, "octetArray"},
    {"semantics", HEADER "1\t1\ta\tunsigned8\tcounter\n", 2, "semantics 'counter'"},
    {"pen", HEADER "x\t1\ta\tunsigned8\n", 2, "pen 'x'"},
    {"pen too large", HEADER "4294967296\t1\ta\tunsigned8\n", 2, "pen '4294967296'"},
    {"pen overflows", HEADER "18446744073709551617\t1\ta\tunsigned8\n", 2, "pen '184467"},
    {"pen negative", HEADER "-1\t1\ta\tunsigned8\n", 2, "pen '-1'"},
    {"pen empty", HEADER "\t1\ta\tunsigned8\n", 2, "pen ''"},
    {"pen v5", HEADER "v5\t1\ta\tunsigned8\n", 2, "pen 'v5'"},
    {"id above 15 bits", HEADER "1\t32768\ta\tunsigned8\n", 2, "id '32768' is not a number up to 32767"},
    {"v9 id above 16 bits", HEADER "v9\t65536\ta\tunsigned8\n", 2, "up to 65535"},
    {"id with a space", HEADER "1\t1 \ta\tunsigned8\n", 2, "id '1 '"},
    {"name empty", HEADER "1\t1\t\tunsigned8\n", 2, "name ''"},
    {"name starts with a digit", HEADER "1\t1\t1a\tunsigned8\n", 2, "name '1a'"},
    {"name with a slash", HEADER "1\t1\ta/b\tunsigned8\n", 2, "name 'a/b'"},
    {"name of 65", HEADER "1\t1\ta" SIXTY "1234\tunsigned8\n", 2, "name 'a1234"},
    {"control character", HEADER "1\t1\ta\x1b[0m\tunsigned8\n", 2, "name 'a?[0m'"},
    {"units", HEADER "1\t1\ta\tunsigned8\t\t\x01\n", 2, "units '?'"},
    {"units too long", HEADER "1\t1\ta\tunsigned8\t\tx" SIXTY "1234\n", 2, "units 'x"},
    {"value without a column", HEADER "1\t1\ta\tunsigned8\t\t\tx\n", 2, "column 7"},
    {"twice", HEADER "1\t1\ta\tunsigned8\n1\t2\tb\tunsigned8\n1\t1\tc\tunsigned8\n", 4,
     "pen 1 id 1 is already in line 2"},
    {"twice in v9", HEADER "v9\t1\ta\tunsigned8\nv9\t1\tb\tunsigned8\n", 3, "pen v9 id 1"},
    {"two of them", HEADER "9\t9\ta\tunsigned8\n1\t1\tb\tunsigned8\n9\t9\tc\tunsigned8\n"
                           "1\t1\td\tunsigned8\n", 4, "pen 9 id 9 is already in line 2"},
    {"the last line", HEADER "\n#\n1\t1\ta\tunsigned8\nx", 5, "line 5: pen 'x'"},
    {"65 columns", "\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t"
                   "\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\n", 1, "64 columns"},
};
/* clang-format on */

static void bad_files(void **state)
{
    (void)state;
    weir_elements *r = weir_elements_new();
    assert_int_equal(load(r, HEADER "32473\t1\tkept\tunsigned8\n", NULL), WEIR_OK);
    size_t n = walk(r, WEIR_SPACE_IPFIX);
    for (size_t i = 0; i < UNIT_N(bad); i++) {
        weir_err err = {0};
        weir_status status = load(r, bad[i].text, &err);
        if (status != WEIR_EFORMAT || err.code != status || err.at != bad[i].line ||
            !strstr(err.msg, bad[i].says))
            fail_msg("%s: status %d, line %" PRIu64 ", \"%s\"", bad[i].what, status, err.at,
                     err.msg);
        assert_int_equal(load(r, bad[i].text, NULL), WEIR_EFORMAT);
    }
    assert_int_equal(walk(r, WEIR_SPACE_IPFIX), n);
    assert_null(weir_element_find(r, WEIR_SPACE_IPFIX, 1, 1));
    assert_non_null(weir_element_by_name(r, "kept"));
    weir_elements_free(r);
}

static void octets_that_are_no_text(void **state)
{
    (void)state;
    static const char nul[] = HEADER "1\t1\ta\0b\tunsigned8\n";
    weir_err err = {0};
    weir_elements *r = weir_elements_new();
    assert_int_equal(load_octets(r, nul, sizeof nul - 1, &err), WEIR_EFORMAT);
    assert_int_equal(err.at, 2);
    /* Every cut of a file is read or refused, never both. */
    static const char whole[] = HEADER "1\t1\ta\tunsigned8\tflags\tbits\nv9\t7\tb\tstring\n";
    for (size_t len = 0; len < sizeof whole; len++) {
        weir_elements *cut_off = weir_elements_new();
        bool ok = load_octets(cut_off, whole, len, NULL) == WEIR_OK;
        if (!ok)
            assert_null(weir_element_find(cut_off, WEIR_SPACE_IPFIX, 1, 1));
        weir_elements_free(cut_off);
    }
    weir_elements_free(r);
}

static void limits(void **state)
{
    (void)state;
    weir_err err = {0};
    weir_elements *r = weir_elements_new();
    /* A line of 4096 octets is read, one of 4097 is not. */
    char line[sizeof HEADER + 8192];
    int head = snprintf(line, sizeof line, "%s", HEADER);
    memset(line + head, '#', 4097);
    assert_int_equal(load_octets(r, line, (size_t)head + 4096, &err), WEIR_OK);
    assert_int_equal(load_octets(r, line, (size_t)head + 4097, &err), WEIR_EFORMAT);
    assert_int_equal(err.at, 2);
    /* 16 MiB are read, one octet more is not. */
    size_t most = (size_t)16 << 20;
    char *text = malloc(most + 1);
    assert_non_null(text);
    memset(text, '\n', most + 1);
    memcpy(text, HEADER, sizeof HEADER - 1);
    assert_int_equal(load_octets(r, text, most, &err), WEIR_OK);
    assert_int_equal(load_octets(r, text, most + 1, &err), WEIR_ELIMIT);
    free(text);
    weir_elements_free(r);
}

static void files_that_cannot_be_read(void **state)
{
    (void)state;
    weir_err err = {0};
    weir_elements *r = weir_elements_new();
    assert_int_equal(weir_elements_load(r, "/nonexistent/elements.tsv", &err), WEIR_EIO);
    assert_non_null(strstr(err.msg, "/nonexistent/elements.tsv: No such file"));
    assert_int_equal(weir_elements_load(r, "/", &err), WEIR_EIO);
    assert_int_equal(weir_elements_load(r, NULL, &err), WEIR_EINVAL);
    assert_int_equal(weir_elements_load(NULL, "/", &err), WEIR_EINVAL);
    weir_elements_free(r);
}

/* Every IPFIX and v9 row there can be of one enterprise, in falling order: nothing is lost in sorting. */
static void many_rows(void **state)
{
    (void)state;
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    assert_non_null(f);
    (void)fputs(HEADER, f);
    for (int id = 65535; id >= 0; id--) {
        (void)fprintf(f, "v9\t%d\tv9.%d\tunsigned8\n", id, id);
        if (id <= 32767)
            (void)fprintf(f, "0\t%d\tiana.%d\tunsigned8\n", id, id);
    }
    assert_int_equal(fclose(f), 0);
    weir_err err = {0};
    weir_elements *r = weir_elements_new();
    if (load(r, text, &err) != WEIR_OK)
        fail_msg("%s", err.msg);
    free(text);
    assert_int_equal(walk(r, WEIR_SPACE_V9), 65536);
    assert_string_equal(weir_element_find(r, WEIR_SPACE_V9, 0, 4711)->name, "v9.4711");
    assert_string_equal(weir_element_find(r, WEIR_SPACE_IPFIX, 0, 4711)->name, "iana.4711");
    assert_int_equal(weir_element_by_name(r, "iana.32767")->id, 32767);
    assert_null(weir_element_by_name(r, "octetDeltaCount"));
    weir_elements_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_iana_row),
        cmocka_unit_test(every_enterprise_row),
        cmocka_unit_test(every_v9_row),
        cmocka_unit_test(v9_rows_of_vendors),
        cmocka_unit_test(v9_scopes),
        cmocka_unit_test(special_rules),
        cmocka_unit_test(unknown_elements),
        cmocka_unit_test(names_that_several_rows_have),
        cmocka_unit_test(iteration),
        cmocka_unit_test(texts),
        cmocka_unit_test(user_rows),
        cmocka_unit_test(later_file_wins_and_old_rows_stay),
        cmocka_unit_test(forms_of_a_good_file),
        cmocka_unit_test(bad_files),
        cmocka_unit_test(octets_that_are_no_text),
        cmocka_unit_test(limits),
        cmocka_unit_test(files_that_cannot_be_read),
        cmocka_unit_test(many_rows),
    };
    return cmocka_run_group_tests_name("element", tests, NULL, NULL);
}
