#include "orchestrator/commands/live.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BAR_WIDTH 20
#define PLAIN_EVERY_S 10 /* a line of totals so often where nothing can be redrawn */

struct live {
	struct term term;
	int64_t campaign_id;
	int n_drawn;            /* lines of the picture now on the terminal */
	int64_t last_plain_ns;
	bool seen_any;
};

struct live *live_create(struct term term, int64_t campaign_id)
{
	struct live *l = greta_alloc(sizeof *l);
	l->term = term;
	l->campaign_id = campaign_id;
	return l;
}

void live_add_bar(const struct term *t, struct greta_buf *out, double share, int width, enum term_style style)
{
	static const char *const eighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
	share = share < 0 || isnan(share) ? 0 : share > 1 ? 1 : share;
	int filled = (int)(share * width * 8);
	cleanup_buf struct greta_buf bar = {0};
	for (int i = 0; i < filled / 8; i++)
		greta_buf_adds(&bar, "█");
	greta_buf_adds(&bar, eighths[filled % 8]);
	int used = filled / 8 + (filled % 8 ? 1 : 0);
	term_add(t, out, style, greta_buf_str(&bar));
	for (; used < width; used++)
		greta_buf_adds(out, "·");
}

void live_add_line(const struct term *t, struct greta_buf *out, const char *text)
{
	size_t n = t->tty ? term_fit(text, t->width) : strlen(text);
	greta_buf_add(out, text, n);
	if (t->color && n < strlen(text))
		greta_buf_adds(out, "\033[0m");
	greta_buf_addc(out, '\n');
}

static const char *duration(char out[32], double s)
{
	if (isnan(s))
		return "?";
	return greta_str_seconds(out, 32, s);
}

/* "4 of 24  3 ok  1 failed  2 running" */
static void add_counts(const struct term *t, struct greta_buf *out, const struct status_campaign *c)
{
	greta_buf_addf(out, "%lld of %lld", (long long)c->n_done, (long long)c->n_jobs);
	for (int o = 0; o < GRETA_OUTCOME_COUNT; o++) {
		if (!c->ended_by[o])
			continue;
		char text[48];
		snprintf(text, sizeof text, "%lld %s", (long long)c->ended_by[o], greta_outcome_name(o));
		greta_buf_adds(out, "  ");
		term_add(t, out, o == GRETA_OUTCOME_GOOD ? TERM_GOOD : TERM_BAD, text);
	}
	if (c->n_running)
		greta_buf_addf(out, "  %lld running", (long long)c->n_running);
	if (c->n_skipped)
		greta_buf_addf(out, "  %lld skipped", (long long)c->n_skipped);
	if (c->n_cancelled)
		greta_buf_addf(out, "  %lld cancelled", (long long)c->n_cancelled);
}

static void add_eta(struct greta_buf *out, const struct status_campaign *c)
{
	char a[32], b[32];
	greta_buf_addf(out, "  %s", duration(a, c->elapsed_s));
	if (greta_str_eq(c->state, "active")) {
		if (!isnan(c->eta_s))
			greta_buf_addf(out, ", %s to go", duration(a, c->eta_s));
		else if (!isnan(c->eta_low_s))
			greta_buf_addf(out, ", %s to %s to go", duration(a, c->eta_low_s), duration(b, c->eta_high_s));
	}
}

void live_add_campaign(const struct term *t, struct greta_buf *out, const struct status_campaign *c)
{
	term_add(t, out, TERM_BOLD, c->name);
	greta_buf_addf(out, " (%lld)  ", (long long)c->id);
	int64_t settled = c->n_done + c->n_skipped + c->n_cancelled;
	live_add_bar(t, out, c->n_jobs ? (double)settled / (double)c->n_jobs : 1, BAR_WIDTH, TERM_GOOD);
	greta_buf_adds(out, "  ");
	add_counts(t, out, c);
	add_eta(out, c);
}

static void draw_campaign(const struct term *t, const struct status_campaign *c, struct greta_buf *out)
{
	cleanup_buf struct greta_buf line = {0};
	live_add_campaign(t, &line, c);
	live_add_line(t, out, greta_buf_str(&line));
}

static double progress_share(const struct greta_progress *p)
{
	return p->total > 0 ? p->done / p->total : 0;
}

/* "v3 4096 #2 try 2    gpu1 gpu 3     prefill  ███···· layer 7/32  12 s, 30 s to go" */
void live_add_attempt(const struct term *t, struct greta_buf *out, const struct status_attempt *a, int bar_width)
{
	char took[32], left[32];
	cleanup_buf struct greta_buf head = {0}, place = {0};
	greta_buf_addf(&head, "%s %lld #%lld", a->variant, (long long)a->context, (long long)a->repeat);
	if (a->try_no > 1)
		greta_buf_addf(&head, " try %lld", (long long)a->try_no);
	greta_buf_addf(&place, "%s%s%s", a->node ? a->node : "", a->slot ? " " : "", a->slot ? a->slot : "");
	greta_buf_addf(out, "%-20s %-14s ", greta_buf_str(&head), greta_buf_str(&place));
	if (a->waiting_for) {
		greta_buf_addf(out, "waits for %s", a->waiting_for);
		return;
	}
	greta_buf_addf(out, "%-8s ", greta_phase_name(a->progress.phase));
	live_add_bar(t, out, progress_share(&a->progress), bar_width, a->verdict ? TERM_WARN : TERM_PLAIN);
	if (a->progress.total > 0)
		greta_buf_addf(out, " %s %.0f/%.0f", a->progress.unit, a->progress.done, a->progress.total);
	greta_buf_addf(out, "  %s", duration(took, a->running_s));
	if (!isnan(a->eta_s))
		greta_buf_addf(out, ", %s to go", duration(left, a->eta_s));
}

/* And its verdict below it. */
static void draw_attempt(const struct term *t, const struct status_attempt *a, struct greta_buf *out)
{
	cleanup_buf struct greta_buf line = {0};
	greta_buf_adds(&line, "  ");
	live_add_attempt(t, &line, a, BAR_WIDTH);
	live_add_line(t, out, greta_buf_str(&line));
	if (!a->verdict)
		return;
	greta_buf_clear(&line);
	greta_buf_adds(&line, "    ");
	term_add(t, &line, TERM_WARN, a->verdict);
	live_add_line(t, out, greta_buf_str(&line));
}

static bool wanted(int64_t campaign_id, int64_t id)
{
	return campaign_id == 0 || campaign_id == id;
}

void live_draw(const struct term *t, const struct status *s, int64_t campaign_id, struct greta_buf *out)
{
	size_t room = t->height > 6 ? (size_t)t->height - 4 : 2;
	int64_t left_out = 0; /* also of those that the snapshot leaves out */
	for (size_t i = 0; i < s->n_campaigns; i++) {
		if (!wanted(campaign_id, s->campaigns[i].id))
			continue;
		draw_campaign(t, &s->campaigns[i], out);
		left_out += s->campaigns[i].n_running;
	}
	for (size_t i = 0; i < s->n_attempts && (!t->tty || room >= 2); i++) {
		if (!wanted(campaign_id, s->attempts[i].campaign_id))
			continue;
		draw_attempt(t, &s->attempts[i], out);
		room -= 1 + (s->attempts[i].verdict != NULL);
		left_out--;
	}
	if (left_out > 0)
		greta_buf_addf(out, "  ... and %lld more running\n", (long long)left_out);
	for (size_t i = 0; i < s->n_nodes; i++) {
		const struct status_node *n = &s->nodes[i];
		if (greta_str_eq(n->state, "up"))
			continue;
		cleanup_buf struct greta_buf line = {0};
		greta_buf_addf(&line, "  node %s: ", n->name);
		term_add(t, &line, TERM_WARN, n->state);
		if (n->reason)
			greta_buf_addf(&line, ": %s", n->reason);
		live_add_line(t, out, greta_buf_str(&line));
	}
}

static void put(const struct live *l, const struct greta_buf *out)
{
	greta_fs_write_all(l->term.fd, out->data, out->len, NULL); /* a terminal that went away stops no campaign */
}

/* Goes back over the picture and clears it, so that what follows stands in its place. */
static void erase(struct live *l, struct greta_buf *out)
{
	if (l->n_drawn)
		greta_buf_addf(out, "\033[%dA\r\033[J", l->n_drawn);
	l->n_drawn = 0;
}

static int count_lines(const struct greta_buf *b, size_t from)
{
	int n = 0;
	for (size_t i = from; i < b->len; i++)
		n += b->data[i] == '\n';
	return n;
}

static void add_news(const struct status *s, struct greta_buf *out)
{
	for (size_t i = 0; i < s->n_news; i++)
		greta_buf_addf(out, "%s\n", s->news[i].text);
}

static void update_tty(struct live *l, const struct status *s)
{
	cleanup_buf struct greta_buf out = {0};
	term_measure(&l->term);
	greta_buf_adds(&out, "\033[?2026h"); /* synchronised: terminals that know it do not flicker */
	erase(l, &out);
	add_news(s, &out);
	size_t from = out.len;
	live_draw(&l->term, s, l->campaign_id, &out);
	l->n_drawn = count_lines(&out, from);
	greta_buf_adds(&out, "\033[?2026l");
	put(l, &out);
}

static void update_plain(struct live *l, const struct status *s)
{
	cleanup_buf struct greta_buf out = {0};
	add_news(s, &out);
	int64_t now = greta_clock_mono_ns();
	if (!l->seen_any || now - l->last_plain_ns >= PLAIN_EVERY_S * GRETA_NS_PER_S) {
		for (size_t i = 0; i < s->n_campaigns; i++) {
			const struct status_campaign *c = &s->campaigns[i];
			if (!wanted(l->campaign_id, c->id))
				continue;
			greta_buf_addf(&out, "%s: ", c->name);
			add_counts(&l->term, &out, c);
			add_eta(&out, c);
			greta_buf_addc(&out, '\n');
		}
		l->last_plain_ns = now;
		l->seen_any = true;
	}
	put(l, &out);
}

void live_update(struct live *l, const struct status *s)
{
	if (l->term.tty)
		update_tty(l, s);
	else
		update_plain(l, s);
}

void live_say(struct live *l, const char *text)
{
	cleanup_buf struct greta_buf out = {0};
	if (l->term.tty)
		erase(l, &out);
	greta_buf_addf(&out, "%s\n", text);
	put(l, &out);
}

void live_finish(struct live *l)
{
	free(l);
}
