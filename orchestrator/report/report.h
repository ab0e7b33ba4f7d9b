/* report: a campaign as Markdown, with the sections that a B3.89 final report has. */
#ifndef ORCHESTRATOR_REPORT_REPORT_H
#define ORCHESTRATOR_REPORT_REPORT_H

#include "base/buf.h"
#include "base/err.h"
#include <stdbool.h>
#include <stdint.h>

struct greta_db;

/* with_marked: results that are marked (validity.h) are in the statistics, too. */
int report_markdown(struct greta_db *db, int64_t campaign_id, bool with_marked, struct greta_buf *out,
		    struct greta_err *e);

#endif
