/* Names, rates and places that flows do not say themselves. */
#include "unit.h"

#include "mmdb.h"

#include "archive/archive.h"
#include "parquet/reader.h"
#include "query/lookup.h"

#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/weir-lookup-XXXXXX";

static char *path_of(const char *name)
{
    static char path[sizeof dir + 64];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static const char *write_file(const char *name, const void *data, size_t len)
{
    const char *path = path_of(name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
    return path;
}

/* ---- databases ---- */

static struct mmdb made;

static uint32_t add_city(base_buf *b, const char *country, const char *city, uint32_t shared)
{
    uint32_t at = (uint32_t)b->len;
    mmdb_map(b, city ? 4 : 3);
    if (city) {
        mmdb_text(b, "city");
        mmdb_map(b, 2);
        mmdb_text(b, "geoname_id");
        mmdb_u32(b, 7);
        mmdb_text(b, "names");
        mmdb_map(b, 2);
        mmdb_pair(b, "de", "Stadt");
        mmdb_pair(b, "en", city);
    }
    mmdb_text(b, "continent");
    mmdb_pointer(b, shared);
    mmdb_text(b, "subdivisions");
    mmdb_array(b, 1);
    mmdb_map(b, 1);
    mmdb_pair(b, "iso_code", "XX");
    mmdb_text(b, country ? "country" : "registered_country");
    mmdb_map(b, 2);
    mmdb_text(b, "is_in_european_union");
    mmdb_control(b, 14, 1);
    mmdb_pair(b, "iso_code", country ? country : "NO");
    return at;
}

/* What country and city databases say of documentation prefixes. */
static void fill_city(int ip_version)
{
    base_buf *b = &made.data;
    mmdb_begin(&made, ip_version);
    mmdb_map(b, 1);
    mmdb_pair(b, "code", "EU");
    for (int i = 0; i < 120; i++) /* so that there are long pointers and sizes */
        mmdb_text(b, "padding padding padding");
    uint32_t sweden = add_city(b, "SE", "Link\xc3\xb6ping", 0), norway = add_city(b, NULL, NULL, 0);
    uint32_t britain = add_city(b, "GB", "London", 0), to_sweden = (uint32_t)b->len;
    mmdb_pointer(b, sweden);
    assert_true(mmdb_prefix(&made, "192.0.2.0", 24, sweden));
    assert_true(mmdb_prefix(&made, "198.51.100.0", 24, norway));
    assert_true(mmdb_prefix(&made, "203.0.113.64", 26, britain));
    assert_true(mmdb_prefix(&made, "203.0.113.255", 32, to_sweden));
    if (ip_version == 6)
        assert_true(mmdb_prefix(&made, "2001:db8::", 32, britain));
}

static void fill_asn(int ip_version)
{
    base_buf *b = &made.data;
    mmdb_begin(&made, ip_version);
    mmdb_map(b, 2);
    mmdb_text(b, "autonomous_system_number");
    mmdb_u32(b, 64496);
    mmdb_pair(b, "autonomous_system_organization", "Example Networks");
    uint32_t flat = (uint32_t)b->len;
    mmdb_map(b, 2);
    mmdb_pair(b, "asn", "AS4200000000");
    mmdb_pair(b, "as_name", "Example Flat");
    assert_true(mmdb_prefix(&made, "192.0.2.0", 24, 0));
    assert_true(mmdb_prefix(&made, "198.51.100.0", 25, flat));
    if (ip_version == 6)
        assert_true(mmdb_prefix(&made, "2001:db8:1::", 48, 0));
}

static const char *save(const char *name, const char *type, unsigned record_bits)
{
    base_buf file = {0};
    mmdb_file(&made, type, record_bits, &file);
    assert_false(file.failed || made.data.failed);
    const char *path = write_file(name, file.data, file.len);
    base_buf_done(&file);
    return path;
}

static query_lookup *with_database(const char *path)
{
    weir_err err = {0};
    query_lookup *l = query_lookup_new();
    assert_non_null(l);
    weir_status st = query_lookup_geo(l, path, &err);
    UNIT_CHECK(st == WEIR_OK, "%s: %s", path, err.msg);
    return l;
}

typedef size_t text_fn(const query_lookup *l, const char *addr, size_t len, char *out, size_t cap);

static void check_text(const query_lookup *l, text_fn *fn, const char *what, const char *addr,
                       const char *want)
{
    char out[256];
    size_t n = fn(l, addr, strlen(addr), out, sizeof out);
    UNIT_CHECK(n == strlen(want) && memcmp(out, want, n) == 0, "%s of %s: '%.*s', not '%s'", what,
               addr, (int)n, out, want);
}

static const struct place {
    const char *addr, *country, *city;
    bool six;
} places[] = {
    {"192.0.2.0", "SE", "Link\xc3\xb6ping", false},
    {"192.0.2.255", "SE", "Link\xc3\xb6ping", false},
    {"192.0.3.0", "", "", false},
    {"198.51.100.7", "NO", "", false}, /* its registered country */
    {"203.0.113.63", "", "", false},
    {"203.0.113.64", "GB", "London", false},
    {"203.0.113.127", "GB", "London", false},
    {"203.0.113.128", "", "", false},
    {"203.0.113.255", "SE", "Link\xc3\xb6ping", false}, /* by a pointer */
    {"2001:db8::1", "GB", "London", true},
    {"2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "GB", "London", true},
    {"2001:db9::", "", "", true},
    {"::", "", "", true},
    {"", "", "", false},
    {"192.0.2", "", "", false},
    {"192.0.2.1 ", "", "", false},
    {"a name that is longer than any address can be, whatever its form may be", "", "", false},
};

static void databases_of_cities(void **state)
{
    (void)state;
    static const unsigned sizes[] = {24, 28, 32};
    static const char *const types[] = {"GeoLite2-City", "DBIP-City-Lite", "GeoIP2-Enterprise"};
    for (int version = 4; version <= 6; version += 2)
        for (size_t i = 0; i < UNIT_N(sizes); i++) {
            fill_city(version);
            query_lookup *l = with_database(save("city.mmdb", types[i], sizes[i]));
            assert_true(query_lookup_has(l, QUERY_LOOKUP_GEO));
            assert_int_equal(query_lookup_has(l, QUERY_LOOKUP_ASN), i == 2);
            for (size_t j = 0; j < UNIT_N(places); j++) {
                const struct place *p = &places[j];
                bool known = !p->six || version == 6;
                check_text(l, query_lookup_country, "country", p->addr, known ? p->country : "");
                check_text(l, query_lookup_city, "city", p->addr, known ? p->city : "");
                assert_int_equal(query_lookup_as(l, p->addr, strlen(p->addr)), 0);
            }
            char three[3];
            assert_int_equal(query_lookup_city(l, "192.0.2.1", 9, three, 3), 3);
            assert_memory_equal(three, "Lin", 3);
            char five[5]; /* the fifth octet is the first half of a letter */
            assert_int_equal(query_lookup_city(l, "192.0.2.1", 9, five, 5), 4);
            query_lookup_free(l);
        }
}

static void several_databases(void **state)
{
    (void)state;
    weir_err err = {0};
    fill_asn(6);
    query_lookup *l = with_database(save("asn.mmdb", "GeoLite2-ASN", 24));
    assert_false(query_lookup_has(l, QUERY_LOOKUP_GEO));
    assert_true(query_lookup_has(l, QUERY_LOOKUP_ASN));
    assert_int_equal(query_lookup_as(l, "192.0.2.9", 9), 64496);
    assert_int_equal(query_lookup_as(l, "198.51.100.9", 12), 4200000000U);
    assert_int_equal(query_lookup_as(l, "198.51.100.129", 14), 0);
    assert_int_equal(query_lookup_as(l, "2001:db8:1::1", 13), 64496);
    check_text(l, query_lookup_as_org, "organisation", "192.0.2.9", "Example Networks");
    check_text(l, query_lookup_as_org, "organisation", "198.51.100.9", "Example Flat");
    check_text(l, query_lookup_country, "country", "192.0.2.9", "");
    fill_city(6);
    assert_int_equal(query_lookup_geo(l, save("country.mmdb", "GeoLite2-Country", 28), &err),
                     WEIR_OK);
    check_text(l, query_lookup_country, "country", "192.0.2.9", "SE");
    check_text(l, query_lookup_city, "city", "192.0.2.9", ""); /* it is a database of countries */
    assert_int_equal(query_lookup_as(l, "192.0.2.9", 9), 64496);
    assert_int_equal(query_lookup_geo(l, path_of("country.mmdb"), &err), WEIR_OK);
    assert_int_equal(query_lookup_geo(l, path_of("country.mmdb"), &err), WEIR_OK);
    assert_int_equal(query_lookup_geo(l, path_of("country.mmdb"), &err), WEIR_ELIMIT);
    query_lookup_free(l);
}

static void without_database(void **state)
{
    (void)state;
    weir_err err = {0};
    query_lookup *l = query_lookup_new();
    check_text(l, query_lookup_country, "country", "192.0.2.1", "");
    assert_int_equal(query_lookup_as(l, "192.0.2.1", 9), 0);
    assert_int_equal(query_lookup_geo(l, path_of("none"), &err), WEIR_EIO);
    assert_non_null(strstr(err.msg, "No such file"));
    assert_int_equal(query_lookup_geo(l, dir, &err), WEIR_EFORMAT);
    assert_int_equal(query_lookup_geo(l, write_file("empty", "", 0), &err), WEIR_EFORMAT);
    assert_int_equal(query_lookup_geo(l, write_file("text", "no database\n", 12), &err),
                     WEIR_EFORMAT);
    assert_int_equal(mkfifo(path_of("fifo"), 0600), 0);
    assert_int_equal(query_lookup_geo(l, path_of("fifo"), &err), WEIR_EFORMAT);
    query_lookup_free(l);
    query_lookup_free(NULL);
}

/* Ask a database that may be anything for everything; what comes out is small or nothing. */
static bool survives(const char *path)
{
    static const char *const asked[] = {
        "0.0.0.0",         "192.0.2.1", "198.51.100.1", "203.0.113.70",
        "255.255.255.255", "::",        "2001:db8::1",  "ffff::"};
    weir_err err = {0};
    query_lookup *l = query_lookup_new();
    bool opened = query_lookup_geo(l, path, &err) == WEIR_OK;
    if (!opened)
        assert_true(strlen(err.msg) > 0);
    for (size_t i = 0; i < UNIT_N(asked) && opened; i++) {
        char out[256];
        size_t len = strlen(asked[i]);
        assert_true(query_lookup_country(l, asked[i], len, out, sizeof out) <= 2);
        assert_true(query_lookup_city(l, asked[i], len, out, sizeof out) <= 255);
        assert_true(query_lookup_as_org(l, asked[i], len, out, sizeof out) <= 255);
        (void)query_lookup_as(l, asked[i], len);
    }
    query_lookup_free(l);
    return opened;
}

static void every_octet_changed(void **state)
{
    (void)state;
    base_buf b = {0};
    mmdb_begin(&made, 4);
    (void)add_city(&made.data, "SE", "City", 0);
    assert_true(mmdb_prefix(&made, "192.0.2.0", 24, 0));
    assert_true(mmdb_prefix(&made, "128.0.0.0", 2, 0));
    mmdb_file(&made, "all of it", 28, &b);
    assert_false(b.failed);
    size_t opened = 0;
    static const uint8_t masks[] = {0xff, 0x80, 0x40, 0x20, 0x01};
    for (size_t i = 0; i < b.len; i++)
        for (size_t j = 0; j < UNIT_N(masks); j++) {
            b.data[i] = (char)(b.data[i] ^ masks[j]);
            opened += survives(write_file("changed", b.data, b.len));
            b.data[i] = (char)(b.data[i] ^ masks[j]);
        }
    assert_true(opened > b.len); /* changes in the data do not keep it from being opened */
    for (size_t len = 0; len < b.len; len++)
        assert_false(survives(write_file("cut", b.data, len)));
    assert_true(survives(write_file("whole", b.data, b.len)));
    base_buf_done(&b);
}

/* Metadata that would overflow a size of 32 bits, a stack, or all memory. */
static void hostile_metadata(void **state)
{
    (void)state;
    base_buf b = {0};
    fill_asn(4);
    static const uint32_t counts[] = {0x20000001, 0x40000000, UINT32_MAX, 100000};
    for (size_t i = 0; i < UNIT_N(counts); i++) {
        base_buf_reset(&b);
        mmdb_tree(&made, 32, &b);
        mmdb_metadata(&made, "ASN", 32, counts[i], &b);
        assert_false(survives(write_file("count", b.data, b.len)));
    }
    base_buf_reset(&b);
    mmdb_tree(&made, 32, &b);
    mmdb_marker(&b);
    mmdb_map(&b, 1);
    mmdb_text(&b, "a");
    for (int i = 0; i < 60000; i++)
        mmdb_array(&b, 1);
    mmdb_text(&b, "deep");
    assert_false(survives(write_file("deep", b.data, b.len)));
    base_buf_reset(&b);
    mmdb_tree(&made, 32, &b);
    mmdb_marker(&b);
    size_t start = b.len;
    mmdb_map(&b, 1);
    mmdb_text(&b, "languages");
    uint32_t next =
        (uint32_t)(b.len - start); /* lists of ten pointers to the list behind, ten times */
    for (int level = 0; level < 10; level++) {
        mmdb_array(&b, 10);
        next += 2 + 20;
        for (int i = 0; i < 10; i++)
            mmdb_pointer(&b, next);
    }
    mmdb_text(&b, "en");
    assert_false(survives(write_file("unfolding", b.data, b.len)));
    base_buf_done(&b);
}

/* Data that never ends, or goes round in circles, costs little and gives nothing. */
static void hostile_data(void **state)
{
    (void)state;
    base_buf *b = &made.data;
    mmdb_begin(&made, 4);
    mmdb_pointer(b, 0); /* to itself */
    uint32_t large = (uint32_t)b->len;
    mmdb_map(b, 100001);
    for (int i = 0; i < 100000; i++)
        mmdb_pair(b, "k", "v");
    mmdb_pair(b, "country_code", "SE");
    uint32_t deep = (uint32_t)b->len;
    for (int i = 0; i < 100000; i++) {
        mmdb_map(b, 1);
        mmdb_text(b, "x");
    }
    mmdb_text(b, "end");
    uint32_t wrong = (uint32_t)b->len;
    mmdb_map(b, 2);
    mmdb_pair(b, "country_code", "\xff\xfe");
    mmdb_pair(b, "city", "\xc3");
    assert_true(mmdb_prefix(&made, "192.0.2.0", 24, large));
    assert_true(mmdb_prefix(&made, "198.51.100.0", 24, deep));
    assert_true(mmdb_prefix(&made, "203.0.113.0", 24, wrong));
    assert_true(mmdb_prefix(&made, "0.0.0.0", 8, 0));
    query_lookup *l = with_database(save("hostile", "Enterprise", 32));
    for (int i = 0; i < 2000; i++) {
        check_text(l, query_lookup_country, "country", "192.0.2.1", "");
        check_text(l, query_lookup_country, "country", "198.51.100.1", "");
    }
    check_text(l, query_lookup_country, "country", "203.0.113.1", "");
    check_text(l, query_lookup_city, "city", "203.0.113.1", "");
    check_text(l, query_lookup_country, "country", "0.0.0.0", "");
    query_lookup_free(l);
}

/* ---- options records ---- */

static const int64_t HOUR = 3600LL * 1000000000;
static const int64_t START = 1700000000LL * 1000000000;

static flow_batch *batch;

static uint32_t add_row(int64_t received_ns, uint8_t exporter, uint32_t domain)
{
    const uint8_t addr[4] = {192, 0, 2, exporter};
    uint32_t row = flow_batch_add_rows(batch, 1);
    assert_int_not_equal(row, UINT32_MAX);
    assert_true(
        flow_batch_set_u64(batch, FLOW_OPTION_received, row, (uint64_t)(received_ns / 1000)));
    assert_true(flow_batch_set_key(batch, FLOW_OPTION_exporter, row, addr, sizeof addr));
    assert_true(flow_batch_set_u64(batch, FLOW_OPTION_domain, row, domain));
    return row;
}

static void set_text(uint32_t row, enum flow_option_id column, const char *text)
{
    assert_true(flow_batch_set_key(batch, column, row, text, (uint32_t)strlen(text)));
}

static void set_number(uint32_t row, enum flow_option_id column, uint64_t v)
{
    assert_true(flow_batch_set_u64(batch, column, row, v));
}

static void set_rate(uint32_t row, double rate)
{
    assert_true(flow_batch_set_f64(batch, FLOW_OPTION_sampling_rate, row, rate));
}

static void store(archive_writer *w, int64_t received_ns)
{
    weir_err err = {0};
    weir_status st = archive_writer_store(w, batch, received_ns, &err);
    UNIT_CHECK(st == WEIR_OK, "%s", err.msg);
    flow_batch_reset(batch);
}

static query_lookup *with_options(const char *path)
{
    weir_err err = {0};
    query_lookup *l = query_lookup_new();
    weir_status st = query_lookup_options(l, &path, 1, &err);
    UNIT_CHECK(st == WEIR_OK, "%s", err.msg);
    return l;
}

static void check_name(const char *what, const char *got, const char *want)
{
    UNIT_CHECK((!got && !want) || (got && want && strcmp(got, want) == 0), "%s: '%s', not '%s'",
               what, got ? got : "(null)", want ? want : "(null)");
}

#define NET "192.0.2."

static void check_names(const query_lookup *l, const char *third)
{
    static const uint8_t app[] = {3, 0, 0, 80}, other_app[] = {3, 0, 0, 81};
    check_name("if 1", query_lookup_interface(l, NET "1", 9, 1), "eth0");
    check_name("if 2", query_lookup_interface(l, NET "1", 9, 2), "uplink"); /* by its description */
    check_name("if 3", query_lookup_interface(l, NET "1", 9, 3), third);
    check_name("if 4", query_lookup_interface(l, NET "1", 9, 4), NULL);
    check_name("if 1 of another", query_lookup_interface(l, NET "2", 9, 1), "ge-0/0/1");
    check_name("if 1 of nobody", query_lookup_interface(l, NET "3", 9, 1), NULL);
    check_name("vrf 1", query_lookup_vrf(l, NET "1", 9, 1), "customer");
    check_name("vrf 2", query_lookup_vrf(l, NET "1", 9, 2), NULL);
    check_name("app", query_lookup_app(l, NET "1", 9, app, sizeof app), "http");
    check_name("other app", query_lookup_app(l, NET "1", 9, other_app, sizeof other_app), NULL);
    check_name("part of app", query_lookup_app(l, NET "1", 9, app, 3), NULL);
    static const struct {
        const char *what, *exporter;
        uint32_t domain;
        bool has_sampler;
        uint64_t sampler;
        double want;
    } rates[] = {
        {"domain", NET "1", 5, false, 0, 100},
        {"sampler of the domain", NET "1", 5, true, 7, 1000},
        {"unknown sampler: the domain's", NET "1", 5, true, 8, 100},
        {"other domain: domain 0's", NET "1", 6, false, 0, 10},
        {"sampler of other domain: domain 0's", NET "1", 6, true, 7, 10},
        {"other exporter", NET "2", 5, false, 0, 0},
    };
    for (size_t i = 0; i < UNIT_N(rates); i++) {
        double rate = query_lookup_rate(l, rates[i].exporter, 9, rates[i].domain,
                                        rates[i].has_sampler, rates[i].sampler);
        UNIT_CHECK(rate >= rates[i].want && rate <= rates[i].want, "%s: %g", rates[i].what, rate);
    }
    double rate = query_lookup_rate_interface(l, NET "2", 9, 5, 1);
    assert_true(rate >= 512 && rate <= 512);
    rate = query_lookup_rate_interface(l, NET "2", 9, 5, 2);
    assert_true(rate <= 0);
}

static void learn_from(query_lookup *l, const struct archive_part *p, uint64_t from)
{
    weir_err err = {0};
    weir_status st = query_lookup_rows(l, p->file, from, &err);
    UNIT_CHECK(st == WEIR_OK, "%s", err.msg);
}

static void check_later_rows(query_lookup *l, const char *archive, const char *third)
{
    archive_scan *scan;
    struct archive_part *parts;
    weir_err err = {0};
    size_t n;
    for (int earlier = 0; earlier <= 1; earlier++) {
        int file = 0;
        assert_int_equal(archive_scan_open(archive, FLOW_TABLE_OPTIONS, NULL, NULL, &scan, &err),
                         WEIR_OK);
        while (archive_scan_next(scan, &parts, &n, &err) == WEIR_OK) {
            for (size_t i = 0; i < n; i++, file++) {
                uint64_t rows = parquet_n_rows(parts[i].file);
                if (file == 1 && !earlier) { /* what came last in it is known without the rest */
                    learn_from(l, &parts[i], rows);
                    assert_false(query_lookup_has(l, QUERY_LOOKUP_IF));
                    learn_from(l, &parts[i], rows - 1);
                    assert_true(query_lookup_has(l, QUERY_LOOKUP_IF));
                    assert_false(query_lookup_has(l, QUERY_LOOKUP_RATE));
                    learn_from(l, &parts[i], 0);
                } else if (file == 0 && earlier) {
                    learn_from(l, &parts[i], 3);
                    learn_from(l, &parts[i], 0);
                }
            }
            archive_scan_release(scan, parts, n);
        }
        archive_scan_close(scan);
        assert_int_equal(file, 2);
    }
    check_names(l, third);
}

static void options_of_an_archive(void **state)
{
    (void)state;
    weir_err err = {0};
    archive_writer *w;
    char archive[sizeof dir + 16], path[sizeof archive + 64];
    (void)snprintf(archive, sizeof archive, "%s/archive", dir);
    const struct archive_options o = {.dir = archive, .sync = ARCHIVE_SYNC_NEVER};
    weir_status st = archive_writer_open(&o, &w, &err);
    UNIT_CHECK(st == WEIR_OK, "%s", err.msg);
    assert_non_null(batch = flow_batch_new(FLOW_TABLE_OPTIONS));

    uint32_t row = add_row(START, 1, 5);
    set_number(row, FLOW_OPTION_if_index, 1);
    set_text(row, FLOW_OPTION_if_name, "an old name");
    row = add_row(START, 1, 5);
    set_number(row, FLOW_OPTION_if_index, 2);
    set_text(row, FLOW_OPTION_if_description, "uplink");
    row = add_row(START + 1000000, 1, 5);
    set_number(row, FLOW_OPTION_if_index, 3);
    set_text(row, FLOW_OPTION_if_name, "the later one");
    row = add_row(START, 1, 5); /* arrived before, stands behind */
    set_number(row, FLOW_OPTION_if_index, 3);
    set_text(row, FLOW_OPTION_if_name, "the earlier one");
    row = add_row(START, 1, 5);
    set_number(row, FLOW_OPTION_if_index, 4); /* no name at all */
    row = add_row(START, 2, 5);
    set_number(row, FLOW_OPTION_if_index, 1);
    set_text(row, FLOW_OPTION_if_name, "ge-0/0/1");
    set_rate(row, 512);
    row = add_row(START, 1, 5);
    set_number(row, FLOW_OPTION_vrf_id, 1);
    set_text(row, FLOW_OPTION_vrf_name, "customer");
    row = add_row(START, 1, 5);
    assert_true(flow_batch_set_key(batch, FLOW_OPTION_app_id, row, "\3\0\0\120", 4));
    set_text(row, FLOW_OPTION_app_name, "http");
    row = add_row(START, 1, 5);
    set_rate(row, 99);
    row = add_row(START, 1, 0);
    set_rate(row, 10);
    row = add_row(START, 1, 5);
    set_number(row, FLOW_OPTION_sampler_id, 7);
    set_rate(row, 1000);
    store(w, START);

    row = add_row(START + HOUR, 1, 5); /* the next hour, the next file */
    set_number(row, FLOW_OPTION_if_index, 1);
    set_text(row, FLOW_OPTION_if_name, "eth0");
    row = add_row(START + HOUR, 1, 5);
    set_rate(row, 100);
    row = add_row(START + HOUR, 1, 5); /* no rates */
    set_rate(row, 0);
    row = add_row(START + HOUR, 1, 5);
    set_rate(row, -1);
    store(w, START + HOUR);

    query_lookup *l = with_options(archive); /* while it is being written */
    check_names(l, "the later one");
    query_lookup_free(l);

    char longest[400], want[256];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    memcpy(longest + 254, "\xc3\xb6", 2); /* the letter that would be cut in half */
    memset(want, 'x', 254);
    want[254] = 0;
    row = add_row(START + HOUR, 1, 5);
    set_number(row, FLOW_OPTION_if_index, 3);
    set_text(row, FLOW_OPTION_if_name, longest);
    store(w, START + HOUR);
    st = archive_writer_close(w, &err);
    UNIT_CHECK(st == WEIR_OK, "%s", err.msg);
    l = with_options(archive);
    check_names(l, want);
    for (int what = QUERY_LOOKUP_IF; what <= QUERY_LOOKUP_RATE; what++)
        assert_true(query_lookup_has(l, (enum query_lookup_what)what));
    assert_false(query_lookup_has(l, QUERY_LOOKUP_GEO));
    query_lookup_free(l);

    /* File by file, the latest first, and some rows again. */
    l = query_lookup_new();
    assert_non_null(l);
    check_later_rows(l, archive, want);
    query_lookup_free(l);

    /* Of a part of the archive: the names are those of the whole. */
    (void)snprintf(path, sizeof path, "%s/flows/date=2023-11-14/hour=22/x.parquet", archive);
    l = with_options(path);
    check_names(l, want);
    query_lookup_free(l);
    flow_batch_free(batch);
}

static int break_file(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)ftw;
    if (type == FTW_F && strstr(path, "hour=22") && st->st_size > 16)
        return truncate(path, st->st_size - 3);
    return 0;
}

/* After options_of_an_archive. */
static void a_damaged_file(void **state)
{
    (void)state;
    char archive[sizeof dir + 16];
    (void)snprintf(archive, sizeof archive, "%s/archive", dir);
    assert_int_equal(nftw(archive, break_file, 16, FTW_PHYS), 0);
    query_lookup *l = with_options(archive);
    check_name("of the sound file", query_lookup_interface(l, NET "1", 9, 1), "eth0");
    check_name("of the damaged one", query_lookup_vrf(l, NET "1", 9, 1), NULL);
    assert_false(query_lookup_has(l, QUERY_LOOKUP_VRF));
    query_lookup_free(l);
}

static void no_archive(void **state)
{
    (void)state;
    const char *const paths[] = {dir, "/nonexistent", path_of("text"), "", "flows", "/flows/"};
    weir_err err = {0};
    query_lookup *l = query_lookup_new();
    assert_int_equal(query_lookup_options(l, paths, UNIT_N(paths), &err), WEIR_OK);
    assert_false(query_lookup_has(l, QUERY_LOOKUP_IF));
    check_name("if", query_lookup_interface(l, NET "1", 9, 1), NULL);
    query_lookup_free(l);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static int set_up(void **state)
{
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    base_buf_done(&made.data);
    return nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(databases_of_cities),
        cmocka_unit_test(several_databases),
        cmocka_unit_test(without_database),
        cmocka_unit_test(every_octet_changed),
        cmocka_unit_test(hostile_metadata),
        cmocka_unit_test(hostile_data),
        cmocka_unit_test(options_of_an_archive),
        cmocka_unit_test(a_damaged_file),
        cmocka_unit_test(no_archive),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
