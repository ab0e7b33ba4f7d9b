/* logs: keeps the head and the tail of an engine's output, and drops and counts the middle.
 *
 * The head is handed on as it comes, the tail is kept in a ring and handed on at the end, so that neither memory nor
 * the spool grows beyond the limit, whatever the engine prints. Each stream has half of the limit, and half of that
 * for its head. */
#ifndef AGENT_LOGS_H
#define AGENT_LOGS_H

#include "base/buf.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOGS_CHUNK (16 * 1024)
#define LOGS_DEFAULT_LIMIT (4 * 1024 * 1024)

enum logs_stream { LOGS_OUT, LOGS_ERR, LOGS_STREAMS };

struct logs_sink {
	void (*chunk)(void *arg, enum logs_stream stream, int64_t offset, const char *bytes, size_t n);
	void (*gap)(void *arg, enum logs_stream stream, int64_t offset, int64_t dropped);
	void *arg;
};

struct logs_capture {
	int64_t total;          /* bytes seen */
	int64_t head_end;       /* the head is the bytes before this offset */
	int64_t handed;         /* bytes of the head handed on */
	struct greta_buf head;  /* taken, not yet handed on */
	char *ring;             /* byte k of the stream lies at k % ring_cap, for the last ring_cap of them */
	size_t ring_cap;
};

struct logs {
	struct logs_capture streams[LOGS_STREAMS];
	struct logs_sink sink;
};

void logs_init(struct logs *l, int64_t limit_bytes, struct logs_sink sink);
void logs_take(struct logs *l, enum logs_stream stream, const char *bytes, size_t n);
bool logs_waiting(const struct logs *l);  /* something of the head could be handed on */
void logs_flush(struct logs *l);
void logs_end(struct logs *l);            /* flushes, then hands on the gaps and the tails */

int64_t logs_total(const struct logs *l);
int64_t logs_dropped(const struct logs *l);

/* The last line that is not blank, of stderr if it has one, else of stdout; cut to cap. "" if there is none. */
void logs_last_line(const struct logs *l, char *out, size_t cap);

/* The last bytes of a stream that are still in memory, at most cap. */
size_t logs_tail(const struct logs *l, enum logs_stream stream, char *out, size_t cap);

void logs_release(struct logs *l);

#endif
