/* decode -- how many flows a second the record view gives on one core, every field visited. Input: a payload file of
 * flowgen (per packet: u32 length, u32 exporter number in host order, the octets). One JSON line out: best of the runs.
 *
 *     flowgen --format v9 --flows 1M --payload v9.bin && bench/decode v9.bin [runs] */
#include <weir/decoder.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

struct visit {
    uint64_t flows, fields, sum;
};

static void visit_record(void *user, const weir_record *r)
{
    struct visit *v = user;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < r->n_fields; i++) {
        const weir_field *f = &r->fields[i];
        sum += weir_be(r->data + f->offset, f->length) + f->element->type;
    }
    v->sum += sum;
    v->flows++;
    v->fields += r->n_fields;
}

static void visit_value(void *user, const weir_record *r)
{
    struct visit *v = user;
    for (uint32_t i = 0; i < r->n_fields; i++) {
        weir_value value;
        if (weir_value_read(r, i, &value) == WEIR_OK)
            v->sum += value.kind + value.len;
    }
    v->flows++;
    v->fields += r->n_fields;
}

static double now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint8_t *slurp(const char *path, size_t *len)
{
    FILE *f = fopen(path, "rb");
    if (!f || fseek(f, 0, SEEK_END) != 0) {
        perror(path);
        exit(1);
    }
    *len = (size_t)ftell(f);
    rewind(f);
    uint8_t *data = malloc(*len);
    if (!data || fread(data, 1, *len, f) != *len) {
        perror(path);
        exit(1);
    }
    (void)fclose(f);
    return data;
}

static double run(const uint8_t *data, size_t len, const weir_handlers *on, struct visit *v)
{
    weir_decoder *d = weir_decoder_new(NULL, NULL);
    double start = now();
    for (size_t at = 0; at + 8 <= len;) {
        uint32_t head[2];
        memcpy(head, data + at, sizeof head);
        weir_endpoint from = {
            .family = 4,
            .port = 50000,
            .addr = {127, 0, (uint8_t)(1 + head[1] / 250), (uint8_t)(head[1] % 250 + 1)}};
        (void)weir_decode(d, &from, INT64_C(1700000000000000000), data + at + 8, head[0], on, v,
                          NULL);
        at += 8 + head[0];
    }
    double took = now() - start;
    weir_decoder_free(d);
    return took;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        (void)fprintf(stderr, "usage: decode PAYLOADS [RUNS]\n");
        return 2;
    }
    size_t len;
    uint8_t *data = slurp(argv[1], &len);
    int runs = argc > 2 ? atoi(argv[2]) : 9;
    double best[2] = {1e9, 1e9};
    struct visit v = {0};
    const weir_handlers views[2] = {{.record = visit_record}, {.record = visit_value}};
    for (int i = 0; i < runs * 2; i++) {
        v = (struct visit){0};
        double took = run(data, len, &views[i & 1], &v);
        if (took < best[i & 1])
            best[i & 1] = took;
    }
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    printf("{\"bench\":\"decode\",\"file\":\"%s\",\"flows\":%" PRIu64
           ",\"fields_per_flow\":%.1f,\"fields_mflows_s\":%.2f,"
           "\"values_mflows_s\":%.2f,\"max_rss_mb\":%ld}\n",
           argv[1], v.flows, (double)v.fields / (double)(v.flows ? v.flows : 1),
           (double)v.flows / best[0] / 1e6, (double)v.flows / best[1] / 1e6,
           usage.ru_maxrss / 1024);
    free(data);
    return v.flows ? 0 : 1;
}
