/* validity: marks on good results that nevertheless say nothing about speed: a throttled GPU, a busy neighbour, an answer
 * that another GPU does not give. A marked result still counts as its job's result; statistics leave it out unless they
 * are asked to take it in. Who judges is orchestrator/analysis/validity.h; this keeps what was found. */
#ifndef DB_VALIDITY_H
#define DB_VALIDITY_H

#include "base/err.h"
#include <stddef.h>
#include <stdint.h>

struct greta_db;

#define GRETA_MARKS(X)                                \
	X(THROTTLED,      "throttled")                \
	X(SLOW_CLOCKS,    "slow clocks")              \
	X(BUSY_NEIGHBOUR, "busy neighbour")           \
	X(OFF_REFERENCE,  "off the reference variant") \
	X(OFF_OTHER_GPU,  "off the same variant on another GPU")

enum greta_mark_kind {
#define X(id, name) GRETA_MARK_##id,
	GRETA_MARKS(X)
#undef X
	GRETA_MARK_COUNT
};
const char *greta_mark_name(enum greta_mark_kind kind);

struct greta_mark {
	enum greta_mark_kind kind; /* each at most once */
	const char *reason;
};

/* Replaces an attempt's marks, and attempt.excluded with them; n 0 takes all away. */
int greta_marks_set(struct greta_db *db, int64_t attempt_id, const struct greta_mark *marks, size_t n, struct greta_err *e);

#endif
