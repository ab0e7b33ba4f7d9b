/* bench_db: how fast the database takes what nodes send, and how fast it answers. Prints figures; tests nothing.
 *
 *	bench_db     5,000 attempts of 20 events and 12 metrics; 1,000,000 telemetry samples; 256 MB of logs
 *	bench_db --bulk --attempts 1000000 --samples 100000000 --log-mb 10 --db big.db
 *
 * Events are committed in groups of 5 ms, with synchronous=FULL, as the controller does it. With --bulk the database is made
 * for its size: in groups of 2 s, and the samples are packed at once, spread over the attempts. */
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/opt.h"
#include "db/attempts.h"
#include "db/campaigns.h"
#include "db/db.h"
#include "db/logs.h"
#include "db/telemetry.h"
#include <math.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define GROUP_NS (5 * GRETA_NS_PER_MS)
#define BULK_GROUP_NS (2 * GRETA_NS_PER_S)
#define N_VARIANTS 4
#define N_CONTEXTS 10
#define N_COLUMNS 8
#define ROWS_PER_EVENT 50

struct values {
	int64_t attempts, per_campaign, samples, log_mb;
	const char *db;
	bool bulk;
};

struct bench {
	struct values v;
	struct greta_db *db;
	struct greta_err e;
	struct greta_txn txn;
	int64_t group_end_ns;
	int64_t n_commits;
	double making_s; /* of the outcomes' text, which is what nodes do */
	unsigned seed;
	int64_t first_attempt, last_attempt;
};

static void must(struct bench *b, int rc)
{
	if (rc >= 0)
		return;
	fprintf(stderr, "bench_db: %s\n", b->e.text);
	exit(3);
}

static unsigned dice(struct bench *b)
{
	b->seed = b->seed * 1103515245 + 12345;
	return b->seed >> 16;
}

static double now_s(void)
{
	return (double)greta_clock_mono_ns() / 1e9;
}

static double cpu_s(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* ---- group commit */

static void group_end(struct bench *b)
{
	if (!b->txn.db)
		return;
	must(b, greta_txn_commit(&b->txn, &b->e));
	b->n_commits++;
}

static void group_tick(struct bench *b)
{
	if (b->txn.db && greta_clock_mono_ns() >= b->group_end_ns)
		group_end(b);
	if (b->txn.db)
		return;
	must(b, greta_txn_begin(b->db, &b->txn, &b->e));
	b->group_end_ns = greta_clock_mono_ns() + (b->v.bulk ? BULK_GROUP_NS : GROUP_NS);
}

/* ---- attempts */

static int64_t add_campaign(struct bench *b, int n, struct greta_job_rows *jobs)
{
	char name[32], variants[N_VARIANTS][16], uuid[GRETA_UUID_LEN + 1];
	struct greta_new_variant v[N_VARIANTS];
	struct greta_new_campaign c = {
		.name = name, .text = "{\"name\": \"bench\"}", .variants = v, .n_variants = N_VARIANTS};
	struct greta_new_job *list = greta_alloc((size_t)b->v.per_campaign * sizeof *list);
	int64_t id;

	snprintf(name, sizeof name, "bench %d", n);
	for (int i = 0; i < N_VARIANTS; i++) {
		snprintf(variants[i], sizeof variants[i], "v%d", i);
		v[i] = (struct greta_new_variant){.name = variants[i]};
	}
	for (int64_t i = 0; i < b->v.per_campaign; i++)
		list[i] = (struct greta_new_job){.variant = (size_t)(i % N_VARIANTS),
						 .context = (i / N_VARIANTS % N_CONTEXTS + 1) * 1024,
						 .repeat = i / (N_VARIANTS * N_CONTEXTS)};
	c.jobs = list;
	c.n_jobs = (size_t)b->v.per_campaign;
	must(b, greta_campaigns_add(b->db, &c, &id, uuid, &b->e));
	free(list);
	must(b, greta_jobs_next(b->db, id, GRETA_JOB_QUEUED, -1, b->v.per_campaign, jobs, &b->e));
	return id;
}

static void send(struct bench *b, int64_t attempt, int64_t *seq, enum greta_event_kind kind, const char *detail,
		 const char *bytes)
{
	struct greta_event ev = {.seq = ++*seq,
				 .kind = kind,
				 .boot_ns = 1,
				 .wall_ns = greta_clock_wall_ns(),
				 .detail = (char *)(uintptr_t)detail,
				 .bytes = (char *)(uintptr_t)bytes,
				 .n_bytes = bytes ? strlen(bytes) : 0};

	group_tick(b);
	must(b, greta_attempts_apply(b->db, attempt, &ev, NULL, &b->e));
}

static void send_outcome(struct bench *b, int64_t attempt, int64_t *seq, double prefill_s)
{
	cleanup_buf struct greta_buf text = {0};
	double begun = now_s();

	greta_buf_addf(
		&text,
		"{\"outcome\":\"ok\",\"exit_code\":0,\"wall_s\":%.6f,\"tokens_verified\":1,\"samples\":[{\"sample\":1,"
		"\"metrics\":{\"prefill_s\":%.6f,\"model_load_s\":21.4,\"tokenize_s\":1.5e-5,\"decode_s\":0.031,"
		"\"attn_impl\":\"q_lds\",\"prompt_tokens\":4096,\"backend\":\"hip\",\"dtype\":\"f16\","
		"\"peak_vram_bytes\":17179869184,\"flops\":6.1e13,\"top1\":%u,\"logits_sha256\":\"%08x%08x\"}}],"
		"\"devices\":[\"GPU-%u\"],\"build_sha256\":\"build-%u\"}",
		prefill_s + 30, prefill_s, dice(b), dice(b), dice(b), dice(b) % 8, dice(b) % 4);
	b->making_s += now_s() - begun;
	send(b, attempt, seq, GRETA_EVENT_OUTCOME, text.data, NULL);
}

/* One a second, of eight readings. */
static void add_samples(struct bench *b, int64_t attempt)
{
	static const char *const columns[N_COLUMNS] = {"gpu0.power_w",	  "gpu0.temp_c", "gpu0.sclk_mhz",  "gpu0.mclk_mhz",
						       "gpu0.vram_bytes", "cpu_percent", "gpu0.throttle", "load1"};
	int64_t n = b->v.samples / b->v.attempts, t = greta_clock_wall_ns();
	struct greta_telemetry rows = {.columns = columns, .n_columns = N_COLUMNS, .n_rows = (size_t)n};
	int64_t *times = greta_alloc((size_t)(n + 1) * sizeof *times);
	double *values = greta_alloc((size_t)(n + 1) * N_COLUMNS * sizeof *values);

	for (int64_t r = 0; r < n; r++) {
		const double row[N_COLUMNS] = {600 + dice(b) % 1500 / 10.0, 55 + dice(b) % 20, 1900 + dice(b) % 200, 1300,
					       3e9 + dice(b) % 4 * 1048576, dice(b) % 101, 0, dice(b) % 100 / 100.0};

		times[r] = t + r * GRETA_NS_PER_S;
		memcpy(&values[r * N_COLUMNS], row, sizeof row);
	}
	rows.t_ns = times;
	rows.values = values;
	must(b, greta_telemetry_add(b->db, attempt, &rows, &b->e));
	free(times);
	free(values);
}

/* 20 events, as an attempt of some minutes sends them. */
static void run_attempt(struct bench *b, const struct greta_job_row *job)
{
	const struct greta_new_attempt a = {.job_id = job->id,
					    .spec = "{\"argv\":[\"greta-infer\",\"--ctx\",\"4096\"]}"};
	double prefill_s = 1e-6 * (double)job->context * (double)job->context * (0.95 + dice(b) % 1000 * 1e-4);
	int64_t id, seq = 0;
	char line[128];

	group_tick(b);
	must(b, greta_attempts_plan(b->db, &a, &id, &b->e));
	send(b, id, &seq, GRETA_EVENT_ACCEPTED, "{}", NULL);
	send(b, id, &seq, GRETA_EVENT_STARTED, "{\"pid\":77,\"devices\":[\"GPU-1\"],\"build_sha256\":\"build-1\"}",
	     NULL);
	for (int i = 0; i < 12; i++) {
		snprintf(line, sizeof line,
			 "{\"phase\":\"prefill\",\"done\":%d,\"total\":12,\"unit\":\"layer\",\"t\":%d.5}", i, i);
		send(b, id, &seq, GRETA_EVENT_PROGRESS, line, NULL);
	}
	for (int i = 0; i < 4; i++) {
		snprintf(line, sizeof line, "layer %d attn took %u us\nlayer %d ffn took %u us\n", i, dice(b), i,
			 dice(b));
		send(b, id, &seq, GRETA_EVENT_LOG, "{\"stream\":\"out\",\"offset\":0}", line);
	}
	send(b, id, &seq, GRETA_EVENT_TELEMETRY,
	     "{\"columns\":[\"gpu0.power_w\",\"gpu0.temp_c\"],\"rows\":[[1,700.5,60],[2,710,61],[3,705,61]]}", NULL);
	if (b->v.bulk)
		add_samples(b, id);
	send_outcome(b, id, &seq, prefill_s);
	must(b, greta_jobs_set_state(b->db, job->id, GRETA_JOB_DONE, NULL, &b->e));
	if (!b->first_attempt)
		b->first_attempt = id;
	b->last_attempt = id;
}

static void bench_attempts(struct bench *b)
{
	double begun = now_s(), cpu = cpu_s();
	int64_t n = 0;
	double s;

	for (int c = 0; n < b->v.attempts; c++) {
		struct greta_job_rows jobs = {0};

		add_campaign(b, c, &jobs);
		for (size_t i = 0; i < jobs.n; i++, n++)
			run_attempt(b, &jobs.items[i]);
		group_end(b);
		greta_job_rows_release(&jobs);
	}
	s = now_s() - begun - b->making_s;
	cpu += b->making_s;
	printf("attempts    %9.0f /s   %lld with 20 events and 12 metrics each in %.2f s, %.0f events/s, %.0f us"
	       " CPU each, %lld commits\n",
	       (double)n / s, (long long)n, s, 20 * (double)n / s, 1e6 * (cpu_s() - cpu) / (double)n,
	       (long long)b->n_commits);
}

/* ---- telemetry */

static void telemetry_event(struct bench *b, struct greta_buf *out, int64_t t)
{
	greta_buf_clear(out);
	greta_buf_adds(
		out,
		"{\"columns\":[\"power_w\",\"temp_c\",\"sclk_mhz\",\"mclk_mhz\",\"vram_bytes\",\"use_pct\",\"fan\","
		"\"throttle\"],\"rows\":[");
	for (int r = 0; r < ROWS_PER_EVENT; r++)
		greta_buf_addf(out, "%s[%lld,%u.%u,%u,%u,1300,%u,%u,0,0]", r ? "," : "",
			       (long long)(t + r * INT64_C(100000000)), 600 + dice(b) % 150, dice(b) % 10,
			       55 + dice(b) % 20, 1900 + dice(b) % 200, 3000000000u + dice(b) % 4 * 1048576,
			       dice(b) % 101);
	greta_buf_adds(out, "]}");
}

static void bench_telemetry(struct bench *b)
{
	double making = 0, begun = now_s(), cpu = cpu_s(), s;
	cleanup_buf struct greta_buf text = {0};
	int64_t n = 0, per_attempt = 10000, seq = 0, id = 0;
	struct greta_job_rows jobs = {0};

	add_campaign(b, 1000000, &jobs);
	for (size_t job = 0; n < b->v.samples; n += ROWS_PER_EVENT) {
		double t = now_s(), c = cpu_s();

		telemetry_event(b, &text, greta_clock_wall_ns());
		making += now_s() - t;
		cpu += cpu_s() - c;
		if (n % per_attempt == 0) {
			const struct greta_new_attempt a = {.job_id = jobs.items[job++ % jobs.n].id};

			group_tick(b);
			if (id)
				must(b, greta_telemetry_seal(b->db, id, &b->e));
			must(b, greta_attempts_plan(b->db, &a, &id, &b->e));
			seq = 0;
		}
		send(b, id, &seq, GRETA_EVENT_TELEMETRY, text.data, NULL);
	}
	must(b, greta_telemetry_seal(b->db, id, &b->e));
	group_end(b);
	s = now_s() - begun - making;
	printf("telemetry   %9.0f /s   %lld samples of %d readings, %d in an event, in %.2f s, %.2f us CPU each\n",
	       (double)n / s, (long long)n, N_COLUMNS, ROWS_PER_EVENT, s, 1e6 * (cpu_s() - cpu) / (double)n);
	greta_job_rows_release(&jobs);
}

/* ---- logs */

static void bench_log_ingest(struct bench *b)
{
	cleanup_buf struct greta_buf text = {0};
	struct greta_job_rows jobs = {0};
	double making = 0, begun = now_s(), cpu = cpu_s(), s;
	int64_t n = 0, limit = b->v.log_mb * 1000000, id;

	add_campaign(b, 2000000, &jobs);
	for (size_t job = 0; n < limit; n += (int64_t)text.len) {
		const struct greta_new_attempt a = {.job_id = jobs.items[job++ % jobs.n].id};
		double t = now_s(), c = cpu_s();

		greta_buf_clear(&text);
		while (text.len < 4000000 && n + (int64_t)text.len < limit)
			greta_buf_addf(&text, "[%u.%06u] layer %u attn q_lds: %u us, %x\n", dice(b), dice(b),
				       dice(b) % 32, dice(b), dice(b));
		if (n + (int64_t)text.len >= limit)
			greta_buf_adds(&text, "Memory access fault by GPU node-2 on address 0x7f00\n");
		making += now_s() - t;
		cpu += cpu_s() - c;
		group_tick(b);
		must(b, greta_attempts_plan(b->db, &a, &id, &b->e));
		must(b, greta_logs_add(b->db, id, GRETA_STREAM_OUT, text.data, text.len, &b->e));
		must(b, greta_logs_seal(b->db, id, &b->e));
	}
	group_end(b);
	s = now_s() - begun - making;
	printf("logs in     %9.1f MB/s %.0f MB in %.2f s, %.2f s CPU\n", (double)n / 1e6 / s, (double)n / 1e6, s,
	       cpu_s() - cpu);
	greta_job_rows_release(&jobs);
}

static int count_hit(void *arg, const struct greta_grep_hit *hit, struct greta_err *e)
{
	(void)arg, (void)hit, (void)e;
	return 0;
}

static void bench_grep(struct bench *b, const char *pattern)
{
	const struct greta_grep g = {.pattern = pattern};
	struct greta_grep_stats stats;
	double begun = now_s(), s;

	must(b, greta_logs_grep(b->db, &g, count_hit, NULL, &stats, &b->e));
	s = now_s() - begun;
	printf("grep        %9.3f s    \"%s\": %lld lines in %.0f MB, looked into %lld of %lld chunks\n", s, pattern,
	       (long long)stats.n_hits, (double)stats.bytes / 1e6, (long long)stats.n_chunks_read,
	       (long long)stats.n_chunks);
}

/* ---- questions */

static void ask(struct bench *b, const char *name, const char *sql)
{
	struct greta_query *q = greta_query_user(b->db, sql, &b->e);
	double begun = now_s(), s;
	int64_t n = 0;
	int rc = 1;

	must(b, q ? 0 : -1);
	for (; (rc = greta_query_step(q, &b->e)) == 1; n++)
		for (int c = 0; c < greta_query_columns(q); c++)
			greta_query_str(q, c);
	must(b, rc);
	greta_query_close(q);
	s = now_s() - begun;
	printf("%-11s %9.1f ms   %lld rows: %s\n", name, 1000 * s, (long long)n, sql);
}

static void bench_questions(struct bench *b)
{
	greta_db_close(b->db);
	b->db = greta_db_open_reader(b->v.db, &b->e);
	must(b, b->db ? 0 : -1);
	for (int warm = 0; warm < 2; warm++) {
		printf(warm ? "again, from memory:\n" : "one campaign, first time:\n");
		ask(b, "result", "SELECT * FROM result WHERE campaign_id = 1");
		ask(b, "cell", "SELECT * FROM cell WHERE campaign_id = 1");
		ask(b, "scaling", "SELECT * FROM scaling WHERE campaign_id = 1");
		ask(b, "by name", "SELECT * FROM scaling WHERE campaign = 'bench 0'");
		ask(b, "samples", "SELECT * FROM sample_value WHERE campaign_id = 1");
	}
	ask(b, "all", "SELECT outcome, count(*), avg(prefill_s) FROM result GROUP BY outcome");
	ask(b, "all", "SELECT count(*) FROM scaling");
	ask(b, "history", "SELECT count(*) FROM history WHERE ratio_to_before > 1.04");
}

int main(int argc, char **argv)
{
	static const struct greta_opt opts[] = {
		{"attempts", 0, GRETA_OPT_I64, offsetof(struct values, attempts), "N", "attempts to take in (5000)"},
		{"per-campaign", 0, GRETA_OPT_I64, offsetof(struct values, per_campaign), "N",
		 "of them in a campaign (1000)"},
		{"samples", 0, GRETA_OPT_I64, offsetof(struct values, samples), "N",
		 "telemetry samples of 8 readings (1000000)"},
		{"log-mb", 0, GRETA_OPT_I64, offsetof(struct values, log_mb), "N", "megabytes of output (256)"},
		{"bulk", 0, GRETA_OPT_FLAG, offsetof(struct values, bulk), NULL, "for the size, not for the rate"},
		{"db", 0, GRETA_OPT_STR, offsetof(struct values, db), "FILE", "where to make the database (bench.db)"},
		{0},
	};
	static const struct greta_opts o = {
		.program = "bench_db", .operands = "", .summary = "figures of the database", .opts = opts};
	static struct bench b = {
		.v = {.attempts = 5000, .per_campaign = 1000, .samples = 1000000, .log_mb = 256, .db = "bench.db"},
		.seed = 1};
	struct greta_strs operands = {0};
	struct stat st;
	int rc = greta_opt_parse(&o, argc, argv, &b.v, &operands, false, &b.e);

	if (rc) {
		cleanup_buf struct greta_buf help = {0};

		greta_opt_help(&o, &help);
		fprintf(rc < 0 ? stderr : stdout, "%s%s%s", rc < 0 ? b.e.text : "", rc < 0 ? "\n" : "",
			rc < 0 ? "" : help.data);
		return rc < 0 ? 2 : 0;
	}
	greta_mem_keep(); /* as the controller does */
	b.db = greta_db_open_writer(b.v.db, &b.e);
	must(&b, b.db ? 0 : -1);
	bench_attempts(&b);
	if (!b.v.bulk)
		bench_telemetry(&b);
	bench_log_ingest(&b);
	bench_grep(&b, "Memory access fault");
	bench_grep(&b, "attn q_lds: 7777 us");
	bench_questions(&b);
	stat(b.v.db, &st);
	printf("file        %9.1f MB\n", (double)st.st_size / 1e6);
	greta_db_close(b.db);
	return 0;
}
