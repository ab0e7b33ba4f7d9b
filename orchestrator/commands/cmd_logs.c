/* logs: what engines printed, read, followed, searched. */
#include "base/cleanup.h"
#include "base/jsonw.h"
#include "base/mem.h"
#include "db/attempts.h"
#include "db/campaigns.h"
#include "db/db.h"
#include "db/logs.h"
#include "orchestrator/cmd.h"
#include "orchestrator/print/term.h"
#include <inttypes.h>
#include <poll.h>
#include <regex.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define FOLLOW_EVERY_MS 300

struct logs_values {
	struct cmd_common common;
	const char *attempt;
	int64_t job;
	const char *campaign;
	const char *stream;
	int64_t tail;
	bool follow;
	const char *grep;
	bool regex, ignore_case;
};

static enum greta_stream stream_of(const char *name)
{
	if (greta_str_eq(name, "out"))
		return GRETA_STREAM_OUT;
	return greta_str_eq(name, "err") ? GRETA_STREAM_ERR : GRETA_STREAM_ALL;
}

/* ---- which attempt */

static int last_attempt(struct greta_db *db, const char *sql, int64_t id, int64_t *attempt_id, struct greta_err *e)
{
	cleanup_query struct greta_query *q = greta_query_open(db, e, sql, "i", id);
	if (!q)
		return -1;
	int rc = greta_query_step(q, e);
	*attempt_id = rc == 1 ? greta_query_i64(q, 0) : 0;
	return rc < 0 ? -1 : 0;
}

static int choose_attempt(struct cmd_ctx *ctx, const struct logs_values *v, int64_t *attempt_id, struct greta_err *e)
{
	if (v->attempt) {
		struct greta_attempt_row row = {0};
		if (greta_attempts_find(ctx->db, v->attempt, &row, e))
			return -1;
		*attempt_id = row.id;
		greta_attempt_row_release(&row);
		return 0;
	}
	if (v->job) {
		if (last_attempt(ctx->db, "SELECT max(id) FROM attempt WHERE job_id = ?", v->job, attempt_id, e))
			return -1;
		return *attempt_id ? 0 : greta_err_set(e, GRETA_ENOENT, "job %" PRId64 " has no attempt yet", v->job);
	}
	int64_t campaign_id;
	if (greta_campaigns_find(ctx->db, v->campaign, &campaign_id, e) ||
	    last_attempt(ctx->db,
			 "SELECT max(attempt.id) FROM attempt JOIN job ON job.id = job_id WHERE campaign_id = ?",
			 campaign_id, attempt_id, e))
		return -1;
	return *attempt_id ? 0
			   : greta_err_set(e, GRETA_ENOENT, "campaign %" PRId64 " has no attempt yet", campaign_id);
}

/* ---- reading */

/* What is printed of what is read: everything, or while following with --grep the lines that match. */
struct printing {
	bool filter;
	regex_t pattern;
	struct greta_buf line;  /* not ended yet */
};

#define LINE_MAX_BYTES (64 << 10) /* a longer line is matched in pieces */

static int printing_init(struct printing *p, const struct logs_values *v, struct greta_err *e)
{
	*p = (struct printing){.filter = v->grep != NULL};
	if (!p->filter)
		return 0;
	cleanup_buf struct greta_buf pattern = {0};
	for (const char *s = v->grep; *s; s++) { /* a literal is an expression with its special characters escaped */
		if (!v->regex && strchr(".[]\\()*+?{}|^$", *s))
			greta_buf_addc(&pattern, '\\');
		greta_buf_addc(&pattern, *s);
	}
	int rc = regcomp(&p->pattern, greta_buf_str(&pattern), REG_EXTENDED | REG_NOSUB | (v->ignore_case ? REG_ICASE : 0));
	if (rc == 0)
		return 0;
	char why[120];
	regerror(rc, &p->pattern, why, sizeof why);
	return greta_err_set(e, GRETA_EINVAL, "--grep %s: %s", v->grep, why);
}

static void printing_release(struct printing *p)
{
	if (p->filter)
		regfree(&p->pattern);
	greta_buf_release(&p->line);
}

static void end_line(struct printing *p)
{
	if (p->line.len && regexec(&p->pattern, greta_buf_str(&p->line), 0, NULL, 0) == 0)
		puts(greta_buf_str(&p->line));
	greta_buf_clear(&p->line);
}

static void filter(struct printing *p, const char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (bytes[i] == '\n' || p->line.len >= LINE_MAX_BYTES)
			end_line(p);
		if (bytes[i] != '\n' && bytes[i] != '\0')
			greta_buf_addc(&p->line, bytes[i]);
	}
}

static int print_piece(void *arg, const struct greta_log_piece *piece, struct greta_err *e)
{
	struct printing *p = arg;
	(void)e;
	if (p->filter && piece->bytes)
		filter(p, piece->bytes, piece->n);
	else if (piece->bytes)
		fwrite(piece->bytes, 1, piece->n, stdout);
	else
		printf("\n[... %" PRId64 " bytes were not kept ...]\n", piece->dropped);
	return ferror(stdout) ? 1 : 0;
}

static int has_ended(struct greta_db *db, int64_t attempt_id, bool *ended, struct greta_err *e)
{
	struct greta_attempt_row row = {0};
	if (greta_attempts_get(db, attempt_id, &row, e))
		return -1;
	*ended = row.state == GRETA_ATTEMPT_ENDED || row.state == GRETA_ATTEMPT_PRUNED;
	greta_attempt_row_release(&row);
	return 0;
}

static int follow(struct cmd_ctx *ctx, const struct logs_values *v, int64_t attempt_id, int64_t from, struct printing *p,
		  struct greta_err *e)
{
	for (;;) {
		bool ended = true;
		/* Asked before reading: what was written before the end is then surely read. */
		if (v->follow && has_ended(ctx->db, attempt_id, &ended, e))
			return -1;
		if (greta_logs_read(ctx->db, attempt_id, stream_of(v->stream), from, &from, print_piece, p, e))
			return -1;
		if (ended && p->filter)
			end_line(p);
		if (fflush(stdout) || ended)
			return CMD_OK;
		poll(NULL, 0, FOLLOW_EVERY_MS);
	}
}

static int read_log(struct cmd_ctx *ctx, const struct logs_values *v, int64_t attempt_id, struct greta_err *e)
{
	struct printing p;
	int64_t from = 0;
	if (v->tail > 0 && greta_logs_tail_offset(ctx->db, attempt_id, stream_of(v->stream), v->tail, &from, e))
		return -1;
	if (printing_init(&p, v, e))
		return -1;
	int rc = follow(ctx, v, attempt_id, from, &p, e);
	printing_release(&p);
	return rc;
}

/* ---- searching */

struct grep_output {
	struct greta_db *db;
	struct term term;
	bool json;
	bool watched;       /* somebody sees the progress line */
	int64_t attempt_id; /* of the heading printed last */
};

#define LINE_CLEAR "\r\033[K"

static void print_progress(void *arg, const struct greta_grep_stats *s)
{
	const struct grep_output *o = arg;
	if (o->watched)
		fprintf(stderr, LINE_CLEAR "%.0f %% of what may match, %.1f GB of %.1f GB looked into, %" PRId64 " lines found",
			100 * (double)s->n_chunks_read / (double)s->n_candidates, (double)s->bytes_read / 1e9,
			(double)s->bytes / 1e9, s->n_hits);
}

static void clear_progress(const struct grep_output *o)
{
	if (o->watched)
		fputs(LINE_CLEAR, stderr);
}

static int print_heading(struct grep_output *o, int64_t attempt_id, struct greta_err *e)
{
	struct greta_attempt_row row = {0};
	if (greta_attempts_get(o->db, attempt_id, &row, e))
		return -1;
	cleanup_buf struct greta_buf line = {0}, text = {0};
	greta_buf_addf(&text, "attempt %" PRId64 ": %s %" PRId64 " #%" PRId64 " (job %" PRId64 ", %s)", row.id,
		       row.variant, row.context, row.repeat + 1, row.job_id, greta_outcome_name(row.outcome));
	term_add(&o->term, &line, TERM_BOLD, greta_buf_str(&text));
	puts(greta_buf_str(&line));
	greta_attempt_row_release(&row);
	o->attempt_id = attempt_id;
	return 0;
}

static int print_hit(void *arg, const struct greta_grep_hit *hit, struct greta_err *e)
{
	struct grep_output *o = arg;
	clear_progress(o);
	if (o->json) {
		cleanup_buf struct greta_buf out = {0};
		struct greta_jsonw w = greta_jsonw(&out);
		greta_jsonw_object(&w, NULL);
		greta_jsonw_i64(&w, "attempt", hit->attempt_id);
		greta_jsonw_i64(&w, "offset", hit->offset);
		greta_jsonw_str(&w, "stream", hit->stream == GRETA_STREAM_ERR ? "err" : "out");
		greta_jsonw_strn(&w, "line", hit->line, hit->n);
		greta_jsonw_end_object(&w);
		puts(greta_buf_str(&out));
	} else {
		if (hit->attempt_id != o->attempt_id && print_heading(o, hit->attempt_id, e))
			return -1;
		printf("  %.*s\n", (int)hit->n, hit->line);
	}
	return ferror(stdout) ? 1 : 0;
}

static int grep_logs(struct cmd_ctx *ctx, const struct logs_values *v, struct greta_err *e)
{
	struct greta_grep g = {
		.pattern = v->grep,
		.regex = v->regex,
		.ignore_case = v->ignore_case,
		.stream = stream_of(v->stream),
		.progress = print_progress,
	};
	if ((v->attempt || v->job) && choose_attempt(ctx, v, &g.attempt_id, e))
		return -1;
	if (v->campaign && greta_campaigns_find(ctx->db, v->campaign, &g.campaign_id, e))
		return -1;
	struct grep_output o = {.db = ctx->db, .term = term_of(1, ctx->color), .json = ctx->json,
				.watched = isatty(STDERR_FILENO)};
	struct greta_grep_stats stats = {0};
	int rc = greta_logs_grep(ctx->db, &g, print_hit, &o, &stats, e);
	clear_progress(&o);
	if (rc)
		return -1;
	return stats.n_hits ? CMD_OK : CMD_NOT_ALL_OK;
}

static int logs_exec(struct cmd_ctx *ctx, const void *values, struct greta_err *e)
{
	const struct logs_values *v = values;
	if (v->grep && !v->follow)
		return grep_logs(ctx, v, e);
	int64_t attempt_id;
	if (choose_attempt(ctx, v, &attempt_id, e))
		return -1;
	return read_log(ctx, v, attempt_id, e);
}

static const struct greta_opt logs_opts[] = {
	{"attempt", 'a', GRETA_OPT_STR, offsetof(struct logs_values, attempt), "ATTEMPT", "this attempt (id or uuid)"},
	{"job", 'j', GRETA_OPT_I64, offsetof(struct logs_values, job), "JOB", "the last attempt of this job"},
	{"campaign", 'c', GRETA_OPT_STR, offsetof(struct logs_values, campaign), "CAMPAIGN",
	 "the last attempt of this campaign; with --grep all of its attempts"},
	{"stream", 0, GRETA_OPT_STR, offsetof(struct logs_values, stream), "all|out|err", "which output (default: all)"},
	{"tail", 'n', GRETA_OPT_I64, offsetof(struct logs_values, tail), "LINES", "only the last lines"},
	{"follow", 'f', GRETA_OPT_FLAG, offsetof(struct logs_values, follow), NULL, "go on until the attempt ends"},
	{"grep", 'g', GRETA_OPT_STR, offsetof(struct logs_values, grep), "TEXT",
	 "print the lines that hold TEXT, over all attempts unless one is named"},
	{"regex", 'E', GRETA_OPT_FLAG, offsetof(struct logs_values, regex), NULL,
	 "TEXT is a POSIX extended regular expression"},
	{"ignore-case", 'i', GRETA_OPT_FLAG, offsetof(struct logs_values, ignore_case), NULL, "capitals do not matter"},
	{0},
};

const struct cmd cmd_logs = {
	.name = "logs",
	.group = "Ask",
	.summary = "what engines printed: read, follow, search",
	.operands = "",
	.details = "Without --attempt or --job: the newest attempt of the latest campaign. With --grep, exit code 1 says\n"
		   "that nothing was found; with --follow besides, matching lines of one attempt are printed as they come.\n\n"
		   "  greta-orch logs --job 3 --follow\n"
		   "  greta-orch logs --grep hipErrorOutOfMemory\n",
	.opts = logs_opts,
	.values_size = sizeof(struct logs_values),
	.needs = CMD_NEEDS_READER,
	.exec = logs_exec,
};
