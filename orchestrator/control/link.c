#include "orchestrator/control/link.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/version.h"
#include "orchestrator/remote/upload.h"

#include <math.h>
#include <string.h>

#define PING_NS (5 * GRETA_NS_PER_S)
#define SILENCE_NS (10 * GRETA_NS_PER_S)
#define GREETING_MS 20000         /* a login shell's rc files may be slow */
#define BACKOFF_FIRST_MS 500
#define BACKOFF_MOST_MS 30000
#define LATE_NS (2 * GRETA_NS_PER_S)
#define KEEP_BYTES 4096           /* of an idle buffer */
#define STATUS_NOT_FOUND 127      /* what shells say of a program that is not there ... */
#define STATUS_NOT_RUNNABLE 126   /* ... or not executable */

struct link {
	struct link_config config;
	const struct link_events *ev;
	void *arg;
	enum link_state state;
	struct greta_err why;
	char *agent;                  /* the program there */
	struct transport *transport;
	struct stream *stream;
	struct upload *upload;
	bool placed;                  /* the agent was uploaded in this connection: never twice */
	struct greta_watch *timer;    /* greeting deadline, ping, or backoff: by state */
	struct greta_watch *flush;
	struct greta_buf in, out;
	bool magic;
	char nonce[GRETA_UUID_LEN + 1];
	int64_t next_re;
	int64_t received_ns, pinged_ns, due_ns;
	int n_failures;
	double rtt_s, best_rtt_s, offset_s;
	char *version;
	int protocol;                  /* the highest that both speak */
	unsigned random;
};

static const char *const state_names[] = {
#define X(id, name) name,
	LINK_STATES(X)
#undef X
};

const char *link_state_name(enum link_state s)
{
	return state_names[s];
}

static void connect_now(struct link *l);

static void set_timer(struct link *l, int64_t delay_ms, greta_loop_fn *fn)
{
	greta_watch_remove(l->timer);
	l->timer = fn ? greta_loop_timer(l->config.loop, delay_ms, 0, fn, l) : NULL;
}

/* ---- endings */

/* Also from inside callbacks of the stream and the transport, which allow that. */
static void drop(struct link *l)
{
	if (l->upload)
		upload_cancel(l->upload);
	if (l->stream)
		l->stream->ops->close(l->stream);
	if (l->transport)
		l->transport->ops->destroy(l->transport);
	l->upload = NULL;
	l->stream = NULL;
	l->transport = NULL;
	set_timer(l, 0, NULL);
	greta_watch_remove(l->flush);
	l->flush = NULL;
	greta_buf_release(&l->in);
	greta_buf_release(&l->out);
	l->magic = false;
	l->placed = false;
}

static void on_backoff(struct greta_watch *w, uint32_t events, void *arg)
{
	(void)w;
	(void)events;
	connect_now(arg);
}

/* 0.5 s, doubled up to 30 s, each between a half and one and a half of that: many links cut at once must not come
 * back at once. */
static int64_t backoff_ms(struct link *l)
{
	int64_t ms = BACKOFF_FIRST_MS;

	for (int i = 1; i < l->n_failures && ms < BACKOFF_MOST_MS; i++)
		ms *= 2;
	ms = ms < BACKOFF_MOST_MS ? ms : BACKOFF_MOST_MS;
	return ms / 2 + rand_r(&l->random) % (ms + 1);
}

static void fail(struct link *l, bool refused, const struct greta_err *why)
{
	struct greta_err kept = *why;

	drop(l);
	l->why = kept;
	l->n_failures++;
	l->state = refused ? LINK_REFUSED : LINK_WAITING;
	if (!refused)
		set_timer(l, backoff_ms(l), on_backoff);
	l->ev->down(l->arg, &kept);
}

static void fail_text(struct link *l, bool refused, enum greta_code code, const char *text)
{
	struct greta_err why = {0};

	greta_err_set(&why, code, "%s", text);
	fail(l, refused, &why);
}

/* ---- sending */

static void flush(struct link *l)
{
	ssize_t wrote;

	if (!l->stream || !l->out.len)
		return;
	wrote = l->stream->ops->write(l->stream, l->out.data, l->out.len);
	if (wrote > 0)
		greta_buf_consume(&l->out, (size_t)wrote);
	if (!l->out.len && l->out.cap > KEEP_BYTES)
		greta_buf_release(&l->out);
}

/* At the end of the turn, so that an acknowledgement and the next start leave in one packet. */
static void on_flush(struct greta_watch *w, uint32_t events, void *arg)
{
	(void)w;
	(void)events;
	flush(arg);
}

static void flush_soon(struct link *l)
{
	if (l->flush)
		greta_watch_rearm(l->flush, 0);
	else
		l->flush = greta_loop_timer(l->config.loop, 0, 0, on_flush, l);
}

static bool send_frame(struct link *l, const struct greta_msg *m)
{
	struct greta_err why = {0};

	if (greta_msg_encode(m, &l->out, &why) < 0) {
		greta_error("%s can't be sent: %s", greta_msg_type_name(m->type), why.text);
		return false;
	}
	flush_soon(l);
	return true;
}

bool link_send(struct link *l, struct greta_msg *m)
{
	return l && l->state == LINK_UP && send_frame(l, m);
}

int64_t link_ask(struct link *l, struct greta_msg *m)
{
	m->re = l ? ++l->next_re : 0;
	return link_send(l, m) ? m->re : 0;
}

/* ---- ping */

static void on_tick(struct greta_watch *w, uint32_t events, void *arg);

static void set_tick(struct link *l, int64_t now)
{
	int64_t next = l->pinged_ns + PING_NS, dead = l->received_ns + SILENCE_NS;

	next = next < dead ? next : dead;
	l->due_ns = next;
	set_timer(l, next > now ? (next - now + GRETA_NS_PER_MS - 1) / GRETA_NS_PER_MS : 0, on_tick);
}

static void send_ping(struct link *l, int64_t now)
{
	struct greta_msg ping = {.type = GRETA_MSG_PING, .stamp_ns = now};

	l->pinged_ns = now;
	send_frame(l, &ping);
}

static void on_tick(struct greta_watch *w, uint32_t events, void *arg)
{
	struct link *l = arg;
	int64_t now = greta_clock_mono_ns();

	(void)w;
	(void)events;
	/* We were stopped, or the loop was held: what the peer sent meanwhile has not been read yet. */
	if (now - l->due_ns > LATE_NS)
		l->received_ns = now;
	if (now - l->received_ns >= SILENCE_NS) {
		fail_text(l, false, GRETA_ETIMEOUT, "no sign of life for 10 s (network, sshd or node stuck)");
		return;
	}
	if (now - l->pinged_ns >= PING_NS)
		send_ping(l, now);
	set_tick(l, now);
}

void link_ping(struct link *l)
{
	int64_t now = greta_clock_mono_ns();

	if (l->state != LINK_UP)
		return;
	send_ping(l, now);
	set_tick(l, now);
}

static void on_pong(struct link *l, const struct greta_msg *m)
{
	int64_t now = greta_clock_mono_ns();
	double rtt_s = (double)(now - m->stamp_ns) / 1e9;

	if (m->stamp_ns <= 0 || rtt_s < 0)
		return;
	l->rtt_s = isnan(l->rtt_s) ? rtt_s : 0.8 * l->rtt_s + 0.2 * rtt_s;
	/* The quickest answer bounds the offset best; an old one is worth less as clocks drift. */
	if (isnan(l->best_rtt_s) || rtt_s <= l->best_rtt_s) {
		l->best_rtt_s = rtt_s;
		l->offset_s = (double)(m->wall_ns - greta_clock_wall_ns()) / 1e9 + rtt_s / 2;
	}
	l->best_rtt_s *= 1.01;
	l->ev->pong(l->arg, rtt_s);
}

/* ---- greeting */

static void send_hello(struct link *l)
{
	struct greta_msg hello = {
		.type = GRETA_MSG_HELLO,
		.protocol_min = GRETA_PROTOCOL_MIN,
		.protocol_max = GRETA_PROTOCOL_MAX,
		.version = (char *)GRETA_VERSION,
		.fence = l->config.fence,
		.peer = (char *)l->config.peer,
	};

	greta_str_copy(hello.db, sizeof hello.db, l->config.db);
	hello.re = ++l->next_re;
	send_frame(l, &hello);
}

static void on_hello(struct link *l, const struct greta_msg *m)
{
	int64_t now = greta_clock_mono_ns();

	if (m->protocol_max < GRETA_PROTOCOL_MIN || m->protocol_min > GRETA_PROTOCOL_MAX) {
		struct greta_err why = {0};

		greta_err_set(&why, GRETA_EVERSION, "the agent (greta %s) speaks protocol %lld to %lld, we speak %d to %d",
			      m->version ? m->version : "?", (long long)m->protocol_min, (long long)m->protocol_max,
			      GRETA_PROTOCOL_MIN, GRETA_PROTOCOL_MAX);
		fail(l, true, &why);
		return;
	}
	free(l->version);
	l->version = greta_strdup(m->version);
	l->protocol = m->protocol_max < GRETA_PROTOCOL_MAX ? (int)m->protocol_max : GRETA_PROTOCOL_MAX;
	l->state = LINK_UP;
	l->why = (struct greta_err){0};
	l->n_failures = 0;
	l->rtt_s = l->best_rtt_s = l->offset_s = NAN;
	l->received_ns = now;
	l->pinged_ns = now - PING_NS; /* the first at once: it also measures */
	set_tick(l, now);
	l->ev->up(l->arg, m);
}

static void on_message(struct link *l, struct greta_msg *m, size_t bytes)
{
	if (m->type == GRETA_MSG_PONG) {
		on_pong(l, m);
	} else if (l->state == LINK_UP) {
		l->ev->message(l->arg, m, bytes);
	} else if (m->type == GRETA_MSG_HELLO) {
		on_hello(l, m);
	} else if (m->type == GRETA_MSG_REFUSED) {
		struct greta_err why = {0};

		greta_err_set(&why, m->code, "the agent refused: %s", m->text ? m->text : "no reason given");
		fail(l, m->code != GRETA_EBUSY && m->code != GRETA_ENOSPC, &why);
	} else {
		fail_text(l, true, GRETA_EPROTO, "the agent spoke before it was greeted");
	}
}

/* Returns false when nothing more can be done with what is there. */
static bool take_magic(struct link *l)
{
	struct greta_err why = {0};
	int protocol;
	ssize_t n = greta_msg_find_magic(l->in.data, l->in.len, l->nonce, &protocol, &why);

	if (n > 0) {
		l->magic = true;
		greta_buf_consume(&l->in, (size_t)n);
		send_hello(l);
		return true;
	}
	if (n < 0)
		fail(l, false, &why);
	return false;
}

static void take_frames(struct link *l)
{
	struct transport *t = l->transport;
	size_t used = 0;

	while (used < l->in.len) {
		struct greta_msg m = {0};
		struct greta_err why = {0};
		ssize_t n = greta_msg_decode(l->in.data + used, l->in.len - used, &m, &why);

		if (n < 0) {
			greta_err_wrap(&why, "broken frame from the agent");
			fail(l, false, &why);
			return;
		}
		if (n == 0)
			break;
		used += (size_t)n;
		on_message(l, &m, (size_t)n);
		greta_msg_release(&m);
		if (l->transport != t)
			return; /* dropped meanwhile, with its buffers */
	}
	greta_buf_consume(&l->in, used);
	if (!l->in.len && l->in.cap > KEEP_BYTES)
		greta_buf_release(&l->in);
}

static void on_data(void *arg, const char *bytes, size_t n)
{
	struct link *l = arg;

	l->received_ns = greta_clock_mono_ns();
	greta_buf_add(&l->in, bytes, n);
	if (!l->magic && !take_magic(l))
		return;
	take_frames(l);
}

static void on_greeting_deadline(struct greta_watch *w, uint32_t events, void *arg)
{
	(void)w;
	(void)events;
	fail_text(arg, false, GRETA_ETIMEOUT, "the agent was started but said nothing within 20 s "
					"(do the rc files of the login shell there hang?)");
}

static void on_ready(void *arg)
{
	(void)arg; /* it speaks first */
}

static void on_writable(void *arg)
{
	flush(arg);
}

static void place_agent(struct link *l);

static void on_closed(void *arg, int exit_status, const char *said)
{
	struct link *l = arg;
	struct greta_err why = {0};
	bool absent = exit_status == STATUS_NOT_FOUND || exit_status == STATUS_NOT_RUNNABLE;

	if (!l->magic && absent && l->transport->ops->uploads && !l->placed) {
		place_agent(l);
		return;
	}
	if (l->state == LINK_UP)
		greta_err_set(&why, GRETA_ECLOSED, "the agent's session ended%s%s", *said ? ": " : "", said);
	else
		greta_err_set(&why, GRETA_EFAIL, "the agent did not start (exit %d)%s%s", exit_status,
			      *said ? ": " : "", said);
	fail(l, false, &why);
}

static const struct stream_events stream_events = {on_ready, on_data, on_writable, on_closed};

/* Hexadecimal, as the agent wants it. */
static const char *nonce_new(char out[GRETA_UUID_LEN + 1])
{
	char *to = greta_uuid_new(out);

	for (const char *from = out; *from; from++)
		if (*from != '-')
			*to++ = *from;
	*to = '\0';
	return out;
}

static void greet(struct link *l)
{
	const char *slurm = l->config.settings->slurm;
	const char *const args[] = {"session", "--nonce", nonce_new(l->nonce), slurm ? "--slurm" : NULL, slurm, NULL};
	struct greta_err why = {0};

	l->state = LINK_GREETING;
	set_timer(l, GREETING_MS, on_greeting_deadline);
	l->stream = l->transport->ops->agent(l->transport, args, &stream_events, l, &why);
	if (!l->stream)
		fail(l, why.code == GRETA_ENOENT, &why);
}

/* ---- the agent itself */

static void on_placed(void *arg, const char *path, const struct greta_err *why)
{
	struct link *l = arg;

	(void)path;
	l->upload = NULL;
	if (why) {
		struct greta_err named = *why;

		greta_err_wrap(&named, "uploading greta-agent");
		fail(l, why->code == GRETA_ENOSPC || why->code == GRETA_EAUTH, &named);
		return;
	}
	greet(l);
}

static void place_agent(struct link *l)
{
	const struct agent_bundle *b = l->config.bundle;
	struct upload_file files[AGENT_BUNDLE_FILES];
	struct greta_err why = {0};

	l->stream->ops->close(l->stream);
	l->stream = NULL;
	greta_buf_clear(&l->in);
	l->placed = true;
	l->state = LINK_PLACING;
	set_timer(l, 0, NULL);
	for (int i = 0; i < b->n_files; i++)
		files[i] = (struct upload_file){b->files[i].local, b->files[i].name, b->files[i].sha256,
						 b->files[i].bytes, true};
	l->upload = upload_start(l->config.loop, l->transport, node_settings_store(l->config.settings), b->sha256, files,
				 (size_t)b->n_files, true, on_placed, l, &why);
	if (!l->upload)
		fail(l, false, &why);
}

/* ---- connecting */

static void on_connected(void *arg)
{
	greet(arg);
}

static void on_failed(void *arg, enum transport_failure kind, const struct greta_err *why)
{
	fail(arg, kind == TRANSPORT_REFUSED, why);
}

static const struct transport_events transport_events = {on_connected, on_failed};

static link_open_fn *open_instead;

void link_open_by(link_open_fn *open)
{
	open_instead = open;
}

static void connect_now(struct link *l)
{
	const struct link_config *c = &l->config;

	set_timer(l, 0, NULL);
	l->state = LINK_CONNECTING;
	if (open_instead)
		l->transport = open_instead(c->loop, c->settings, &transport_events, l);
	else if (node_settings_is_here(c->settings, c->transport))
		l->transport = transport_local(c->loop, l->agent, &transport_events, l);
	else
		l->transport = transport_ssh(c->pool, c->settings, l->agent, &transport_events, l);
}

struct link *link_create(const struct link_config *c, const struct link_events *ev, void *arg)
{
	struct link *l = greta_alloc(sizeof *l);

	l->config = *c;
	l->ev = ev;
	l->arg = arg;
	l->rtt_s = l->best_rtt_s = l->offset_s = NAN;
	l->random = (unsigned)greta_clock_mono_ns() ^ (unsigned)(uintptr_t)l;
	if (node_settings_is_here(c->settings, c->transport))
		l->agent = greta_strdup(c->bundle->agent);
	else
		l->agent = greta_format("%s/%s/greta-agent", node_settings_store(c->settings), c->bundle->sha256);
	return l;
}

void link_destroy(struct link *l)
{
	if (!l)
		return;
	drop(l);
	free(l->agent);
	free(l->version);
	free(l);
}

void link_start(struct link *l)
{
	if (l->state == LINK_IDLE || l->state == LINK_WAITING || l->state == LINK_REFUSED)
		connect_now(l);
}

void link_stop(struct link *l)
{
	drop(l);
	l->state = LINK_IDLE;
}

enum link_state link_state(const struct link *l)
{
	return l->state;
}

const char *link_why(const struct link *l)
{
	return l->why.text;
}

double link_rtt_s(const struct link *l)
{
	return l->rtt_s;
}

double link_clock_offset_s(const struct link *l)
{
	return l->offset_s;
}

const char *link_host_key(const struct link *l)
{
	return l->transport ? l->transport->ops->host_key(l->transport) : NULL;
}

const char *link_agent_version(const struct link *l)
{
	return l->version;
}

bool link_knows(const struct link *l, int protocol)
{
	return l->state == LINK_UP && l->protocol >= protocol;
}

struct transport *link_transport(struct link *l)
{
	return l->state == LINK_UP ? l->transport : NULL;
}
