/* example_arrow -- a whole program on libweir-archive: who sent most, of an archive or of a capture.
 *
 *     cc example_arrow.c $(pkg-config --cflags --libs weir-archive) -o example_arrow
 *     ./example_arrow archive 'dst port 53'      the ten largest senders, and how complete the answer is
 *     ./example_arrow exports.pcap               flows and octets of each exporter
 *
 * Batches are Arrow's structs: columns are children of a struct array, in the order of the schema. A program that has an
 * Arrow library hands the stream to that; this one reads the buffers itself. */
#include <weir/arrow.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* Whether row i of a column has a value. */
static bool there(const struct ArrowArray *a, int64_t i)
{
    const uint8_t *bits = a->buffers[0];
    return !bits || bits[i / 8] >> i % 8 & 1;
}

/* A text of a dictionary column, "-" where there is none. */
static void print_text(const struct ArrowArray *a, int64_t i)
{
    const uint32_t *codes = a->buffers[1];
    const int32_t *starts = a->dictionary->buffers[1];
    const char *octets = a->dictionary->buffers[2];
    if (there(a, i))
        printf("%.*s", (int)(starts[codes[i] + 1] - starts[codes[i]]), octets + starts[codes[i]]);
    else
        printf("-");
}

static uint64_t number(const struct ArrowArray *a, int64_t i)
{
    return there(a, i) ? ((const uint64_t *)a->buffers[1])[i] : 0;
}

static int failed(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    return 1;
}

static int ask_archive(const char *path, const char *filter)
{
    const weir_query question = {.paths = &path,
                                 .n_paths = 1,
                                 .filter = filter,
                                 .by = "src_addr",
                                 .columns = "src_addr,flows,bytes",
                                 .order = "bytes",
                                 .limit = 10};
    struct ArrowArrayStream batches;
    struct ArrowArray batch;
    weir_answer *answer;
    weir_err err;
    int status;
    if (weir_query_start(&question, &batches, &answer, &err) != WEIR_OK)
        return failed(path, err.msg);
    while ((status = batches.get_next(&batches, &batch)) == 0 && batch.release) {
        for (int64_t i = 0; i < batch.length; i++) {
            print_text(batch.children[0], i);
            printf(" %" PRIu64 " %" PRIu64 "\n", number(batch.children[1], i),
                   number(batch.children[2], i));
        }
        batch.release(&batch);
    }
    const char *summary = "";
    if (status)
        status = failed(path, batches.get_last_error(&batches));
    else if (weir_answer_summary(answer, &summary, &err) == WEIR_OK)
        fprintf(stderr, "%s\n", summary); /* completeness is in it */
    batches.release(&batches);
    weir_answer_free(answer);
    return status;
}

static int read_capture(const char *path)
{
    static const char *const columns[] = {"exporter", "bytes"};
    const weir_capture_options options = {.rows = {.columns = columns, .n_columns = 2}};
    struct ArrowArrayStream batches;
    struct ArrowArray batch;
    weir_err err;
    int status;
    if (weir_arrow_capture(path, &options, &batches, &err) != WEIR_OK)
        return failed(path, err.msg);
    while ((status = batches.get_next(&batches, &batch)) == 0 && batch.release) {
        const struct ArrowArray *exporter = batch.children[0], *bytes = batch.children[1];
        /* What is asked of a text is asked of its code. */
        for (int64_t code = 0; code < exporter->dictionary->length; code++) {
            uint64_t flows = 0, octets = 0;
            int64_t one = -1;
            for (int64_t i = 0; i < batch.length; i++)
                if (there(exporter, i) && ((const uint32_t *)exporter->buffers[1])[i] == code) {
                    one = i;
                    flows++;
                    octets += number(bytes, i);
                }
            if (one < 0)
                continue;
            print_text(exporter, one);
            printf(" %" PRIu64 " %" PRIu64 "\n", flows, octets);
        }
        batch.release(&batch);
    }
    if (status)
        status = failed(path, batches.get_last_error(&batches));
    batches.release(&batches);
    return status;
}

int main(int argc, char **argv)
{
    struct stat st;
    if (argc < 2) {
        fprintf(stderr, "usage: example_arrow ARCHIVE [FILTER] | CAPTURE\n");
        return 2;
    }
    if (stat(argv[1], &st) == 0 && S_ISDIR(st.st_mode))
        return ask_archive(argv[1], argc > 2 ? argv[2] : NULL);
    return read_capture(argv[1]);
}
