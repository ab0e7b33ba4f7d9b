#include "db/likely.h"

#include "base/str.h"

#define LIKELY_MAX 5
#define LOOKED_AT 1000
#define NEAR 2 /* edits: a slip of the finger or two */

static void list(struct greta_buf *out, const char *name, int *n)
{
	if (*n < LIKELY_MAX)
		greta_buf_addf(out, "%s%s", *n ? ", " : "", name);
	else if (*n == LIKELY_MAX)
		greta_buf_adds(out, ", ...");
	++*n;
}

int db_likely(struct greta_db *db, struct greta_buf *out, const char *which, const char *sql, struct greta_err *e)
{
	cleanup_buf struct greta_buf near = {0};
	cleanup_query struct greta_query *q = greta_query_open(db, e, sql, "");
	int rc = q ? greta_query_step(q, e) : -1, n = 0, n_near = 0;

	for (int i = 0; rc == 1 && i < LOOKED_AT; i++, rc = greta_query_step(q, e)) {
		const char *name = greta_query_str(q, 0);

		list(out, name, &n);
		if (greta_str_distance(name, which) <= NEAR)
			list(&near, name, &n_near);
	}
	if (near.len) {
		greta_buf_clear(out);
		greta_buf_adds(out, near.data);
	}
	return rc < 0 ? -1 : 0;
}
