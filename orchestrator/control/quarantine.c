/* What nodes keep out of use. The node's word is what counts: it is asked whenever it connects and after each attempt
 * that ended with something in quarantine, takes no new work until it has answered, and its answer goes into the database,
 * for those who ask while it is away. `node resume` has it let go of all it keeps. */
#include "orchestrator/control/ctl.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/mem.h"

#include <string.h>

bool quarantine_has(const struct ctl_node *n, const char *slot)
{
	for (size_t i = 0; i < n->quarantine.n; i++)
		if (greta_str_eq(n->quarantine.items[i].slot, slot))
			return true;
	return false;
}

bool quarantine_has_gpu(const struct ctl_node *n, const char *uuid)
{
	cleanup_free char *slot = greta_format("gpu-%s", uuid);

	return quarantine_has(n, slot);
}

int64_t quarantine_gpus(const struct ctl_node *n)
{
	int64_t count = 0;

	for (size_t i = 0; i < n->facts.n_devices; i++)
		count += quarantine_has_gpu(n, n->facts.devices[i].uuid);
	return count;
}

bool quarantine_forbids(const struct ctl_node *n, const struct sched_need *need)
{
	return quarantine_has(n, "node") || (need->whole_node && quarantine_gpus(n) > 0);
}

static void describe(struct ctl_node *n)
{
	struct greta_buf text = {0};
	char when[GRETA_ISO_LEN + 1];

	for (size_t i = 0; i < n->quarantine.n; i++) {
		const struct greta_quarantine *q = &n->quarantine.items[i];

		greta_buf_addf(&text, "%s%s in quarantine since %s: %s", text.len ? "; " : "", q->slot,
			       greta_clock_iso(when, q->since_wall_ns), q->reason ? q->reason : "no reason given");
	}
	free(n->quarantine_text);
	n->quarantine_text = text.len ? greta_buf_steal(&text) : NULL;
	greta_buf_release(&text);
}

int quarantine_load(struct ctl_node *n, int64_t node_id, struct greta_err *e)
{
	greta_quarantines_release(&n->quarantine);
	if (node_id && greta_quarantine_list(n->ctl->db, node_id, &n->quarantine, e) < 0)
		return -1;
	describe(n);
	return 0;
}

static int store(struct ctl_node *n, struct greta_err *e)
{
	if (batch_begin(n->ctl) < 0)
		return greta_err_set(e, GRETA_EFAIL, "the database can't be written just now");
	if (greta_quarantine_set(n->ctl->db, n->ids.node_id, n->quarantine.items, n->quarantine.n, e) < 0)
		return -1;
	return n->resuming ? batch_commit(n->ctl, e) : 0;
}

/* Both what it is and what it keeps out of use are told, in whatever order. Who waits is answered behind the commit. */
void quarantine_settle(struct ctl_node *n)
{
	struct greta_err why = {0};

	if (!n->facts_known || !n->quarantine_told || n->quarantine_re)
		return;
	if (store(n, &why) < 0) {
		batch_fail(n->ctl, &why);
		return;
	}
	if (n->resuming)
		control_resumed(n->ctl, n);
	if (n->facts_due)
		batch_urgent(n->ctl);
	n->resuming = false;
	greta_strs_release(&n->releasing);
}

void quarantine_ask(struct ctl_node *n)
{
	struct greta_msg m = {.type = GRETA_MSG_QUARANTINE};

	n->quarantine_re = 0;
	if (!link_knows(n->link, GRETA_PROTOCOL_QUARANTINE)) {
		if (n->resuming)
			quarantine_refused(n, "its agent is of a release that can't let go of it: run `greta-agent quarantine "
					      "--release --all` there");
		return;
	}
	greta_strs_release(&n->releasing);
	for (size_t i = 0; n->resuming && i < n->quarantine.n; i++)
		greta_strs_add(&n->releasing, n->quarantine.items[i].slot);
	m.release = n->releasing;
	n->quarantine_re = link_ask(n->link, &m);
}

void quarantine_refused(struct ctl_node *n, const char *text)
{
	struct greta_err why = {0};

	greta_err_set(&why, GRETA_EFAIL, "node %s: %s; this stays: %.160s", n->name, text,
		      n->quarantine_text ? n->quarantine_text : "nothing");
	n->quarantine_re = 0;
	n->resuming = false;
	greta_strs_release(&n->releasing);
	control_node_failed(n->ctl, n, &why);
}

static void tell_news(const struct ctl_node *n, const struct greta_quarantines *before)
{
	for (size_t i = 0; i < n->quarantine.n; i++) {
		bool known = false;

		for (size_t k = 0; k < before->n; k++)
			known |= greta_str_eq(before->items[k].slot, n->quarantine.items[i].slot);
		if (!known)
			news_add(n->ctl, 0, "%s: %s in quarantine: %s", n->name, n->quarantine.items[i].slot,
				 n->quarantine.items[i].reason);
	}
}

void quarantine_told(struct ctl_node *n, struct greta_msg *m)
{
	struct greta_quarantines before = n->quarantine;

	n->quarantine = (struct greta_quarantines){m->slots, m->n_slots, m->cap_slots};
	m->slots = NULL;
	m->n_slots = m->cap_slots = 0;
	if (m->re == n->quarantine_re) /* else a pool tells what has changed there */
		n->quarantine_re = 0;
	n->quarantine_told = true;
	describe(n);
	tell_news(n, &before);
	greta_quarantines_release(&before);
	quarantine_settle(n);
}
