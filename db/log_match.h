/* log_match: the lines that match, of chunks that come one after the other. A line may go on from one chunk to the next
 * of its attempt. For the files of db/. A regular expression is compiled here and not shared, since the C library takes
 * a lock at each use of one: so each thread has a matcher of its own. */
#ifndef DB_LOG_MATCH_H
#define DB_LOG_MATCH_H

#include "db/log_internal.h"
#include <regex.h>
#include <stdbool.h>

struct log_match {
	const struct greta_grep *g;
	greta_grep_fn *fn;
	void *arg;
	struct greta_buf literal; /* what every match holds, in lower case if case is ignored; "" if nothing is known */
	regex_t re;
	bool has_re;
	/* the text at hand: the unfinished line of the chunk before, and what it was joined with */
	int64_t attempt_id;
	int64_t offset; /* of text */
	int64_t end;    /* offset that the next chunk has if it goes on from here */
	struct greta_buf text;
	struct runs runs;        /* of the whole text */
	struct greta_buf folded; /* text in lower case, if case is ignored */
};

int log_match_init(struct log_match *s, const struct greta_grep *g, greta_grep_fn *fn, void *arg, struct greta_err *e);
/* A chunk of q, its columns from `first` as log_chunk_text has them. Returns what fn returned; so does the next. */
int log_match_take(struct log_match *s, struct greta_db *db, int64_t attempt_id, int64_t offset, struct greta_query *q,
		   int first, struct greta_err *e);
int log_match_flush(struct log_match *s, struct greta_err *e); /* no line goes on any more */
void log_match_release(struct log_match *s);

#endif
