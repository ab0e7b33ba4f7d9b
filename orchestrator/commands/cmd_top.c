/* top: the fleet, live. The terminal's side: raw keys, the alternate screen, its size; what is drawn is top.c's.
 *
 * Snapshots come over a connection that only watches, so that a controller that is stopped or gone does not hold the keys;
 * a lost one is sought again every second. */
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/jsonw.h"
#include "base/mem.h"
#include "db/attempts.h"
#include "db/db.h"
#include "db/logs.h"
#include "orchestrator/cmd.h"
#include "orchestrator/commands/top.h"
#include "orchestrator/control/client.h"
#include "orchestrator/print/term.h"
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#define PERIOD_MS 500
#define PLAIN_PERIOD_S 10
#define AGAIN_NS GRETA_NS_PER_S
#define LOG_LINES 400

struct top_values {
	struct cmd_common common;
	double interval_s;
	bool once;
};

struct session {
	struct cmd_ctx *ctx;
	struct term term;
	struct termios before;
	struct top top;
	struct client *client;
	int64_t sought_ns, read_ns; /* the controller, the logs */
};

static volatile sig_atomic_t ended;

/* A new size only ends the wait: it is measured before every picture. */
static void on_signal(int signo)
{
	if (signo != SIGWINCH)
		ended = 1;
}

/* ---- the screen */

static void put(const struct session *s, const struct greta_buf *out)
{
	if (greta_fs_write_all(s->term.fd, out->data, out->len, NULL) < 0)
		ended = 1; /* nobody looks any more */
}

static void put_text(const struct session *s, const char *text)
{
	cleanup_buf struct greta_buf out = {0};

	greta_buf_adds(&out, text);
	put(s, &out);
}

static void screen_enter(struct session *s)
{
	static const int signals[] = {SIGWINCH, SIGTERM, SIGHUP, SIGINT};
	struct sigaction sa = {.sa_handler = on_signal};
	struct termios raw;

	for (size_t i = 0; i < GRETA_COUNT(signals); i++)
		sigaction(signals[i], &sa, NULL);
	tcgetattr(STDIN_FILENO, &s->before);
	raw = s->before;
	raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO | ISIG | IEXTEN);
	raw.c_iflag &= ~(tcflag_t)(IXON | ICRNL);
	raw.c_cc[VMIN] = 0;
	raw.c_cc[VTIME] = 0;
	tcsetattr(STDIN_FILENO, TCSANOW, &raw);
	put_text(s, "\033[?1049h\033[?25l");
}

static void screen_leave(const struct session *s)
{
	put_text(s, "\033[?25h\033[?1049l");
	tcsetattr(STDIN_FILENO, TCSANOW, &s->before);
}

/* Each line is written over the old one and cleared to its end, so that nothing flickers. */
static void draw(struct session *s)
{
	cleanup_buf struct greta_buf picture = {0}, out = {0};

	term_measure(&s->term);
	top_draw(&s->top, &s->term, &picture);
	greta_buf_adds(&out, "\033[?2026h\033[H");
	for (const char *line = greta_buf_str(&picture); *line;) {
		size_t n = strcspn(line, "\n");

		greta_buf_add(&out, line, n);
		greta_buf_adds(&out, line[n] ? "\033[K\r\n" : "\033[K");
		line += n + (line[n] == '\n');
	}
	greta_buf_adds(&out, "\033[J\033[?2026l");
	put(s, &out);
}

/* ---- the controller */

static void lose(struct session *s)
{
	client_close(s->client);
	s->client = NULL;
	s->top.connected = false;
	s->sought_ns = greta_clock_mono_ns();
}

static void seek(struct session *s)
{
	cleanup_free char *args = greta_format("{\"period_ms\":%d}", PERIOD_MS);
	struct greta_err why = {0};
	struct greta_json *answer;

	if (s->client || (s->sought_ns && greta_clock_mono_ns() - s->sought_ns < AGAIN_NS))
		return;
	s->sought_ns = greta_clock_mono_ns();
	s->client = client_open(s->ctx->db_path, false, &why);
	answer = s->client ? client_call(s->client, "watch", args, &why) : NULL;
	if (s->client && !answer)
		lose(s);
	greta_json_destroy(answer);
}

static bool take_line(struct session *s)
{
	struct greta_json *line = NULL;
	struct greta_err why = {0};
	const struct greta_json_val *status;
	struct status parsed;
	int rc = client_next(s->client, 0, &line, &why);

	if (rc < 0)
		lose(s);
	status = rc > 0 ? greta_json_get(greta_json_root(line), "status") : NULL;
	if (status) {
		status_parse(status, &parsed);
		top_update(&s->top, &parsed);
	}
	greta_json_destroy(line);
	return rc > 0;
}

/* ---- what keys ask for */

static int add_piece(void *arg, const struct greta_log_piece *piece, struct greta_err *e)
{
	(void)e;
	if (piece->bytes)
		greta_buf_add(arg, piece->bytes, piece->n);
	else
		greta_buf_addf(arg, "... %lld bytes were not kept ...\n", (long long)piece->dropped);
	return 0;
}

/* What a terminal would take for commands is made visible. */
static void tame(struct greta_buf *text)
{
	for (size_t i = 0; i < text->len; i++)
		if ((unsigned char)text->data[i] < 0x20 && text->data[i] != '\n')
			text->data[i] = text->data[i] == '\t' ? ' ' : '?';
}

static void read_logs(struct session *s)
{
	struct greta_attempt_row row = {0};
	cleanup_buf struct greta_buf text = {0};
	struct greta_err why = {0};
	int64_t offset = 0;

	s->read_ns = greta_clock_mono_ns();
	if (greta_attempts_find(s->ctx->db, s->top.selected, &row, &why) < 0 ||
	    greta_logs_tail_offset(s->ctx->db, row.id, GRETA_STREAM_ALL, LOG_LINES, &offset, &why) < 0 ||
	    greta_logs_read(s->ctx->db, row.id, GRETA_STREAM_ALL, offset, NULL, add_piece, &text, &why) < 0)
		top_say(&s->top, "logs: %s", why.text);
	greta_attempt_row_release(&row);
	tame(&text);
	free(s->top.logs);
	s->top.logs = greta_strdup(greta_buf_str(&text));
}

static void cancel_job(struct session *s)
{
	const struct status_attempt *a = top_selected(&s->top);
	cleanup_buf struct greta_buf args = {0};
	struct greta_jsonw w = greta_jsonw(&args);
	struct greta_err why = {0};
	struct client *client = client_open(s->ctx->db_path, false, &why);
	struct greta_json *answer = NULL;

	greta_jsonw_object(&w, NULL);
	greta_jsonw_i64(&w, "campaign", a->campaign_id);
	greta_jsonw_str(&w, "variant", a->variant);
	greta_jsonw_i64(&w, "context", a->context);
	greta_jsonw_i64(&w, "repeat", a->repeat);
	greta_jsonw_end_object(&w);
	if (client)
		answer = client_call(client, "cancel", greta_buf_str(&args), &why);
	client_close(client);
	if (answer)
		top_say(&s->top, "%s %lld #%lld is cancelled", a->variant, (long long)a->context, (long long)a->repeat);
	else
		top_say(&s->top, "not cancelled: %s", why.text);
	greta_json_destroy(answer);
}

static void act(struct session *s, enum top_action action)
{
	if (action == TOP_QUIT)
		ended = 1;
	else if (action == TOP_READ_LOGS)
		read_logs(s);
	else if (action == TOP_CANCEL_JOB)
		cancel_job(s);
}

static void read_keys(struct session *s)
{
	char bytes[64];
	ssize_t n = read(STDIN_FILENO, bytes, sizeof bytes);
	size_t used;

	if (n <= 0) {
		ended |= n == 0; /* readable, and nothing there: the terminal is gone */
		return;
	}
	for (size_t at = 0; at < (size_t)n && !ended; at += used)
		act(s, top_press(&s->top, top_key_parse(bytes + at, (size_t)n - at, &used)));
}

/* ---- the two ways to look */

static void wait_for_something(struct session *s)
{
	struct pollfd fds[2] = {{.fd = STDIN_FILENO, .events = POLLIN},
				{.fd = s->client ? client_fd(s->client) : -1, .events = POLLIN}};

	if (poll(fds, 2, PERIOD_MS) <= 0)
		return;
	if (fds[1].revents)
		while (s->client && take_line(s))
			;
	if (fds[0].revents)
		read_keys(s);
}

static int on_screen(struct session *s)
{
	screen_enter(s);
	while (!ended) {
		seek(s);
		if (s->top.mode == TOP_LOGS && greta_clock_mono_ns() - s->read_ns > AGAIN_NS)
			read_logs(s);
		draw(s);
		wait_for_something(s);
	}
	screen_leave(s);
	return CMD_OK;
}

static void print_once(struct session *s, const struct greta_json_val *status)
{
	cleanup_buf struct greta_buf out = {0};
	struct status parsed;

	if (s->ctx->json) {
		greta_json_print(status, &out);
		greta_buf_addc(&out, '\n');
	} else {
		status_parse(status, &parsed);
		top_update(&s->top, &parsed);
		top_draw(&s->top, &s->term, &out);
		greta_buf_addc(&out, '\n');
	}
	fputs(greta_buf_str(&out), stdout);
	fflush(stdout);
}

/* A picture every interval, as long as there is a controller. */
static int in_plain_lines(struct session *s, const struct top_values *v, struct greta_err *e)
{
	double interval_s = v->interval_s > 0 ? v->interval_s : PLAIN_PERIOD_S;

	for (bool first = true; !ended; first = false) {
		struct greta_err why = {0};
		struct client *client = client_open(s->ctx->db_path, false, &why);
		struct greta_json *answer = client ? client_call(client, "status", NULL, &why) : NULL;

		client_close(client);
		if (!answer && !first)
			return CMD_OK;
		if (!answer)
			return greta_err_set(e, GRETA_ECLOSED, "no controller is running; `greta-orch resume` starts one");
		print_once(s, greta_json_get(greta_json_get(greta_json_root(answer), "ok"), "status"));
		greta_json_destroy(answer);
		if (v->once || ferror(stdout))
			return CMD_OK;
		poll(NULL, 0, (int)(interval_s * 1000));
	}
	return CMD_OK;
}

static int top_exec(struct cmd_ctx *ctx, const void *values, struct greta_err *e)
{
	const struct top_values *v = values;
	struct session s = {.ctx = ctx, .term = term_of(STDOUT_FILENO, ctx->color)};
	bool plain = v->once || ctx->json || !s.term.tty || !isatty(STDIN_FILENO);
	int rc;

	ended = 0;
	s.term.tty = !plain;
	rc = plain ? in_plain_lines(&s, v, e) : on_screen(&s);
	client_close(s.client);
	top_release(&s.top);
	return rc;
}

static const struct greta_opt top_opts[] = {
	{"interval", 'i', GRETA_OPT_SECONDS, offsetof(struct top_values, interval_s), "TIME",
	 "between pictures where there is no terminal (default: 10 s)"},
	{"once", '1', GRETA_OPT_FLAG, offsetof(struct top_values, once), NULL, "one picture in plain lines"},
	{0},
};

const struct cmd cmd_top = {
	.name = "top",
	.group = "Run",
	.summary = "watch nodes, slots, attempts and queue, live",
	.operands = "",
	.details =
		"Keys: up and down select an attempt, l shows what it printed, c cancels its job after asking, ? tells all keys,\n"
		"q leaves. Leaving stops nothing, and a controller that ends or comes back is shown as it is. Without a terminal,\n"
		"pictures follow each other as plain lines until the controller ends; with --json, a status object a line.\n"
		"\n"
		"  greta-orch top --once | head",
	.needs = CMD_NEEDS_READER,
	.opts = top_opts,
	.values_size = sizeof(struct top_values),
	.exec = top_exec,
};
