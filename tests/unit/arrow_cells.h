/* arrow_cells -- Arrow arrays as tests look at them: by the C data interface alone, so that they see what any other reader
 * would. Checks that an array keeps the interface's rules; values as JSON text. */
#ifndef TESTS_ARROW_CELLS_H
#define TESTS_ARROW_CELLS_H

#include "base/buf.h"
#include "base/text.h"
#include "unit.h"

#include <inttypes.h>
#include <string.h>
#include <weir/arrow.h>

static inline bool arrow_bit(const void *bits, int64_t i)
{
    return ((const uint8_t *)bits)[i / 8] >> i % 8 & 1;
}

static inline bool arrow_there(const struct ArrowArray *a, int64_t i)
{
    return !a->buffers[0] || arrow_bit(a->buffers[0], i);
}

/* Octets of a value, 0: bits. */
static inline size_t arrow_width(const char *format)
{
    if (format[0] == 't')
        return 8;
    const char *at = strchr("cCsSiIlLg", format[0]);
    UNIT_CHECK(at && *at && !format[1], "format %s", format);
    static const size_t widths[] = {1, 1, 2, 2, 4, 4, 8, 8, 8};
    return widths[at - "cCsSiIlLg"];
}

static inline uint64_t arrow_u64(const char *format, const struct ArrowArray *a, int64_t i)
{
    uint64_t v = 0;
    if (strcmp(format, "b") == 0)
        return arrow_bit(a->buffers[1], i);
    memcpy(&v, (const char *)a->buffers[1] + (size_t)i * arrow_width(format), arrow_width(format));
    return v;
}

/* Every rule that a reader relies on. */
static inline void arrow_check(const struct ArrowSchema *s, const struct ArrowArray *a)
{
    const char *f = s->format;
    assert_non_null(s->release);
    assert_non_null(a->release);
    assert_non_null(s->name);
    assert_int_equal(a->offset, 0);
    assert_int_equal(s->n_children, a->n_children);
    assert_int_equal(s->dictionary != NULL, a->dictionary != NULL);
    int64_t n_null = 0;
    for (int64_t i = 0; i < a->length; i++)
        n_null += !arrow_there(a, i);
    UNIT_CHECK(n_null == a->null_count, "%s: %d nulls, not %d", s->name, (int)a->null_count,
               (int)n_null);
    UNIT_CHECK(n_null == 0 || (s->flags & ARROW_FLAG_NULLABLE), "%s is not nullable", s->name);
    if (strcmp(f, "+s") == 0) {
        assert_int_equal(a->n_buffers, 1);
        for (int64_t i = 0; i < a->n_children; i++) {
            assert_int_equal(a->children[i]->length, a->length);
            arrow_check(s->children[i], a->children[i]);
        }
        return;
    }
    assert_non_null(a->buffers[1]);
    const int32_t *starts = a->buffers[1];
    if (strcmp(f, "+l") == 0) {
        assert_int_equal(a->n_buffers, 2);
        assert_int_equal(a->n_children, 1);
        assert_int_equal(starts[0], 0);
        for (int64_t i = 0; i < a->length; i++)
            assert_true(starts[i] <= starts[i + 1]);
        assert_int_equal(a->children[0]->length, starts[a->length]);
        assert_int_equal(a->children[0]->null_count, 0);
        arrow_check(s->children[0], a->children[0]);
        return;
    }
    assert_int_equal(a->n_children, 0);
    if (strcmp(f, "u") == 0 || strcmp(f, "z") == 0) {
        assert_int_equal(a->n_buffers, 3);
        assert_non_null(a->buffers[2]);
        for (int64_t i = 0; i < a->length; i++) {
            assert_true(starts[i] >= 0 && starts[i] <= starts[i + 1]);
            if (*f == 'u')
                assert_true(base_utf8_ok((const uint8_t *)a->buffers[2] + starts[i],
                                         (size_t)(starts[i + 1] - starts[i])));
        }
        return;
    }
    assert_int_equal(a->n_buffers, 2);
    if (s->dictionary) {
        assert_string_equal(f, "I");
        assert_int_equal(a->dictionary->null_count, 0);
        for (int64_t i = 0; i < a->length; i++)
            UNIT_CHECK(!arrow_there(a, i) || arrow_u64(f, a, i) < (uint64_t)a->dictionary->length,
                       "%s: row %d is beyond the dictionary", s->name, (int)i);
        arrow_check(s->dictionary, a->dictionary);
    }
}

/* One value, as `weir query -o ndjson` writes it. */
static inline void arrow_cell(base_buf *out, const struct ArrowSchema *s,
                              const struct ArrowArray *a, int64_t i)
{
    const char *f = s->format;
    if (!arrow_there(a, i)) {
        base_buf_str(out, "null");
        return;
    }
    if (strcmp(f, "+l") == 0) {
        const int32_t *starts = a->buffers[1];
        base_buf_char(out, '[');
        for (int32_t k = starts[i]; k < starts[i + 1]; k++) {
            if (k > starts[i])
                base_buf_char(out, ',');
            arrow_cell(out, s->children[0], a->children[0], k);
        }
        base_buf_char(out, ']');
        return;
    }
    if (*f == 'u' || *f == 'z') {
        const int32_t *starts = a->buffers[1];
        const uint8_t *at = (const uint8_t *)a->buffers[2] + starts[i];
        size_t len = (size_t)(starts[i + 1] - starts[i]);
        if (*f == 'u')
            base_json_string(out, at, len, false);
        else
            base_json_hex(out, at, len);
        return;
    }
    uint64_t v = arrow_u64(f, a, i);
    double real;
    char time[BASE_TIME_TEXT];
    if (s->dictionary) {
        arrow_cell(out, s->dictionary, a->dictionary, (int64_t)v);
        return;
    }
    switch (*f) {
    case 'b':
        base_buf_str(out, v ? "true" : "false");
        break;
    case 'g':
        memcpy(&real, &v, sizeof real);
        if (real >= -1e15 && real <= 1e15 && real == (double)(int64_t)real)
            base_buf_printf(out, "%" PRId64, (int64_t)real);
        else
            base_json_f64(out, real);
        break;
    case 't':
        base_buf_char(out, '"');
        base_buf_add(
            out, time,
            base_time_text(time, (int64_t)v * (f[2] == 'u' ? 1000 : 1), f[2] == 'u' ? 6 : 9));
        base_buf_char(out, '"');
        break;
    case 'c':
        base_buf_printf(out, "%d", (int)(int8_t)v);
        break;
    case 's':
        base_buf_printf(out, "%d", (int)(int16_t)v);
        break;
    case 'i':
        base_buf_printf(out, "%d", (int)(int32_t)v);
        break;
    case 'l':
        base_buf_printf(out, "%" PRId64, (int64_t)v);
        break;
    default:
        base_buf_printf(out, "%" PRIu64, v);
        break;
    }
}

/* The rows of a struct array, a line of JSON each. */
static inline void arrow_lines(base_buf *out, const struct ArrowSchema *s,
                               const struct ArrowArray *a)
{
    for (int64_t i = 0; i < a->length; i++) {
        for (int64_t c = 0; c < a->n_children; c++) {
            base_buf_str(out, c ? "," : "{");
            base_json_string(out, s->children[c]->name, strlen(s->children[c]->name), false);
            base_buf_char(out, ':');
            arrow_cell(out, s->children[c], a->children[c], i);
        }
        base_buf_str(out, a->n_children ? "}\n" : "{}\n");
    }
}

/* All of a stream, checked; the number of rows. Ends with what get_next said at *status. */
static inline uint64_t arrow_drain(struct ArrowArrayStream *stream, base_buf *out, int *status,
                                   unsigned *n_batches)
{
    struct ArrowSchema schema;
    struct ArrowArray batch;
    uint64_t rows = 0;
    *status = stream->get_schema(stream, &schema);
    UNIT_CHECK(*status == 0, "schema: %s", stream->get_last_error(stream));
    if (n_batches)
        *n_batches = 0;
    while ((*status = stream->get_next(stream, &batch)) == 0 && batch.release) {
        arrow_check(&schema, &batch);
        if (out)
            arrow_lines(out, &schema, &batch);
        rows += (uint64_t)batch.length;
        if (n_batches)
            ++*n_batches;
        batch.release(&batch);
        assert_null(batch.release);
    }
    schema.release(&schema);
    return rows;
}

#endif
