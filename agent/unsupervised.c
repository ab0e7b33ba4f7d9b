#include "agent/unsupervised.h"
#include "agent/journal.h"
#include "agent/spool.h"
#include "agent/tail.h"
#include "base/buf.h"
#include "base/clock.h"
#include <math.h>
#include <string.h>

void unsupervised_read(const char *dir, struct greta_end *end)
{
	struct tail t;
	if (tail_open(&t, dir, 0, NULL) != 0)
		return;
	while (tail_next_written(&t) == 1) {
		struct greta_msg m = {0};
		if (tail_decode(&t, &m, NULL) != 0)
			break;
		if (t.kind == GRETA_EVENT_ACCEPTED)
			end->queued_wall_ns = m.event->wall_ns;
		if (t.kind == GRETA_EVENT_STARTED)
			end->started_wall_ns = m.event->wall_ns;
		if (t.kind == GRETA_EVENT_PROGRESS)
			greta_progress_parse(m.event->detail, strlen(m.event->detail), &end->progress, NULL);
		greta_msg_release(&m);
	}
	tail_close(&t);
}

int unsupervised_end(const char *dir, struct greta_end *end, struct greta_err *e)
{
	struct journal j;
	const char *slash = strrchr(dir, '/');
	cleanup_buf struct greta_buf text = {0};
	end->exit_code = -1;
	end->wall_s = NAN;
	end->peak_rss_bytes = -1;
	end->finished_wall_ns = greta_clock_wall_ns();
	/* Opening cuts off what a dead supervisor had half written. */
	if (journal_open(&j, dir, slash ? slash + 1 : dir, e) != 0)
		return -1;
	int rc = journal_sync(&j, e);
	journal_close(&j);
	greta_end_print(end, &text);
	return rc != 0 ? rc : spool_publish(dir, text.data, text.len, e);
}
