/* filer -- decoded records into the batches that the writer stores in an archive: of many packets at a time where the
 * template allows it. Serves one decoder and one writer, on the thread that decodes. */
#ifndef COLLECT_FILER_H
#define COLLECT_FILER_H

#include "collect/writer.h"
#include "flow/normalise.h"
#include "ledger/account.h"

typedef struct filer filer;

/* submit: called to have the open chunk handed over, says whether it was. a: hears of records that there was no memory for.
 * NULL: out of memory. */
filer *filer_new(writer *w, ledger_account *a, bool (*submit)(void *user), void *user);
void filer_free(filer *f); /* takes NULL */

/* A packet that arrived then is going to be decoded: the chunk is handed over when it belongs into another file. */
void filer_time(filer *f, int64_t received_ns);

/* Records of several packets are gathered (flow_note_records) before they become rows of the open chunk, which happens at
 * filer_flush at the latest: to be called before the chunk is handed over or dropped. filer_noted: so many records wait. */
void filer_flush(filer *f);
uint64_t filer_noted(const filer *f);

/* For weir_decode, with the filer as user. */
extern const weir_handlers filer_handlers;

const struct flow_counters *filer_counters(const filer *f);

#endif
