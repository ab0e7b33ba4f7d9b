/* journal: the events of one attempt, appended to its spool as ready frames by its supervisor.
 *
 * Sequence numbers start at 1 and have no gaps: an event that can't be written (disk full) gets none, is counted, and
 * leaves no torn frame behind. Nothing is synced here; what must be durable is the spec and the outcome. */
#ifndef AGENT_JOURNAL_H
#define AGENT_JOURNAL_H

#include "base/buf.h"
#include "schemas/msg.h"

struct journal {
	char attempt[GRETA_UUID_LEN + 1];
	int fd;                /* 0: closed */
	int64_t seq;           /* of the last event written */
	int64_t bytes;         /* of whole frames: the size of the file, unless ... */
	bool torn;             /* ... a part of one stands behind them that could not be taken back yet */
	int64_t lost[GRETA_EVENT_COUNT]; /* events that could not be written */
	int lost_errno;        /* why the last of them could not */
	struct greta_buf frame;
};

/* Opens DIR/events for appending. What a dead supervisor left is kept; a torn frame at its end is cut off. */
int journal_open(struct journal *j, const char *dir, const char *attempt, struct greta_err *e);

/* detail: a JSON object; NULL: {}. False when it could not be written (counted). */
bool journal_add(struct journal *j, enum greta_event_kind kind, const char *detail);
bool journal_add_bytes(struct journal *j, enum greta_event_kind kind, const char *detail, const void *bytes, size_t n);

int64_t journal_lost(const struct journal *j); /* events in all */
int journal_sync(struct journal *j, struct greta_err *e);
void journal_close(struct journal *j);

#endif
