#include "orchestrator/commands/top.h"

#include "base/cleanup.h"
#include "base/mem.h"
#include "base/str.h"
#include "orchestrator/commands/live.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* ---- state */

static void clear_text(char **text)
{
	free(*text);
	*text = NULL;
}

void top_release(struct top *t)
{
	status_release(&t->status);
	for (size_t i = 0; i < t->n_news; i++)
		free(t->news[i]);
	free(t->logs);
	free(t->said);
	*t = (struct top){0};
}

void top_say(struct top *t, const char *fmt, ...)
{
	cleanup_buf struct greta_buf text = {0};
	va_list ap;

	va_start(ap, fmt);
	greta_buf_vaddf(&text, fmt, ap);
	va_end(ap);
	free(t->said);
	t->said = greta_strdup(greta_buf_str(&text));
}

static void keep_news(struct top *t, const struct status *s)
{
	for (size_t i = 0; i < s->n_news; i++) {
		if (t->n_news && greta_str_eq(t->news[t->n_news - 1], s->news[i].text))
			continue; /* a node that is tried again and again */
		if (t->n_news == TOP_NEWS) {
			free(t->news[0]);
			memmove(t->news, t->news + 1, (TOP_NEWS - 1) * sizeof *t->news);
			t->n_news--;
		}
		t->news[t->n_news++] = greta_strdup(s->news[i].text);
	}
}

static void select_row(struct top *t, size_t row)
{
	size_t n = t->status.n_attempts;

	t->row = n ? (row < n ? row : n - 1) : 0;
	greta_str_copy(t->selected, sizeof t->selected, n ? t->status.attempts[t->row].uuid : "");
}

static void find_selected(struct top *t)
{
	for (size_t i = 0; i < t->status.n_attempts; i++) {
		if (!greta_str_eq(t->status.attempts[i].uuid, t->selected))
			continue;
		t->row = i;
		return;
	}
	/* Whoever reads logs or was asked something goes on about the attempt that it was about. */
	if (t->mode == TOP_FLEET || t->mode == TOP_HELP)
		select_row(t, t->row);
}

void top_update(struct top *t, struct status *s)
{
	keep_news(t, s);
	status_release(&t->status);
	t->status = *s;
	*s = (struct status){0};
	t->connected = true;
	find_selected(t);
}

const struct status_attempt *top_selected(const struct top *t)
{
	for (size_t i = 0; i < t->status.n_attempts; i++)
		if (greta_str_eq(t->status.attempts[i].uuid, t->selected))
			return &t->status.attempts[i];
	return NULL;
}

/* ---- keys */

int top_key_parse(const char *bytes, size_t n, size_t *used)
{
	static const struct {
		const char *sequence;
		int key;
	} keys[] = {
		{"\033[A", TOP_KEY_UP},       {"\033OA", TOP_KEY_UP},          {"\033[B", TOP_KEY_DOWN},
		{"\033OB", TOP_KEY_DOWN},     {"\033[5~", TOP_KEY_PAGE_UP},    {"\033[6~", TOP_KEY_PAGE_DOWN},
	};
	size_t end = 2;

	*used = n ? 1 : 0;
	if (n < 2 || bytes[0] != '\033' || (bytes[1] != '[' && bytes[1] != 'O'))
		return n ? (unsigned char)bytes[0] : TOP_KEY_NONE;
	for (size_t i = 0; i < GRETA_COUNT(keys); i++) {
		*used = strlen(keys[i].sequence);
		if (n >= *used && !memcmp(bytes, keys[i].sequence, *used))
			return keys[i].key;
	}
	while (end < n && !(bytes[end] >= '@' && bytes[end] <= '~'))
		end++;
	*used = end < n ? end + 1 : n;
	return TOP_KEY_NONE;
}

static enum top_action press_fleet(struct top *t, int key)
{
	switch (key) {
	case 'q':
	case 3: /* Ctrl-C: the terminal is ours, so it comes as a key */
		return TOP_QUIT;
	case TOP_KEY_UP:
	case 'k':
		select_row(t, t->row ? t->row - 1 : 0);
		break;
	case TOP_KEY_DOWN:
	case 'j':
		select_row(t, t->row + 1);
		break;
	case TOP_KEY_PAGE_UP:
		select_row(t, t->row > 10 ? t->row - 10 : 0);
		break;
	case TOP_KEY_PAGE_DOWN:
		select_row(t, t->row + 10);
		break;
	case 'l':
	case '\r':
		if (!top_selected(t))
			break;
		t->mode = TOP_LOGS;
		return TOP_READ_LOGS;
	case 'c':
		t->mode = top_selected(t) ? TOP_CANCEL : TOP_FLEET;
		break;
	case '?':
	case 'h':
		t->mode = TOP_HELP;
		break;
	default:
		break;
	}
	return TOP_NOTHING;
}

static enum top_action press_logs(struct top *t, int key)
{
	if (key == 3)
		return TOP_QUIT;
	if (key != 'q' && key != 'l' && key != TOP_KEY_ESCAPE)
		return TOP_NOTHING;
	t->mode = TOP_FLEET;
	clear_text(&t->logs);
	find_selected(t);
	return TOP_NOTHING;
}

enum top_action top_press(struct top *t, int key)
{
	enum top_mode was = t->mode;

	if (key == TOP_KEY_NONE)
		return TOP_NOTHING;
	clear_text(&t->said);
	if (was == TOP_FLEET)
		return press_fleet(t, key);
	if (was == TOP_LOGS)
		return press_logs(t, key);
	t->mode = TOP_FLEET;
	if (was == TOP_CANCEL && key == 'y' && top_selected(t))
		return TOP_CANCEL_JOB;
	find_selected(t);
	return key == 3 ? TOP_QUIT : TOP_NOTHING;
}

/* ---- pictures: lines into one buffer, each cut to the terminal's width */

struct canvas {
	const struct term *term;
	struct greta_buf *out;
	int left;               /* lines still to be had; elsewhere than on a terminal there is no end of them */
};

static void add_line(struct canvas *c, const struct greta_buf *line)
{
	if (c->term->tty && c->left <= 0)
		return;
	live_add_line(c->term, c->out, greta_buf_str(line));
	c->left--;
}

static void add_text(struct canvas *c, enum term_style style, const char *text)
{
	cleanup_buf struct greta_buf line = {0};

	term_add(c->term, &line, style, text);
	add_line(c, &line);
}

/* A node without GPUs counts as one slot, and may run several small jobs. */
static int64_t slots_of(const struct status_node *n)
{
	return n->n_slots > n->n_busy ? n->n_slots : n->n_busy;
}

static void add_head(struct canvas *c, const struct top *t)
{
	cleanup_buf struct greta_buf line = {0};
	const struct status *s = &t->status;
	int64_t busy = 0, slots = 0;
	size_t up = 0;

	for (size_t i = 0; i < s->n_nodes; i++) {
		const struct status_node *n = &s->nodes[i];

		if (!greta_str_eq(n->state, "up"))
			continue;
		busy += n->n_busy;
		slots += slots_of(n);
		up++;
	}
	term_add(c->term, &line, TERM_BOLD, "greta-orch top");
	if (t->connected)
		greta_buf_addf(&line, "  %s", s->controller);
	else
		term_add(c->term, &line, TERM_BAD, "  no controller is running; `greta-orch resume` starts one");
	greta_buf_addf(&line, "  nodes %zu/%zu up  slots %lld/%lld busy", up, s->n_nodes, (long long)busy, (long long)slots);
	add_line(c, &line);
}

static void add_campaigns(struct canvas *c, const struct status *s)
{
	int most = c->term->height / 4 > 1 ? c->term->height / 4 : 1;

	for (size_t i = 0; i < s->n_campaigns; i++) {
		cleanup_buf struct greta_buf line = {0};

		if (c->term->tty && i == (size_t)most && s->n_campaigns > i + 1) {
			greta_buf_addf(&line, "... and %zu more campaigns", s->n_campaigns - i);
			add_line(c, &line);
			return;
		}
		live_add_campaign(c->term, &line, &s->campaigns[i]);
		add_line(c, &line);
	}
	if (!s->n_campaigns)
		add_text(c, TERM_DIM, "no campaign is active");
}

/* "gpu1 ████ 8/8 0.3 ms" side by side, as many as fit a line; one that is not up has its reason on a line of its own. */
static void add_node_cell(const struct canvas *c, struct greta_buf *line, const struct status_node *n)
{
	int64_t slots = slots_of(n);
	cleanup_buf struct greta_buf cell = {0};

	greta_buf_addf(&cell, "%-10.10s ", n->name);
	live_add_bar(c->term, &cell, slots ? (double)n->n_busy / (double)slots : 0, 8, TERM_GOOD);
	greta_buf_addf(&cell, " %lld/%lld", (long long)n->n_busy, (long long)slots);
	if (!isnan(n->rtt_s))
		greta_buf_addf(&cell, "  %.1f ms", n->rtt_s * 1e3);
	for (int used = term_columns(greta_buf_str(&cell)); used < 40; used++)
		greta_buf_addc(&cell, ' ');
	greta_buf_adds(line, greta_buf_str(&cell));
}

static void add_nodes(struct canvas *c, const struct status *s)
{
	size_t a_line = c->term->width >= 120 ? 3 : c->term->width >= 80 ? 2 : 1, in_line = 0;
	int least = c->left / 2;
	cleanup_buf struct greta_buf line = {0};

	for (size_t i = 0; i < s->n_nodes; i++) {
		if (!greta_str_eq(s->nodes[i].state, "up"))
			continue;
		add_node_cell(c, &line, &s->nodes[i]);
		if (++in_line < a_line)
			continue;
		if (!c->term->tty || c->left > least)
			add_line(c, &line);
		greta_buf_clear(&line);
		in_line = 0;
	}
	if (in_line)
		add_line(c, &line);
	for (size_t i = 0; i < s->n_nodes && (!c->term->tty || c->left > least); i++) {
		const struct status_node *n = &s->nodes[i];

		if (greta_str_eq(n->state, "up"))
			continue;
		greta_buf_clear(&line);
		greta_buf_addf(&line, "%-10.10s ", n->name);
		term_add(c->term, &line, TERM_WARN, n->state);
		if (n->reason)
			greta_buf_addf(&line, ": %s", n->reason);
		add_line(c, &line);
	}
}

static void add_attempt(struct canvas *c, const struct status_attempt *a, bool selected)
{
	cleanup_buf struct greta_buf line = {0};

	greta_buf_adds(&line, selected && c->term->tty ? ">" : " ");
	live_add_attempt(c->term, &line, a, c->term->width >= 110 ? 20 : 12);
	add_line(c, &line);
	if (!a->verdict)
		return;
	greta_buf_clear(&line);
	greta_buf_adds(&line, "    ");
	term_add(c->term, &line, TERM_WARN, a->verdict);
	add_line(c, &line);
}

/* So that the selected one is among those that are seen. */
static size_t first_shown(const struct top *t, int room)
{
	const struct status *s = &t->status;
	size_t first = t->row < s->n_attempts ? t->row : 0;

	if (!s->n_attempts)
		return 0;
	for (room -= 1 + (s->attempts[first].verdict != NULL); first > 0; first--) {
		room -= 1 + (s->attempts[first - 1].verdict != NULL);
		if (room < 0)
			break;
	}
	return first;
}

static void add_attempts(struct canvas *c, const struct top *t, int below)
{
	const struct status *s = &t->status;
	size_t first = c->term->tty ? first_shown(t, c->left - below - 2) : 0, shown = 0;
	cleanup_buf struct greta_buf head = {0};
	int64_t queued = 0;

	for (size_t i = 0; i < s->n_campaigns; i++)
		queued += s->campaigns[i].n_queued;
	greta_buf_addf(&head, "%zu running, %lld queued", s->n_attempts, (long long)queued);
	add_text(c, TERM_BOLD, greta_buf_str(&head));
	for (size_t i = first; i < s->n_attempts; i++, shown++) {
		if (c->term->tty && c->left <= below + 1 && i + 1 < s->n_attempts)
			break;
		add_attempt(c, &s->attempts[i], greta_str_eq(s->attempts[i].uuid, t->selected));
	}
	if (shown == s->n_attempts)
		return;
	greta_buf_clear(&head);
	greta_buf_addf(&head, "  %zu to %zu of %zu", first + 1, first + shown, s->n_attempts);
	add_text(c, TERM_DIM, greta_buf_str(&head));
}

static void fill_up(struct canvas *c, int below)
{
	while (c->term->tty && c->left > below) {
		greta_buf_addc(c->out, '\n');
		c->left--;
	}
}

static void add_foot(struct canvas *c, const struct top *t, const char *keys)
{
	cleanup_buf struct greta_buf line = {0};

	if (!c->term->tty)
		return;
	fill_up(c, 1);
	term_add(c->term, &line, t->said ? TERM_WARN : TERM_DIM, t->said ? t->said : keys);
	add_line(c, &line);
	if (c->out->len && c->out->data[c->out->len - 1] == '\n')
		c->out->data[--c->out->len] = '\0'; /* the last line must not scroll the first one away */
}

static void draw_fleet(const struct top *t, struct canvas *c)
{
	const struct status_attempt *a = top_selected(t);
	cleanup_buf struct greta_buf ask = {0};
	int below;

	add_head(c, t);
	add_campaigns(c, &t->status);
	add_nodes(c, &t->status);
	below = 1 + (c->term->height >= 20 ? (int)t->n_news : 0);
	add_attempts(c, t, below);
	fill_up(c, below);
	for (size_t i = 0; i < t->n_news && c->left > 1; i++)
		add_text(c, TERM_DIM, t->news[i]);
	if (t->mode == TOP_CANCEL && a)
		greta_buf_addf(&ask, "cancel %s %lld #%lld on %s, kill its processes? y/n",
			       a->variant, (long long)a->context, (long long)a->repeat, a->node);
	add_foot(c, t, ask.len ? greta_buf_str(&ask) : "up/down select   l logs   c cancel   ? help   q quit");
}

/* The last lines that fit. */
static void draw_logs(const struct top *t, struct canvas *c)
{
	const struct status_attempt *a = top_selected(t);
	cleanup_buf struct greta_buf head = {0};
	const char *text = t->logs ? t->logs : "", *from = text + strlen(text);

	if (a)
		greta_buf_addf(&head, "%s %lld #%lld on %s, attempt %s", a->variant, (long long)a->context,
			       (long long)a->repeat, a->node, a->uuid);
	else
		greta_buf_addf(&head, "attempt %s has ended", t->selected);
	add_text(c, TERM_BOLD, greta_buf_str(&head));
	if (from > text && from[-1] == '\n')
		from--;
	for (int lines = c->left - 1; from > text && lines > 0; from--)
		if (from[-1] == '\n' && --lines == 0)
			break;
	while (*from && c->left > 1) {
		size_t n = strcspn(from, "\n");
		cleanup_free char *line = greta_strndup(from, n);

		add_text(c, TERM_PLAIN, line);
		from += n + (from[n] == '\n');
	}
	if (!*text)
		add_text(c, TERM_DIM, "it has printed nothing yet");
	add_foot(c, t, "l or q back to the fleet");
}

static void draw_help(const struct top *t, struct canvas *c)
{
	static const char *const lines[] = {
		"up, k        select the attempt above",
		"down, j      select the attempt below",
		"PgUp, PgDn   ten at once",
		"l, Enter     what the selected attempt printed; follows it",
		"c            cancel the selected attempt's job, after asking",
		"?, h         this help",
		"q, Ctrl-C    leave; nothing is stopped by it",
		"",
		"A bar is the progress of the phase; a verdict of the watchdog stands below it.",
		"A node's bar is its busy slots, the time beside it is that of a ping.",
	};

	add_text(c, TERM_BOLD, "greta-orch top: keys");
	for (size_t i = 0; i < GRETA_COUNT(lines); i++)
		add_text(c, TERM_PLAIN, lines[i]);
	add_foot(c, t, "any key goes back");
}

void top_draw(const struct top *t, const struct term *term, struct greta_buf *out)
{
	struct canvas c = {term, out, term->height};

	if (t->mode == TOP_LOGS)
		draw_logs(t, &c);
	else if (t->mode == TOP_HELP)
		draw_help(t, &c);
	else
		draw_fleet(t, &c);
}
