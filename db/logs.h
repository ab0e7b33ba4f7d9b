/* logs: what engines printed. Offsets count bytes of an attempt's whole output, both streams interleaved as they came,
 * bytes that were dropped included. Writing happens through greta_attempts_apply and greta_logs_add. */
#ifndef DB_LOGS_H
#define DB_LOGS_H

#include "base/buf.h"
#include "base/err.h"
#include "db/db.h"
#include <stdbool.h>
#include <stdint.h>

enum greta_stream { GRETA_STREAM_ALL, GRETA_STREAM_OUT, GRETA_STREAM_ERR };

/* Output that no agent sent (an import). stream: OUT or ERR. greta_logs_seal when all is there. */
int greta_logs_add(struct greta_db *db, int64_t attempt_id, enum greta_stream stream, const void *bytes, size_t n,
		   struct greta_err *e);
int greta_logs_seal(struct greta_db *db, int64_t attempt_id, struct greta_err *e);

struct greta_log_piece {
	int64_t offset;
	enum greta_stream stream;       /* OUT or ERR */
	const char *bytes;              /* borrowed; NULL for a gap */
	size_t n;
	int64_t dropped;                /* of a gap: bytes that were not kept */
};
/* Returns 0 to go on, 1 to stop (reading then returns 0), -1 for an error, set in e. */
typedef int greta_log_fn(void *arg, const struct greta_log_piece *piece, struct greta_err *e);

/* From an offset to what is there now; a follower calls again with *next, which is where it ended (NULL: no matter). */
int greta_logs_read(struct greta_db *db, int64_t attempt_id, enum greta_stream stream, int64_t from, int64_t *next,
		    greta_log_fn *fn, void *arg, struct greta_err *e);

/* Where the last n_lines begin, to read from. */
int greta_logs_tail_offset(struct greta_db *db, int64_t attempt_id, enum greta_stream stream, int64_t n_lines,
			   int64_t *offset, struct greta_err *e);

#define GRETA_GREP_PROGRESS (64 << 20)
struct greta_grep_stats {
	int64_t n_chunks, bytes;        /* of all that is asked for; bytes are uncompressed, and some may have been pruned since */
	int64_t n_candidates;           /* chunks that may match */
	int64_t n_chunks_read, bytes_read, n_hits; /* so far */
};
struct greta_grep {
	const char *pattern;            /* a literal, or a POSIX extended regular expression */
	bool regex, ignore_case;
	enum greta_stream stream;
	int64_t campaign_id, attempt_id; /* 0: any */
	bool counted_only;              /* only attempts that are counted results */
	void (*progress)(void *arg, const struct greta_grep_stats *stats); /* every GRETA_GREP_PROGRESS bytes read; NULL: nobody asks */
};
struct greta_grep_hit {
	int64_t attempt_id, offset;     /* of the line */
	enum greta_stream stream;       /* of the line's start */
	const char *line;               /* without its newline; not NUL-terminated; borrowed */
	size_t n;
};
/* Lines that match, attempt by attempt, in order. fn as above. EINVAL for a bad expression. A line is at most 64 KiB;
 * a longer one is searched in pieces. `stats` may be NULL; it is kept up to date while fn is called, always from the
 * caller's thread. A reader searches on all processors. */
typedef int greta_grep_fn(void *arg, const struct greta_grep_hit *hit, struct greta_err *e);
int greta_logs_grep(struct greta_db *db, const struct greta_grep *g, greta_grep_fn *fn, void *arg,
		    struct greta_grep_stats *stats, struct greta_err *e);

#endif
