/* live: draws status snapshots while a campaign runs: in place on a terminal, as plain lines otherwise. */
#ifndef ORCHESTRATOR_COMMANDS_LIVE_H
#define ORCHESTRATOR_COMMANDS_LIVE_H

#include "orchestrator/control/status.h"
#include "orchestrator/print/term.h"

struct live;

/* campaign_id: draw this campaign's attempts alone; 0: all. */
struct live *live_create(struct term term, int64_t campaign_id);
void live_update(struct live *l, const struct status *s);
void live_say(struct live *l, const char *text); /* one line that stays, above what is redrawn */
void live_finish(struct live *l);                /* leaves the last picture standing; frees l */

/* The picture alone, for `status`: as many lines as fit term.height. */
void live_draw(const struct term *t, const struct status *s, int64_t campaign_id, struct greta_buf *out);

/* Its pieces, for other pictures. A line is cut to the width of a terminal; the others append to a line at hand. */
void live_add_line(const struct term *t, struct greta_buf *out, const char *line);
void live_add_bar(const struct term *t, struct greta_buf *out, double share, int width, enum term_style style);
void live_add_campaign(const struct term *t, struct greta_buf *line, const struct status_campaign *c);
void live_add_attempt(const struct term *t, struct greta_buf *line, const struct status_attempt *a, int bar_width);

#endif
