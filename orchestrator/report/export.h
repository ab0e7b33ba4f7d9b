/* export: a campaign's results for other programs' eyes.
 *
 *	csv          one row an attempt, a header line (RFC 4180): the view `result` without its long texts
 *	jsonl        the same, an object a line
 *	prometheus   one sample a cell, in the text format 0.0.4: medians, intervals, tokens/s, runs by outcome
 *	llama-bench  what llama-bench -o json prints, one object a cell that has a result, as far as GRETA knows it
 */
#ifndef ORCHESTRATOR_REPORT_EXPORT_H
#define ORCHESTRATOR_REPORT_EXPORT_H

#include "base/buf.h"
#include "base/err.h"
#include <stdint.h>

struct greta_db;

/* Each returns how many attempts, or cells, it wrote; -1: an error. */
int export_csv(struct greta_db *db, int64_t campaign_id, struct greta_buf *out, struct greta_err *e);
int export_jsonl(struct greta_db *db, int64_t campaign_id, struct greta_buf *out, struct greta_err *e);
int export_prometheus(struct greta_db *db, int64_t campaign_id, struct greta_buf *out, struct greta_err *e);
int export_llama_bench(struct greta_db *db, int64_t campaign_id, struct greta_buf *out, struct greta_err *e);

#endif
