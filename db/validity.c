#include "db/validity.h"
#include "base/clock.h"
#include "db/attempts.h"
#include "db/db.h"

const char *greta_mark_name(enum greta_mark_kind kind)
{
	static const char *const names[] = {
#define X(id, name) name,
		GRETA_MARKS(X)
#undef X
	};
	return names[kind];
}

static int add(struct greta_db *db, int64_t attempt_id, const struct greta_mark *m, struct greta_err *e)
{
	return greta_db_exec(db, e, "INSERT INTO validity_mark (attempt_id, kind, reason, marked_ns) VALUES (?, ?, ?, ?)",
			     "issi", attempt_id, greta_mark_name(m->kind), m->reason, greta_clock_wall_ns());
}

int greta_marks_set(struct greta_db *db, int64_t attempt_id, const struct greta_mark *marks, size_t n, struct greta_err *e)
{
	cleanup_txn struct greta_txn txn = greta_txn_none;
	cleanup_buf struct greta_buf names = {0};
	if (greta_txn_begin(db, &txn, e) ||
	    greta_db_exec(db, e, "DELETE FROM validity_mark WHERE attempt_id = ?", "i", attempt_id))
		return -1;
	for (size_t i = 0; i < n; i++) {
		greta_buf_addf(&names, "%s%s", i ? ", " : "", greta_mark_name(marks[i].kind));
		if (add(db, attempt_id, &marks[i], e))
			return -1;
	}
	if (greta_attempts_exclude(db, attempt_id, n ? greta_buf_str(&names) : NULL, e))
		return -1;
	return greta_txn_commit(&txn, e);
}
