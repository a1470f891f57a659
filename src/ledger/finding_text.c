/* finding_text -- findings as words and JSON: the sentences and remedies of registry/findings.tsv with their numbers. */
#include "base/text.h"
#include "ledger/findings_in.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct rule {
    const char *name, *brief, *sentence, *remedy;
} rules[LEDGER_N_FINDINGS] = {
#define FINDING(id, name, brief, sentence, remedy)                                                 \
    [LEDGER_FINDING_##id] = {name, brief, sentence, remedy},
#include "ledger_finding_table.inc" /* from registry/findings.tsv */
#undef FINDING
};

const char *ledger_finding_name(enum ledger_finding_id id)
{
    return rules[id].name;
}

const char *ledger_finding_short(enum ledger_finding_id id)
{
    return rules[id].brief;
}

const char *ledger_severity_text(enum ledger_severity s)
{
    static const char *const texts[] = {"info", "warning", "error"};
    return texts[s];
}

size_t findings_addr_text(const uint8_t *addr, uint8_t len, char *out)
{
    if (len == 4)
        return base_ipv4_text(out, addr);
    if (len == 16)
        return base_ipv6_text(out, addr);
    *out = '-';
    return 1;
}

size_t ledger_finding_addr_text(const ledger_finding *f, char *out)
{
    if (f->collector) {
        memcpy(out, "collector", 9);
        return 9;
    }
    if (!f->exporter_port || !f->exporter_len)
        return findings_addr_text(f->exporter, f->exporter_len, out);
    size_t n = 0;
    if (f->exporter_len == 16)
        out[n++] = '[';
    n += findings_addr_text(f->exporter, f->exporter_len, out + n);
    if (f->exporter_len == 16)
        out[n++] = ']';
    out[n++] = ':';
    return n + base_u64_text(out + n, f->exporter_port);
}

/* --- numbers --- */

/* 1,204 */
static void add_count(base_buf *b, double v)
{
    char digits[BASE_U64_TEXT];
    size_t n = base_u64_text(digits, v >= 0x1p64 ? UINT64_MAX : v > 0 ? (uint64_t)v : 0);
    for (size_t i = 0; i < n; i++) {
        if (i && (n - i) % 3 == 0)
            base_buf_char(b, ',');
        base_buf_char(b, digits[i]);
    }
}

static void add_share(base_buf *b, double v)
{
    double percent = v * 100;
    if (percent >= 99.5 || percent == 0)
        base_buf_printf(b, "%.0f %%", percent);
    else if (percent >= 10)
        base_buf_printf(b, "%.0f %%", percent);
    else if (percent >= 1)
        base_buf_printf(b, "%.1f %%", percent);
    else if (percent >= 0.01)
        base_buf_printf(b, "%.2f %%", percent);
    else
        base_buf_str(b, "under 0.01 %");
}

/* 12 s, 5 min, 3 h 20 min, 9 days, 51 years; the sign is for the sentence. */
static void add_span(base_buf *b, double us, bool sign)
{
    double s = fabs(us) / 1e6;
    if (sign && us < 0)
        base_buf_str(b, "-");
    if (s < 1) {
        base_buf_printf(b, "%.1f s", s);
    } else if (s < 60) {
        base_buf_printf(b, "%.0f s", s);
    } else if (s < 3600) {
        unsigned long n = (unsigned long)lround(s);
        base_buf_printf(b, "%lu min", n / 60);
        if (n % 60 && n < 600)
            base_buf_printf(b, " %lu s", n % 60);
    } else if (s < 48 * 3600) {
        unsigned long n = (unsigned long)lround(s / 60);
        base_buf_printf(b, "%lu h", n / 60);
        if (n % 60)
            base_buf_printf(b, " %lu min", n % 60);
    } else if (s < 2 * 365.2425 * 86400) {
        base_buf_printf(b, "%.0f days", s / 86400);
    } else {
        base_buf_printf(b, "%.0f years", s / 365.2425 / 86400);
    }
}

static void add_octets(base_buf *b, double v)
{
    static const char *const units[] = {"octets", "KiB", "MiB", "GiB"};
    size_t unit = 0;
    while (v >= 1024 && unit + 1 < ARRAY_LEN(units)) {
        v /= 1024;
        unit++;
    }
    base_buf_printf(b, v == floor(v) ? "%.0f %s" : "%.1f %s", v, units[unit]);
}

/* "2026-11-22 21:05 UTC" */
static void add_time(base_buf *b, double us)
{
    char t[BASE_TIME_TEXT];
    double ns = us * 1000;
    if (!(ns > -0x1p62 && ns < 0x1p62)) {
        base_buf_str(b, "an impossible time");
        return;
    }
    size_t n = base_time_text(t, (int64_t)ns, 0);
    base_buf_add(b, t, n > 10 ? 10 : n);
    base_buf_char(b, ' ');
    if (n >= 16)
        base_buf_add(b, t + 11, 5);
    base_buf_str(b, " UTC");
}

static void add_plain(base_buf *b, double v)
{
    if (v == floor(v) && fabs(v) < 1e15)
        base_buf_printf(b, "%.0f", v);
    else
        base_buf_printf(b, "%.3g", v);
}

static void add_number(base_buf *b, const struct ledger_number *n)
{
    switch (n->kind) {
    case LEDGER_NUMBER_COUNT:
        add_count(b, n->value);
        break;
    case LEDGER_NUMBER_SHARE:
        add_share(b, n->value);
        break;
    case LEDGER_NUMBER_SPAN:
        add_span(b, n->value, strcmp(n->name, "skew") != 0);
        break;
    case LEDGER_NUMBER_OCTETS:
        add_octets(b, n->value);
        break;
    case LEDGER_NUMBER_TIME:
        add_time(b, n->value);
        break;
    case LEDGER_NUMBER_PLAIN:
        add_plain(b, n->value);
        break;
    }
}

/* --- sentences --- */

/* What {lost} counts. */
static const char *unit_of(const struct draft *d)
{
    for (uint32_t i = 0; i < d->n_texts; i++)
        if (strcmp(d->texts[i].name, "UNIT") == 0)
            return d->texts[i].text;
    return "flow";
}

/* What stands for {name}: of a draft's numbers and texts; the exporter as options take it. */
static void add_named(base_buf *b, const struct draft *d, const char *name, size_t len,
                      const char *noun, size_t noun_len)
{
    for (size_t i = 0; i < d->pub.n_numbers; i++) {
        const struct ledger_number *n = &d->pub.numbers[i];
        if (strlen(n->name) != len || memcmp(n->name, name, len) != 0)
            continue;
        add_number(b, n);
        if (!noun)
            return;
        base_buf_char(b, ' ');
        if (noun_len == 4 && memcmp(noun, "UNIT", 4) == 0)
            base_buf_str(b, unit_of(d));
        else
            base_buf_add(b, noun, noun_len);
        if (n->value != 1)
            base_buf_char(b, 's');
        return;
    }
    for (uint32_t i = 0; i < d->n_texts; i++)
        if (strlen(d->texts[i].name) == len && memcmp(d->texts[i].name, name, len) == 0) {
            base_buf_str(b, d->texts[i].text ? d->texts[i].text : d->own);
            return;
        }
    if (len == 8 && memcmp(name, "exporter", 8) == 0 && d->pub.exporter_len) {
        char addr[LEDGER_FINDING_ADDR_TEXT];
        base_buf_add(b, addr, findings_addr_text(d->pub.exporter, d->pub.exporter_len, addr));
        return;
    }
    base_buf_str(b, "ADDR");
}

static void add_sentence(base_buf *b, const struct draft *d, const char *form)
{
    while (*form) {
        size_t plain = strcspn(form, "{");
        base_buf_add(b, form, plain);
        form += plain;
        if (!*form)
            break;
        size_t name = strcspn(++form, "|}");
        const char *noun = form[name] == '|' ? form + name + 1 : NULL;
        size_t noun_len = noun ? strcspn(noun, "}") : 0;
        add_named(b, d, form, name, noun, noun_len);
        form = noun ? noun + noun_len + 1 : form + name + 1;
    }
}

/* The octets of b as a string of its own. */
static char *take(base_buf *b)
{
    char *out = b->failed ? NULL : malloc(b->len + 1);
    if (out) {
        memcpy(out, b->data, b->len);
        out[b->len] = 0;
    }
    return out;
}

bool findings_word(struct draft *d)
{
    base_buf b = {0};
    add_sentence(&b, d, rules[d->pub.id].sentence);
    if (d->more)
        base_buf_printf(&b, "; alike in %" PRIu32 " more of its streams", d->more);
    d->sentence = take(&b);
    base_buf_reset(&b);
    add_sentence(&b, d, rules[d->pub.id].remedy);
    d->remedy = take(&b);
    base_buf_done(&b);
    d->pub.sentence = d->sentence ? d->sentence : rules[d->pub.id].brief;
    d->pub.remedy = d->remedy ? d->remedy : "";
    return d->sentence && d->remedy;
}

/* --- JSON --- */

static void json_time(base_buf *b, int64_t us)
{
    char t[BASE_TIME_TEXT];
    base_buf_char(b, '"');
    if (us > INT64_MIN / 1000 && us < INT64_MAX / 1000)
        base_buf_add(b, t, base_time_text(t, us * 1000, 0));
    base_buf_char(b, '"');
}

void ledger_finding_json(const ledger_finding *f, base_buf *out)
{
    char addr[LEDGER_FINDING_ADDR_TEXT];
    base_buf_printf(
        out, "{\"id\":\"%s\",\"severity\":\"%s\",\"about\":\"%s\",\"exporter\":", rules[f->id].name,
        ledger_severity_text(f->severity), f->collector ? "collector" : "exporter");
    if (f->exporter_len)
        base_json_string(out, addr, findings_addr_text(f->exporter, f->exporter_len, addr), false);
    else
        base_buf_str(out, "null");
    if (f->exporter_port)
        base_buf_printf(out, ",\"port\":%u", (unsigned)f->exporter_port);
    else
        base_buf_str(out, ",\"port\":null");
    if (f->has_domain)
        base_buf_printf(out, ",\"domain\":%" PRIu32, f->domain);
    else
        base_buf_str(out, ",\"domain\":null");
    if (f->version)
        base_buf_printf(out, ",\"version\":%u", (unsigned)f->version);
    else
        base_buf_str(out, ",\"version\":null");
    base_buf_str(out, ",\"from\":");
    json_time(out, f->from_us);
    base_buf_str(out, ",\"to\":");
    json_time(out, f->to_us);
    base_buf_str(out, ",\"numbers\":{");
    for (size_t i = 0; i < f->n_numbers; i++) {
        const struct ledger_number *n = &f->numbers[i];
        base_buf_printf(out, "%s\"%s\":", i ? "," : "", n->name);
        if (n->kind == LEDGER_NUMBER_TIME)
            json_time(out, (int64_t)n->value);
        else if (n->kind == LEDGER_NUMBER_SPAN) /* seconds */
            base_json_f64(out, n->value / 1e6);
        else if (n->value == floor(n->value) && fabs(n->value) < 0x1p53)
            base_buf_printf(out, "%.0f", n->value);
        else
            base_json_f64(out, n->value);
    }
    base_buf_str(out, "},\"sentence\":");
    base_json_string(out, f->sentence, strlen(f->sentence), false);
    base_buf_str(out, ",\"remedy\":");
    base_json_string(out, f->remedy, strlen(f->remedy), false);
    base_buf_char(out, '}');
}
