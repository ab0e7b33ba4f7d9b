/* watch and status: snapshots to those who look on, and the end of what they wait for. */
#include "orchestrator/control/control_conn.h"

#include "base/clock.h"
#include "base/jsonw.h"
#include "base/mem.h"

#define UNREAD_MAX (256 * 1024) /* a watcher that does not read gets no more snapshots meanwhile */

static void send_status(struct conn *k)
{
	struct ctl *c = k->control->ctl;
	struct status s;
	struct greta_jsonw w;
	int64_t oldest = c->news.n - (int64_t)GRETA_COUNT(c->news.items);

	if (k->out.len > UNREAD_MAX)
		return;
	snapshot_take(c, k->campaign_id, k->most_attempts, k->sees_up, &s);
	for (int64_t i = k->news_n > oldest ? k->news_n : oldest; i < c->news.n; i++) {
		const struct news_item *item = &c->news.items[i % (int64_t)GRETA_COUNT(c->news.items)];

		if (k->campaign_id && item->campaign_id && item->campaign_id != k->campaign_id)
			continue;
		GRETA_PUSH(s.news, s.n_news, s.cap_news);
		s.news[s.n_news - 1].text = greta_strdup(item->text);
		s.news[s.n_news - 1].wall_ns = item->wall_ns;
	}
	k->news_n = c->news.n;
	k->sent_ns = greta_clock_mono_ns();
	w = greta_jsonw(&k->out);
	greta_jsonw_object(&w, NULL);
	greta_jsonw_object(&w, "status");
	status_print(&s, &w);
	greta_jsonw_end_object(&w);
	greta_jsonw_end_object(&w);
	greta_buf_addc(&k->out, '\n');
	status_release(&s);
	control_flush(k);
}

void control_send_end(struct conn *k, const char *state, const char *why)
{
	struct greta_jsonw w = greta_jsonw(&k->out);

	if (k->told_end)
		return;
	k->told_end = true;
	greta_jsonw_object(&w, NULL);
	greta_jsonw_object(&w, "end");
	greta_jsonw_i64(&w, "campaign", k->campaign_id);
	greta_jsonw_str(&w, "state", state);
	greta_jsonw_str(&w, "why", why);
	greta_jsonw_end_object(&w);
	greta_jsonw_end_object(&w);
	greta_buf_addc(&k->out, '\n');
	control_flush(k);
}

int control_watch(struct conn *k, const struct greta_json_val *args, struct greta_jsonw *reply, struct greta_err *e)
{
	struct ctl *c = k->control->ctl;
	int64_t oldest = c->news.n - (int64_t)GRETA_COUNT(c->news.items);
	const struct ctl_campaign *cc;

	if (greta_json_get(args, "campaign") && control_campaign(c, args, &k->campaign_id, e) < 0)
		return -1;
	k->period_ns = control_i64(args, "period_ms", 200) * GRETA_NS_PER_MS;
	k->most_attempts = control_i64(args, "attempts", INT64_MAX);
	k->sees_up = true;
	greta_json_bool(greta_json_get(args, "up"), &k->sees_up);
	k->watches = true;
	greta_json_bool(greta_json_get(args, "holds"), &k->holds);
	k->told_end = false;
	k->news_n = oldest > 0 ? oldest : 0;
	k->sent_ns = 0;
	greta_jsonw_i64(reply, "campaign", k->campaign_id);
	cc = k->campaign_id ? work_find(c, k->campaign_id) : NULL;
	greta_jsonw_str(reply, "state", !k->campaign_id || (cc && cc->wanted) ? "active" : cc ? "waiting" : "ended");
	return 0;
}

int control_status(struct conn *k, const struct greta_json_val *args, struct greta_jsonw *reply, struct greta_err *e)
{
	struct status s;
	int64_t id = 0;

	if (greta_json_get(args, "campaign") && control_campaign(k->control->ctl, args, &id, e) < 0)
		return -1;
	snapshot_take(k->control->ctl, id, control_i64(args, "attempts", INT64_MAX), true, &s);
	greta_jsonw_object(reply, "status");
	status_print(&s, reply);
	greta_jsonw_end_object(reply);
	status_release(&s);
	return 0;
}

bool control_watched(const struct ctl *c, int64_t campaign_id)
{
	for (const struct conn *k = c->control ? c->control->conns : NULL; k; k = k->next)
		if (k->watches && !k->told_end && k->campaign_id == campaign_id)
			return true;
	return false;
}

static void tell_ends(struct conn *k)
{
	struct ctl *c = k->control->ctl;
	struct ctl_campaign *cc = k->campaign_id ? work_find(c, k->campaign_id) : NULL;

	if (!k->campaign_id || k->told_end || (cc && !cc->finished && !cc->hopeless))
		return;
	send_status(k);
	control_send_end(k, !cc ? "ended" : cc->hopeless ? "stuck" : cc->cancelled ? "cancelled" : "done",
		 cc && cc->hopeless ? cc->why : NULL);
}

void control_tick(struct ctl *c)
{
	int64_t now = greta_clock_mono_ns();

	for (struct conn *k = c->control ? c->control->conns : NULL; k; k = k->next) {
		if (!k->watches)
			continue;
		if (now - k->sent_ns >= k->period_ns)
			send_status(k);
		tell_ends(k);
	}
}
