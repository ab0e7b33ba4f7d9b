#include "agent/request.h"
#include "agent/helper.h"
#include "agent/launch.h"
#include "agent/pool_quarantine.h"
#include "agent/quarantine.h"
#include "agent/queue.h"
#include "agent/spool.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/version.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HELPER_DEADLINE_MS 30000
#define HELPER_OUTPUT_MAX (1024 * 1024)

/* answers */

static void done(struct session *s, const struct greta_msg *m, const char *text)
{
	struct greta_msg answer = {.type = GRETA_MSG_DONE, .re = m->re, .text = (char *)text};
	if (!m->re)
		return;
	greta_str_copy(answer.attempt, sizeof answer.attempt, m->attempt);
	session_send(s, &answer);
}

static void refused(struct session *s, const struct greta_msg *m, const struct greta_err *e)
{
	struct greta_msg answer = {.type = GRETA_MSG_REFUSED, .re = m->re, .code = e->code, .text = (char *)e->text};
	greta_str_copy(answer.attempt, sizeof answer.attempt, m->attempt);
	session_send(s, &answer);
}

/* hello */

static void peer_name(char *out, size_t cap)
{
	char host[64] = "";
	gethostname(host, sizeof host - 1);
	snprintf(out, cap, "%s:%d", host, (int)getpid());
}

static int on_hello(struct session *s, const struct greta_msg *m, struct greta_err *e)
{
	char peer[96];
	if (m->protocol_max < GRETA_PROTOCOL_MIN || m->protocol_min > GRETA_PROTOCOL_MAX)
		return greta_err_set(e, GRETA_EVERSION,
				     "greta %s on this node speaks protocol %d to %d, the controller (greta %s) %" PRId64
				     " to %" PRId64 "; install the same release on both", GRETA_VERSION, GRETA_PROTOCOL_MIN,
				     GRETA_PROTOCOL_MAX, m->version ? m->version : "?", m->protocol_min, m->protocol_max);
	fence_release(&s->fence);
	greta_str_copy(s->db, sizeof s->db, m->db);
	if (s->db[0] && fence_raise(&s->fence, s->paths->spool, s->db, m->fence, m->peer, e) != 0)
		return -1;
	s->greeted = true;
	peer_name(peer, sizeof peer);
	struct greta_msg answer = {
		.type = GRETA_MSG_HELLO,
		.re = m->re,
		.protocol_min = GRETA_PROTOCOL_MIN,
		.protocol_max = GRETA_PROTOCOL_MAX,
		.version = (char *)GRETA_VERSION,
		.fence = s->fence.highest,
		.peer = peer,
		.node_id = s->paths->node_id,
		.boot_id = (char *)greta_clock_boot_id(),
	};
	greta_str_copy(answer.db, sizeof answer.db, s->db);
	session_send(s, &answer);
	return 0;
}

/* start, attach */

static int enter(struct session *s, const char *action, struct greta_err *e)
{
	if (!s->db[0])
		return greta_err_set(e, GRETA_EPROTO, "%s refused: the hello named no database", action);
	return fence_enter(&s->fence, action, e);
}

/* Finds the attempt's folder and checks that it belongs to this session's database. */
static int find(const struct session *s, const char *attempt, char **dir, struct greta_err *e)
{
	char db[GRETA_UUID_LEN + 1];
	if (!greta_uuid_valid(attempt))
		return greta_err_set(e, GRETA_EINVAL, "\"%.40s\" is no attempt id", attempt);
	*dir = spool_attempt_dir(s->paths->spool, attempt);
	if (access(*dir, F_OK) != 0)
		return greta_err_set(e, GRETA_ENOENT, "attempt %s is not on this node", attempt);
	if (spool_read_owner(*dir, db, e) != 0)
		return -1;
	if (strcmp(db, s->db) == 0)
		return 0;
	return greta_err_set(e, GRETA_EFENCED, "attempt %s belongs to another database (%s)", attempt, db);
}

/* In a pool it waits for a pilot, and its lock is for whoever that gives it to. */
static int queue_or_launch(const struct session *s, const struct greta_spec *spec, const char *dir, int lock_fd,
			   struct greta_err *e)
{
	if (!s->pool)
		return launch_supervisor(s->paths, dir, lock_fd, false, e);
	close(lock_fd);
	return queue_add(s->paths->spool, spec, e);
}

static int create_and_launch(struct session *s, const struct greta_spec *spec, struct greta_err *e)
{
	int lock_fd = -1;
	cleanup_free char *dir = spool_attempt_dir(s->paths->spool, spec->attempt);
	if ((s->pool ? spool_create_shared : spool_create)(s->paths->spool, spec, s->db, &lock_fd, e) != 0)
		return -1;
	if (queue_or_launch(s, spec, dir, lock_fd, e) == 0)
		return 0;
	spool_remove(s->paths->spool, spec->attempt, NULL);
	return -1;
}

/* Pilots see to their own. */
static void adopt(const struct session *s, const char *dir)
{
	if (!s->pool)
		launch_adopt(s->paths, dir, NULL);
}

static int attach(struct session *s, const char *attempt, int64_t seq, int64_t credit, struct greta_err *e)
{
	cleanup_free char *dir = NULL;
	if (find(s, attempt, &dir, e) != 0)
		return -1;
	adopt(s, dir);
	return relays_attach(&s->relays, attempt, dir, seq, credit, e) ? 0 : -1;
}

static int start(struct session *s, const struct greta_msg *m, struct greta_err *e)
{
	struct greta_err create = {0};
	if (!m->spec || !greta_uuid_valid(m->spec->attempt) || !m->spec->argv.n)
		return greta_err_set(e, GRETA_EINVAL, "start without a whole spec: attempt id and argv are needed");
	cleanup_fd int owner = enter(s, "start", e);
	if (owner < 0)
		return -1;
	if (create_and_launch(s, m->spec, &create) != 0 && create.code != GRETA_EEXIST) {
		*e = create;
		return -1;
	}
	return attach(s, m->spec->attempt, m->seq, m->credit_bytes, e);
}

/* After a long silence it may be one that a network has kept back, and the attempt have come and gone through another
 * session: it would run again. A controller that only stood still connects anew, sees what is here, and starts it then. */
static int on_start(struct session *s, const struct greta_msg *m, struct greta_err *e)
{
	struct greta_err why = {0};
	struct greta_msg about = {.re = m->re};
	if (s->given_up)
		return greta_err_set(e, GRETA_ETIMEOUT, "nothing was heard of the controller for so long that it may have another "
							"session: nothing is started in this one any more");
	if (m->spec)
		greta_str_copy(about.attempt, sizeof about.attempt, m->spec->attempt);
	if (start(s, m, &why) == 0)
		done(s, &about, NULL);
	else
		refused(s, &about, &why);
	return 0;
}

static int on_attach(struct session *s, const struct greta_msg *m, struct greta_err *e)
{
	struct greta_err why = {0};
	(void)e;
	if (attach(s, m->attempt, m->seq, m->credit_bytes, &why) == 0)
		done(s, m, NULL);
	else
		refused(s, m, &why);
	return 0;
}

/* ack, cancel, credit */

/* The number of the last event; *finished: it is the outcome. */
static int64_t last_seq(const char *dir, bool *finished)
{
	struct tail t;
	int64_t seq = 0;
	*finished = false;
	if (tail_open(&t, dir, 0, NULL) != 0)
		return 0;
	while (tail_next(&t, NULL) == 1)
		seq = t.seq;
	*finished = t.ended;
	tail_close(&t);
	return seq;
}

static int ack(struct session *s, const struct greta_msg *m, struct greta_err *e)
{
	bool finished = false;
	cleanup_free char *dir = NULL;
	cleanup_fd int owner = enter(s, "ack", e);
	if (owner < 0 || find(s, m->attempt, &dir, e) != 0)
		return -1;
	struct relay *r = relays_find(&s->relays, m->attempt);
	int64_t last = r && r->tail.ended ? r->tail.seq : 0;
	finished = last > 0;
	if (!finished && spool_is_finished(dir))
		last = last_seq(dir, &finished);
	if (!finished || m->seq < last) {
		spool_ack(dir, m->seq);
		return 0;
	}
	if (r)
		relays_drop(&s->relays, r);
	return s->pool ? spool_remove(s->paths->spool, m->attempt, e) : spool_recycle(s->paths->spool, m->attempt, e);
}

static int on_ack(struct session *s, const struct greta_msg *m, struct greta_err *e)
{
	struct greta_err why = {0};
	(void)e;
	/* Acknowledging what is gone already is a repetition, not a mistake. */
	if (ack(s, m, &why) == 0 || why.code == GRETA_ENOENT)
		done(s, m, NULL);
	else
		refused(s, m, &why);
	return 0;
}

static int cancel(struct session *s, const struct greta_msg *m, struct greta_err *e)
{
	cleanup_free char *dir = NULL;
	cleanup_fd int owner = enter(s, "cancel", e);
	if (owner < 0 || find(s, m->attempt, &dir, e) != 0)
		return -1;
	if (spool_is_finished(dir))
		return 0;
	if (spool_cancel(dir, m->text, e) != 0)
		return -1;
	if (!s->pool || queue_drop_attempt(s->paths->spool, m->attempt))
		launch_adopt(s->paths, dir, NULL); /* a supervisor, if there was none, that ends it at once */
	return 0;
}

static int on_cancel(struct session *s, const struct greta_msg *m, struct greta_err *e)
{
	struct greta_err why = {0};
	(void)e;
	if (cancel(s, m, &why) == 0)
		done(s, m, NULL);
	else
		refused(s, m, &why);
	return 0;
}

static int on_credit(struct session *s, const struct greta_msg *m, struct greta_err *e)
{
	struct relay *r = relays_find(&s->relays, m->attempt);
	(void)e;
	if (r && m->credit_bytes > 0 && r->credit < INT64_MAX / 2)
		r->credit += m->credit_bytes < INT64_MAX / 4 ? m->credit_bytes : INT64_MAX / 4;
	done(s, m, NULL);
	return 0;
}

/* ping, list */

static int on_ping(struct session *s, const struct greta_msg *m, struct greta_err *e)
{
	struct greta_msg answer = {
		.type = GRETA_MSG_PONG,
		.re = m->re,
		.stamp_ns = m->stamp_ns,
		.boot_ns = greta_clock_boot_ns(),
		.wall_ns = greta_clock_wall_ns(),
	};
	(void)e;
	session_send(s, &answer);
	return 0;
}

static void list_one(const struct session *s, const char *uuid, struct greta_msg *answer)
{
	struct greta_held held = {0};
	cleanup_free char *dir = spool_attempt_dir(s->paths->spool, uuid);
	if (spool_read_owner(dir, held.db, NULL) != 0)
		return;
	adopt(s, dir);
	greta_str_copy(held.attempt, sizeof held.attempt, uuid);
	held.last_seq = last_seq(dir, &held.finished);
	held.acked_seq = spool_acked(dir);
	held.running = !held.finished;
	*GRETA_PUSH(answer->held, answer->n_held, answer->cap_held) = held;
}

static int on_list(struct session *s, const struct greta_msg *m, struct greta_err *e)
{
	struct greta_msg answer = {.type = GRETA_MSG_ATTEMPTS, .re = m->re};
	cleanup_strs struct greta_strs uuids = {0};
	(void)e;
	spool_list(s->paths->spool, &uuids);
	for (size_t i = 0; i < uuids.n; i++)
		list_one(s, uuids.items[i], &answer);
	session_send(s, &answer);
	greta_msg_release(&answer);
	return 0;
}

/* quarantine */

/* One that somebody let go before us is as it should be. */
static int let_go(struct session *s, const struct greta_strs *names, struct greta_err *e)
{
	cleanup_fd int owner = enter(s, "quarantine", e);
	if (owner < 0)
		return -1;
	for (size_t i = 0; i < names->n; i++) {
		struct greta_err why = {0};
		int rc = s->pool ? pool_quarantine_release(s->paths->spool, names->items[i], &why)
				 : quarantine_release(s->paths->slots, names->items[i], &why);
		if (rc == 0 || why.code == GRETA_ENOENT)
			continue;
		*e = why;
		return -1;
	}
	return 0;
}

/* That of a pool changes on compute nodes, of which nobody asks. */
void request_tell_quarantine(struct session *s)
{
	struct greta_msg news = {.type = GRETA_MSG_QUARANTINED};
	cleanup_strs struct greta_strs names = {0};
	cleanup_buf struct greta_buf now = {0};
	if (!s->quarantine)
		return;
	quarantine_list(s->paths->spool, &names);
	for (size_t i = 0; i < names.n; i++)
		greta_buf_addf(&now, "%s\n", names.items[i]);
	if (strcmp(greta_buf_str(&now), s->quarantine) == 0)
		return;
	free(s->quarantine);
	s->quarantine = greta_buf_steal(&now);
	quarantine_tell(s->paths->spool, &news);
	session_send(s, &news);
	greta_msg_release(&news);
}

static int on_quarantine(struct session *s, const struct greta_msg *m, struct greta_err *e)
{
	struct greta_err why = {0};
	struct greta_msg answer = {.type = GRETA_MSG_QUARANTINED, .re = m->re};
	(void)e;
	if (m->release.n && let_go(s, &m->release, &why) != 0) {
		refused(s, m, &why);
		return 0;
	}
	quarantine_tell(s->pool ? s->paths->spool : s->paths->slots, &answer);
	session_send(s, &answer);
	if (s->pool && !s->quarantine)
		s->quarantine = greta_strdup("");
	greta_msg_release(&answer);
	return 0;
}

/* probe, gc: by a helper, since they may block */

struct pending {
	struct session *s;
	struct helper *helper;
	int64_t re;
	enum greta_msg_type type;
};

static void forget(struct session *s, struct pending *p)
{
	for (size_t i = 0; i < s->n_pending; i++)
		if (s->pending[i] == p)
			s->pending[i] = s->pending[--s->n_pending];
	free(p);
}

void request_release(struct session *s)
{
	for (size_t i = 0; i < s->n_pending; i++) {
		helper_cancel(s->pending[i]->helper);
		free(s->pending[i]);
	}
	free(s->pending);
	free(s->quarantine);
}

static void on_helper(void *arg, struct greta_buf *out, const struct greta_err *e)
{
	struct pending *p = arg;
	struct greta_err why = *e;
	struct greta_facts facts = {0};
	struct greta_msg about = {.re = p->re};
	struct greta_msg answer = {.type = GRETA_MSG_FACTS, .re = p->re, .facts = &facts};
	if (why.code == GRETA_OK && p->type == GRETA_MSG_PROBE)
		greta_facts_parse(greta_buf_str(out), out->len, &facts, &why);
	if (why.code != GRETA_OK)
		refused(p->s, &about, &why);
	else if (p->type == GRETA_MSG_PROBE)
		session_send(p->s, &answer);
	else
		done(p->s, &about, greta_buf_str(out));
	greta_facts_release(&facts);
	struct session *s = p->s;
	forget(s, p);
	session_flush(s);
}

static void help(struct session *s, const struct greta_msg *m, const char *const *args)
{
	struct greta_err why = {0};
	struct pending *p = greta_alloc(sizeof *p);
	*p = (struct pending){.s = s, .re = m->re, .type = m->type};
	p->helper = helper_start(s->loop, args, HELPER_DEADLINE_MS, HELPER_OUTPUT_MAX, on_helper, p, &why);
	if (p->helper) {
		*GRETA_PUSH(s->pending, s->n_pending, s->cap_pending) = p;
		return;
	}
	refused(s, m, &why);
	free(p);
}

static int on_probe(struct session *s, const struct greta_msg *m, struct greta_err *e)
{
	const char *const args[] = {"facts", "--json", NULL};
	const char *const pool[] = {"pool", "--facts", "--slurm", s->pool ? pool_child_settings(s->pool) : NULL, NULL};
	(void)e;
	help(s, m, s->pool ? pool : args);
	return 0;
}

static int on_gc(struct session *s, const struct greta_msg *m, struct greta_err *e)
{
	char keep[32];
	snprintf(keep, sizeof keep, "%" PRId64, m->keep_bytes);
	const char *const args[] = {"gc", "--json", "--keep-bytes", keep, NULL};
	(void)e;
	help(s, m, args);
	return 0;
}

static int (*const handlers[GRETA_MSG_COUNT])(struct session *, const struct greta_msg *, struct greta_err *) = {
	[GRETA_MSG_HELLO] = on_hello,   [GRETA_MSG_START] = on_start,   [GRETA_MSG_ATTACH] = on_attach,
	[GRETA_MSG_ACK] = on_ack,       [GRETA_MSG_CANCEL] = on_cancel, [GRETA_MSG_CREDIT] = on_credit,
	[GRETA_MSG_PING] = on_ping,     [GRETA_MSG_LIST] = on_list,     [GRETA_MSG_PROBE] = on_probe,
	[GRETA_MSG_GC] = on_gc,         [GRETA_MSG_QUARANTINE] = on_quarantine,
};

int request_handle(struct session *s, const struct greta_msg *m, struct greta_err *e)
{
	if (!handlers[m->type])
		return greta_err_set(e, GRETA_EPROTO, "a controller does not send \"%s\"", greta_msg_type_name(m->type));
	if (!s->greeted && m->type != GRETA_MSG_HELLO)
		return greta_err_set(e, GRETA_EPROTO, "\"%s\" before hello", greta_msg_type_name(m->type));
	return handlers[m->type](s, m, e);
}
