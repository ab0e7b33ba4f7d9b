#include "db/validity.h"
#include "base/cleanup.h"
#include "base/mem.h"
#include "base/str.h"
#include "db/attempts.h"
#include "db/db.h"
#include "orchestrator/analysis/reference.h"
#include "orchestrator/analysis/stats.h"
#include "orchestrator/analysis/validity.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* NVML's reasons that no run should have: hardware slowdown, heat (by software and hardware), power brake. Application
 * clocks and the power cap are how a GPU is set up. */
#define NVML_SLOWDOWN (0x08 | 0x20 | 0x40 | 0x80)

#define MEAN(name) "(SELECT mean FROM telemetry_summary WHERE attempt_id = a.id AND name = '" name "' AND n >= 10)"
_Static_assert(VALIDITY_READINGS == 10, "the number that stands in MEAN");

static const char runs_sql[] =
	"SELECT a.id, j.variant_id, v.name, j.context, a.node_id, a.build_id, a.model_id, a.device_type,"
	" (SELECT group_concat(d.uuid, ' ') FROM attempt_device t JOIN device d ON d.id = t.device_id WHERE t.attempt_id = a.id),"
	" (SELECT min(d.kind) FROM attempt_device t JOIN device d ON d.id = t.device_id WHERE t.attempt_id = a.id),"
	" a.excluded IS NOT NULL, " GRETA_READING("top1") ", " GRETA_READING("logits_sha256") ", n.n_cpus, a.started_ns, a.ended_ns,"
	" " MEAN("cpu_percent") ", " MEAN("engine_cpu_percent") ","
	" (SELECT min(mean) FROM telemetry_summary WHERE attempt_id = a.id AND name GLOB 'gpu*.sclk_mhz' AND n >= 10),"
	" (SELECT max(max) FROM telemetry_summary WHERE attempt_id = a.id AND name GLOB 'gpu*.throttle'),"
	" (SELECT max(max - min) FROM telemetry_summary WHERE attempt_id = a.id AND name GLOB 'gpu*.throttle')"
	" FROM job j JOIN attempt a ON a.id = j.counted_attempt JOIN variant v ON v.id = j.variant_id"
	" LEFT JOIN node n ON n.id = a.node_id WHERE j.campaign_id = ? ORDER BY j.context, v.position, j.repeat";

enum column {
	V_ATTEMPT, V_VARIANT_ID, V_VARIANT, V_CONTEXT, V_NODE, V_BUILD, V_MODEL, V_DEVICE_TYPE, V_DEVICES, V_KIND, V_MARKED,
	V_TOP1, V_LOGITS, V_CPUS, V_STARTED, V_ENDED, V_CPU, V_ENGINE_CPU, V_CLOCK, V_THROTTLE, V_THROTTLE_GREW,
};

struct run {
	int64_t attempt_id, variant_id, context, node_id, build_id, model_id, n_cpus, started_ns, ended_ns;
	char *variant, *device_type, *devices, *kind, *top1, *logits; /* NULL: not known */
	bool was_marked;
	double cpu_percent, engine_cpu_percent, clock_mhz, throttle, throttle_grew; /* NAN: not read */
	char *reasons[GRETA_MARK_COUNT];                              /* NULL: nothing speaks against it */
};

struct runs {
	struct greta_db *db;
	struct run *items;
	size_t n, cap;
};

static void runs_release(struct runs *r)
{
	for (size_t i = 0; i < r->n; i++) {
		struct run *x = &r->items[i];
		char *texts[] = {x->variant, x->device_type, x->devices, x->kind, x->top1, x->logits};
		for (size_t k = 0; k < GRETA_COUNT(texts); k++)
			free(texts[k]);
		for (size_t k = 0; k < GRETA_MARK_COUNT; k++)
			free(x->reasons[k]);
	}
	free(r->items);
}

static int runs_load(int64_t campaign_id, struct runs *out, struct greta_err *e)
{
	cleanup_query struct greta_query *q = greta_query_open(out->db, e, runs_sql, "i", campaign_id);
	int rc = q ? 0 : -1;
	while (q && (rc = greta_query_step(q, e)) == 1)
		*GRETA_PUSH(out->items, out->n, out->cap) = (struct run){
			.attempt_id = greta_query_i64(q, V_ATTEMPT),
			.variant_id = greta_query_i64(q, V_VARIANT_ID),
			.variant = greta_strdup(greta_query_str(q, V_VARIANT)),
			.context = greta_query_i64(q, V_CONTEXT),
			.node_id = greta_query_i64(q, V_NODE),
			.build_id = greta_query_i64(q, V_BUILD),
			.model_id = greta_query_i64(q, V_MODEL),
			.device_type = greta_strdup(greta_query_str(q, V_DEVICE_TYPE)),
			.devices = greta_strdup(greta_query_str(q, V_DEVICES)),
			.kind = greta_strdup(greta_query_str(q, V_KIND)),
			.was_marked = greta_query_i64(q, V_MARKED) != 0,
			.top1 = greta_strdup(greta_query_str(q, V_TOP1)),
			.logits = greta_strdup(greta_query_str(q, V_LOGITS)),
			.n_cpus = greta_query_i64(q, V_CPUS),
			.started_ns = greta_query_i64(q, V_STARTED),
			.ended_ns = greta_query_i64(q, V_ENDED),
			.cpu_percent = greta_query_f64(q, V_CPU),
			.engine_cpu_percent = greta_query_f64(q, V_ENGINE_CPU),
			.clock_mhz = greta_query_f64(q, V_CLOCK),
			.throttle = greta_query_f64(q, V_THROTTLE),
			.throttle_grew = greta_query_f64(q, V_THROTTLE_GREW),
		};
	return rc;
}

static void mark(struct run *r, enum greta_mark_kind kind, char *reason) /* takes reason */
{
	if (r->reasons[kind])
		free(reason);
	else
		r->reasons[kind] = reason;
}

static bool same_cell(const struct run *a, const struct run *b)
{
	return a->variant_id == b->variant_id && a->context == b->context;
}

static const char *on(const struct run *r)
{
	return r->devices ? r->devices : "an unnamed GPU";
}

/* ---- clocks */

static void judge_throttle(struct run *r)
{
	if (greta_str_eq(r->kind, "nvidia") && r->throttle >= 0 && ((uint64_t)r->throttle & NVML_SLOWDOWN))
		mark(r, GRETA_MARK_THROTTLED,
		     greta_format("%s slowed down during the run, for heat or by its power brake (NVML reasons 0x%llx)", on(r),
				  (unsigned long long)r->throttle));
}

static void judge_clock(const struct runs *all, struct run *r)
{
	struct stats_sample peers = {0};
	for (size_t i = 0; i < all->n && !isnan(r->clock_mhz); i++)
		if (same_cell(&all->items[i], r) && greta_str_eq(all->items[i].device_type, r->device_type) &&
		    !isnan(all->items[i].clock_mhz))
			stats_add(&peers, all->items[i].clock_mhz);
	double usual = stats_median(&peers).median;
	if (peers.n >= VALIDITY_CLOCK_PEERS && r->clock_mhz < VALIDITY_CLOCK * usual)
		mark(r, GRETA_MARK_SLOW_CLOCKS,
		     greta_format("%s ran at %.0f MHz in the mean, where %.0f MHz is usual for this cell%s", on(r), r->clock_mhz,
				  usual, r->throttle_grew > 0 ? "; it was throttling" : ""));
	stats_release(&peers);
}

/* ---- neighbours */

#define DAY_NS INT64_C(86400000000000) /* no attempt of ours is longer; it bounds what the index is asked for */

/* CPUs that other attempts of ours kept busy on the node meanwhile. */
static int own_cpus(struct greta_db *db, const struct run *r, double *out, struct greta_err *e)
{
	cleanup_query struct greta_query *q = greta_query_open(
		db, e,
		"SELECT total(engine_cpu_percent / 100.0 * (min(ended_ns, ?1) - max(started_ns, ?2)) / (?1 - ?2)) FROM attempt"
		" WHERE engine_cpu_percent IS NOT NULL AND node_id = ?3 AND started_ns > ?4 AND started_ns < ?1"
		" AND ended_ns > ?2 AND id <> ?5",
		"iiiii", r->ended_ns, r->started_ns, r->node_id, r->started_ns - DAY_NS, r->attempt_id);
	if (!q || greta_query_step(q, e) < 0)
		return -1;
	*out = greta_query_f64(q, 0);
	return 0;
}

static bool disturbs(const struct run *r, double cpus)
{
	double share = cpus / (double)r->n_cpus;
	return share >= VALIDITY_NEIGHBOUR || (share >= VALIDITY_NEIGHBOUR_FULL && r->cpu_percent >= VALIDITY_FULL_PERCENT);
}

static int judge_neighbour(struct greta_db *db, struct run *r, struct greta_err *e)
{
	double others = r->cpu_percent / 100 * (double)r->n_cpus - r->engine_cpu_percent / 100, own = 0;
	if (isnan(others) || r->n_cpus < 1 || r->started_ns >= r->ended_ns || !disturbs(r, others))
		return 0;
	if (own_cpus(db, r, &own, e))
		return -1;
	if (disturbs(r, others - own))
		mark(r, GRETA_MARK_BUSY_NEIGHBOUR,
		     greta_format("other processes kept %.1f of the node's %lld CPUs busy in the mean", others - own,
				  (long long)r->n_cpus));
	return 0;
}

/* ---- answers */

typedef const char *answer_of(const struct run *r);

static const char *top1_of(const struct run *r)
{
	return r->top1;
}

static const char *logits_of(const struct run *r)
{
	return r->logits;
}

/* Runs that must answer alike. Bits are the same only by the same code on the same kind of device. */
static bool twins(const struct run *a, const struct run *b)
{
	return same_cell(a, b) && a->devices && b->devices && a->build_id && a->build_id == b->build_id &&
	       a->model_id == b->model_id && greta_str_eq(a->device_type, b->device_type);
}

struct twins {
	struct run **items;
	size_t n, cap;
};

static size_t votes(const struct twins *t, answer_of *answer, const char *value)
{
	size_t n = 0;
	for (size_t i = 0; i < t->n; i++)
		n += greta_str_eq(answer(t->items[i]), value);
	return n;
}

/* The answer given most often; NULL: two are given as often. */
static const char *majority(const struct twins *t, answer_of *answer)
{
	const char *best = NULL;
	size_t most = 0;
	bool tie = false;
	for (size_t i = 0; i < t->n; i++) {
		const char *value = answer(t->items[i]);
		size_t n = votes(t, answer, value);
		if (greta_str_eq(value, best))
			continue;
		tie = n == most;
		if (n > most) {
			best = value;
			most = n;
		}
	}
	return tie ? NULL : best;
}

static size_t n_gpus(const struct twins *t, answer_of *answer, const char *not_value) /* NULL: all of them */
{
	size_t n = 0;
	for (size_t i = 0; i < t->n; i++) {
		bool seen = not_value && greta_str_eq(answer(t->items[i]), not_value);
		for (size_t k = 0; k < i && !seen; k++)
			seen = greta_str_eq(t->items[k]->devices, t->items[i]->devices) &&
			       !(not_value && greta_str_eq(answer(t->items[k]), not_value));
		n += !seen;
	}
	return n;
}

/* One GPU answers alone against all others, or two GPUs stand against each other; else bits vary by themselves. */
static void judge_twins(const struct twins *t, const char *what, answer_of *answer, bool varies_by_itself)
{
	const char *right = majority(t, answer);
	size_t gpus = n_gpus(t, answer, NULL), off = right ? n_gpus(t, answer, right) : gpus;
	if (gpus < 2 || off == 0 || (off > 1 && varies_by_itself && gpus > 2))
		return;
	bool nobody_knows = !right || gpus == 2;
	for (size_t i = 0; i < t->n; i++) {
		struct run *r = t->items[i];
		if (nobody_knows)
			mark(r, GRETA_MARK_OFF_OTHER_GPU,
			     greta_format("the %s of %s at %lld differ between two GPUs, and nothing tells which is right: possible silent data "
					  "corruption; this one ran on %s", what, r->variant, (long long)r->context, on(r)));
		else if (!greta_str_eq(answer(r), right))
			mark(r, GRETA_MARK_OFF_OTHER_GPU,
			     greta_format("possible silent data corruption on %s: its %s %.16s, where %zu other GPU%s %.16s", on(r), what,
					  answer(r), gpus - off, gpus - off == 1 ? " has" : "s have", right));
	}
}

static bool all_say(const struct twins *t, answer_of *answer)
{
	for (size_t i = 0; i < t->n; i++)
		if (!answer(t->items[i]))
			return false;
	return true;
}

/* Runs of a cell stand together. Each group of twins is judged once, at its first. */
static void judge_other_gpus(struct runs *all, size_t first)
{
	struct twins t = {0};
	struct run *one = &all->items[first];
	if (!one->devices)
		return;
	for (size_t i = first; i > 0 && same_cell(&all->items[i - 1], one); i--)
		if (twins(&all->items[i - 1], one))
			return;
	*GRETA_PUSH(t.items, t.n, t.cap) = one;
	for (size_t i = first + 1; i < all->n && same_cell(&all->items[i], one); i++)
		if (twins(&all->items[i], one))
			*GRETA_PUSH(t.items, t.n, t.cap) = &all->items[i];
	if (t.n > 1) {
		if (all_say(&t, top1_of))
			judge_twins(&t, "top-1 token", top1_of, false);
		if (all_say(&t, logits_of))
			judge_twins(&t, "logits", logits_of, true);
	}
	free(t.items);
}

/* The reference's own answer at a context: that of most of its runs which no other GPU contradicts. */
static const char *reference_top1(const struct runs *all, const char *reference, int64_t context)
{
	struct twins t = {0};
	for (size_t i = 0; i < all->n; i++)
		if (all->items[i].context == context && greta_str_eq(all->items[i].variant, reference) && all->items[i].top1 &&
		    !all->items[i].reasons[GRETA_MARK_OFF_OTHER_GPU])
			*GRETA_PUSH(t.items, t.n, t.cap) = &all->items[i];
	const char *top1 = majority(&t, top1_of);
	free(t.items);
	return top1;
}

static void judge_reference(struct runs *all, const char *reference)
{
	const char *right = NULL;
	for (size_t i = 0; i < all->n; i++) {
		struct run *r = &all->items[i];
		if (i == 0 || r->context != all->items[i - 1].context)
			right = reference_top1(all, reference, r->context);
		if (right && r->top1 && !greta_str_eq(r->variant, reference) && !greta_str_eq(r->top1, right))
			mark(r, GRETA_MARK_OFF_REFERENCE,
			     greta_format("its likeliest token is %s, where the reference variant %s has %s", r->top1, reference, right));
	}
}

/* ---- all of it */

static int keep(struct greta_db *db, const struct run *r, int64_t *n_marked, struct greta_err *e)
{
	struct greta_mark marks[GRETA_MARK_COUNT];
	size_t n = 0;
	for (enum greta_mark_kind k = 0; k < GRETA_MARK_COUNT; k++)
		if (r->reasons[k])
			marks[n++] = (struct greta_mark){k, r->reasons[k]};
	*n_marked += n > 0;
	return n == 0 && !r->was_marked ? 0 : greta_marks_set(db, r->attempt_id, marks, n, e);
}

static int judge(struct runs *all, const char *reference, int64_t *n_marked, struct greta_err *e)
{
	cleanup_txn struct greta_txn txn = greta_txn_none;
	for (size_t i = 0; i < all->n; i++) {
		judge_throttle(&all->items[i]);
		judge_clock(all, &all->items[i]);
		judge_other_gpus(all, i);
		if (judge_neighbour(all->db, &all->items[i], e))
			return -1;
	}
	if (reference)
		judge_reference(all, reference);
	if (greta_txn_begin(all->db, &txn, e))
		return -1;
	for (size_t i = 0; i < all->n; i++)
		if (keep(all->db, &all->items[i], n_marked, e))
			return -1;
	return greta_txn_commit(&txn, e);
}

int validity_judge(struct greta_db *db, int64_t campaign_id, int64_t *n_marked, struct greta_err *e)
{
	struct runs all = {.db = db};
	cleanup_free char *reference = NULL;
	int64_t n = 0;
	int rc = reference_of_campaign(db, campaign_id, &reference, e);
	if (rc == 0)
		rc = runs_load(campaign_id, &all, e);
	if (rc == 0)
		rc = judge(&all, reference, &n, e);
	runs_release(&all);
	if (n_marked)
		*n_marked = n;
	return rc;
}

/* ---- tally */

void validity_tally_add(struct validity_tally *t, const char *excluded)
{
	if (!excluded)
		return;
	t->total++;
	for (size_t i = 0; i < t->n; i++)
		if (greta_str_eq(t->items[i].why, excluded)) {
			t->items[i].n++;
			return;
		}
	*GRETA_PUSH(t->items, t->n, t->cap) = (struct validity_group){greta_strdup(excluded), 1};
}

void validity_tally_release(struct validity_tally *t)
{
	for (size_t i = 0; i < t->n; i++)
		free(t->items[i].why);
	free(t->items);
	*t = (struct validity_tally){0};
}

void validity_tally_text(const struct validity_tally *t, bool included, struct greta_buf *out)
{
	if (t->total == 0)
		return;
	greta_buf_addf(out, "%zu counted result%s %s marked (", t->total, t->total == 1 ? "" : "s", t->total == 1 ? "is" : "are");
	for (size_t i = 0; i < t->n; i++)
		greta_buf_addf(out, "%s%zu %s", i ? "; " : "", t->items[i].n, t->items[i].why);
	greta_buf_adds(out, included ? ") and taken into the statistics all the same\n"
				     : ") and left out of the statistics; --include-marked takes them in\n");
}
