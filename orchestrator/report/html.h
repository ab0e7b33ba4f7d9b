/* html: a campaign's report as one page that needs nothing else: data, style and program in one file.
 *
 * The page's program is html/main.js with its chart library, bundled at build time; a build without npm has none, and
 * then html_available is false. What the page gets is one JSON object, which html_data writes; main.js names its members.
 */
#ifndef ORCHESTRATOR_REPORT_HTML_H
#define ORCHESTRATOR_REPORT_HTML_H

#include "base/buf.h"
#include "base/err.h"
#include <stdbool.h>
#include <stdint.h>

struct greta_db;

bool html_available(void);
/* with_marked: results that are marked (validity.h) are in the statistics, too. */
int html_data(struct greta_db *db, int64_t campaign_id, bool with_marked, struct greta_buf *out, struct greta_err *e);
int html_report(struct greta_db *db, int64_t campaign_id, bool with_marked, struct greta_buf *out,
		struct greta_err *e); /* EUNSUPPORTED */

#endif
