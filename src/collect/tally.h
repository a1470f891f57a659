/* tally -- what must be said of rows in the ledger that only a look at them can tell: those that were not stored, and those
 * whose end is before their start. */
#ifndef COLLECT_TALLY_H
#define COLLECT_TALLY_H

#include "flow/batch.h"
#include "ledger/account.h"

/* All rows of a batch of flows or options records are lost. */
void tally_lost(const flow_batch *b, ledger_account *a);
/* Flows of b that end before they start. */
void tally_reversed(const flow_batch *b, ledger_account *a);

#endif
