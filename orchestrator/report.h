/* report: a campaign as Markdown, with the sections that a B3.89 final report has. */
#ifndef ORCHESTRATOR_REPORT_H
#define ORCHESTRATOR_REPORT_H

#include "base/buf.h"
#include "base/err.h"
#include <stdint.h>

struct greta_db;

int report_markdown(struct greta_db *db, int64_t campaign_id, struct greta_buf *out, struct greta_err *e);

#endif
