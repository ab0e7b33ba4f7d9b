/* top: what a live view of the fleet shows and what its keys mean, without a terminal: cmd_top.c reads keys and snapshots
 * and puts the pictures on the screen.
 *
 *	FLEET --l--> LOGS      of the selected attempt; l, q or Esc goes back
 *	FLEET --c--> CANCEL    asks; y cancels the job, anything else goes back
 *	FLEET --?--> HELP      any key goes back
 *
 * A selection follows its attempt, not its line; when the attempt ends, the one that takes its place is selected.
 */
#ifndef ORCHESTRATOR_COMMANDS_TOP_H
#define ORCHESTRATOR_COMMANDS_TOP_H

#include "orchestrator/control/status.h"
#include "orchestrator/print/term.h"

enum top_mode { TOP_FLEET, TOP_LOGS, TOP_CANCEL, TOP_HELP };

/* A key is its character, or one of these. */
enum top_key { TOP_KEY_NONE = 0, TOP_KEY_ESCAPE = 27, TOP_KEY_UP = 256, TOP_KEY_DOWN, TOP_KEY_PAGE_UP, TOP_KEY_PAGE_DOWN };

enum top_action { TOP_NOTHING, TOP_QUIT, TOP_READ_LOGS, TOP_CANCEL_JOB };

#define TOP_NEWS 5

struct top {
	enum top_mode mode;
	char selected[GRETA_UUID_LEN + 1]; /* attempt; empty: none */
	size_t row;                        /* where it stands in the list */
	bool connected;
	struct status status;              /* the last snapshot; kept when the controller is gone */
	char *news[TOP_NEWS];              /* newest last */
	size_t n_news;
	char *logs;                        /* of the selected attempt, its end; NULL: not read */
	char *said;                        /* one line for the person: what became of a cancel; NULL: none */
};

void top_release(struct top *t);
void top_update(struct top *t, struct status *s);            /* takes *s */
void top_say(struct top *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
const struct status_attempt *top_selected(const struct top *t); /* NULL: nothing runs */

/* The next key of what a terminal sent, with the bytes it took; TOP_KEY_NONE for a sequence that means nothing here. */
int top_key_parse(const char *bytes, size_t n, size_t *used);
enum top_action top_press(struct top *t, int key);

/* term.height lines on a terminal (the last one without a newline), as many as it takes elsewhere. */
void top_draw(const struct top *t, const struct term *term, struct greta_buf *out);

#endif
