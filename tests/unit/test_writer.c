#include "collect/writer.h"

#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "unit.h"

struct rig {
    struct bell room;
    int gone_fd;
    writer *w;
};

static void start(struct rig *r, const char *path, size_t max_octets)
{
    weir_err err = {0};
    r->gone_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    r->w = writer_new(&(struct writer_options){.path = path,
                                               .level = 1,
                                               .max_octets = max_octets,
                                               .room = &r->room,
                                               .gone_fd = r->gone_fd},
                      &err);
    UNIT_CHECK(r->w, "%s", err.msg);
}

static void end(struct rig *r)
{
    writer_free(r->w);
    (void)close(r->gone_fd);
}

static struct writer_counters counted(struct rig *r)
{
    struct writer_counters n;
    writer_counters(r->w, &n);
    assert_int_equal(n.packets, n.packets_written + n.packets_queued + n.packets_lost);
    assert_int_equal(n.records, n.records_written + n.records_queued + n.records_lost);
    return n;
}

static void every_line_is_counted(void **state)
{
    (void)state;
    struct rig r;
    start(&r, "/dev/null", 1 << 20);
    for (int i = 0; i < 100000; i++) {
        writer_line(r.w, "0123456789\n", 11, 3);
        if (writer_open_octets(r.w) >= 10000)
            (void)writer_submit(r.w, false);
        if (i % 1000 == 0)
            (void)counted(&r);
    }
    writer_finish(r.w);
    assert_true(writer_stop(r.w));
    struct writer_counters n = counted(&r);
    assert_int_equal(n.packets_written, 100000);
    assert_int_equal(n.records_written, 300000);
    assert_int_equal(n.octets_written, 1100000);
    assert_int_equal(n.octets_file, 1100000);
    assert_int_equal(n.octets_queued, 0);
    end(&r);
}

/* A device that is always full: lines wait up to the limit, what is dropped is lost, the end loses the rest. */
static void full_device(void **state)
{
    (void)state;
    struct rig r;
    start(&r, "/dev/full", 100);
    writer_line(r.w, "first\n", 6, 1);
    assert_true(writer_submit(r.w, false));
    while (!counted(&r).failing)
        bell_wait(&r.room, bell_now() + BELL_MS);
    char line[200];
    memset(line, 'x', sizeof line);
    writer_line(r.w, line, sizeof line, 5);
    assert_false(writer_submit(r.w, false)); /* over the limit: it stays open */
    assert_int_equal(writer_open_octets(r.w), sizeof line);
    writer_line(r.w, line, sizeof line, 5);
    writer_drop(r.w);
    struct writer_counters n = counted(&r);
    assert_int_equal(n.packets_lost, 2);
    assert_int_equal(n.records_lost, 10);
    assert_int_equal(n.packets_queued, 1);
    writer_line(r.w, "last\n", 5, 1);
    writer_finish(r.w);
    assert_false(writer_stop(r.w));
    n = counted(&r);
    assert_int_equal(n.packets_lost, 4);
    assert_int_equal(n.packets_queued, 0);
    assert_int_equal(n.octets_queued, 0);
    end(&r);
}

/* A write that never returns is interrupted when it is given up. */
static void stuck(void **state)
{
    (void)state;
    char path[] = "/tmp/weir-writer-XXXXXX", fifo[64];
    struct rig r;
    assert_non_null(mkdtemp(path));
    (void)snprintf(fifo, sizeof fifo, "%s/fifo", path);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    start(&r, fifo, 1 << 20);
    static char line[1 << 20];
    memset(line, 'x', sizeof line);
    writer_line(r.w, line, sizeof line, 7);
    writer_finish(r.w);
    while (!writer_ended(r.w)) {
        writer_give_up(r.w);
        bell_wait(&r.room, bell_now() + BELL_MS);
    }
    assert_false(writer_stop(r.w));
    struct writer_counters n = counted(&r);
    assert_int_equal(n.records_lost, 7);
    assert_true(n.octets_file < sizeof line);
    end(&r);
    (void)unlink(fifo);
    (void)rmdir(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_line_is_counted),
        cmocka_unit_test(full_device),
        cmocka_unit_test(stuck),
    };
    log_init("test", LOG_LEVEL_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
