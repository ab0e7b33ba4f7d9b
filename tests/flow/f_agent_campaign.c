/* A campaign's worth of attempts, a random quarter of them faulty, on two nodes and several at a time on each: no fault
 * misjudged, no healthy run stopped, nothing left running. GRETA_SEED sets another seed, GRETA_ATTEMPTS another number. */
#include "tests/unit/unit.h"

#include "base/clock.h"
#include "base/mem.h"
#include "tests/flow/agent_driver.h"
#include <string.h>

#define IN_FLIGHT 4
#define N_NODES 2
#define SEED 41 /* draws every kind */

struct kind {
	const char *mode, *option, *value;
	enum greta_outcome outcome;
	enum greta_class class_;
	double wall_s;        /* 0: plenty */
	double bound_s;       /* of silence in prefill, as runs of such a cell have taught; 0: there were none */
};

/* Usual ones, chatty ones, wild ones. */
static const struct kind healthy[] = {
	{"ok", "--layer-ms", "5", GRETA_OUTCOME_GOOD, GRETA_CLASS_NONE, 0},
	{"ok", "--layer-ms", "10", GRETA_OUTCOME_GOOD, GRETA_CLASS_NONE, 0},
	{"silent", "--layer-ms", "200", GRETA_OUTCOME_GOOD, GRETA_CLASS_NONE, 0, 5},
	{"progress", "--layer-ms", "1", GRETA_OUTCOME_GOOD, GRETA_CLASS_NONE, 0},
	{"flood", "--bytes", "3000000", GRETA_OUTCOME_GOOD, GRETA_CLASS_NONE, 0},
	{"runaway", "--layer-ms", "1", GRETA_OUTCOME_GOOD, GRETA_CLASS_NONE, 0},
	{"twice-same", "--layers", "4", GRETA_OUTCOME_GOOD, GRETA_CLASS_NONE, 0},
};

/* Healthy, too: layer by layer 20 times slower than their siblings; silent up to the end, also 20 times longer than the
 * siblings that taught a bound (orchestrator/control/limits.h: 25 times theirs), and in a cell without any history. */
static const struct kind slow[] = {
	{"ok", "--layer-ms", "200", GRETA_OUTCOME_GOOD, GRETA_CLASS_NONE, 0},
	{"silent", "--layer-ms", "4000", GRETA_OUTCOME_GOOD, GRETA_CLASS_NONE, 0, 5},
	{"silent", "--layer-ms", "4000", GRETA_OUTCOME_GOOD, GRETA_CLASS_NONE, 0, 0},
};

static const struct kind faulty[] = {
	{"hang-sleep", "--layers", "4", GRETA_OUTCOME_HUNG, GRETA_CLASS_HOST_DEADLOCK, 0},
	{"hang-nap", "--layers", "4", GRETA_OUTCOME_HUNG, GRETA_CLASS_HOST_DEADLOCK, 0},
	{"deadlock", "--layers", "4", GRETA_OUTCOME_HUNG, GRETA_CLASS_HOST_DEADLOCK, 0},
	{"runaway-hang", "--layers", "4", GRETA_OUTCOME_HUNG, GRETA_CLASS_HOST_DEADLOCK, 0},
	{"stop", "--layers", "4", GRETA_OUTCOME_HUNG, GRETA_CLASS_HOST_STOPPED, 0},
	{"host-io", "--layers", "4", GRETA_OUTCOME_HUNG, GRETA_CLASS_HOST_IO, 0},
	{"hang-spin", "--layers", "8", GRETA_OUTCOME_HUNG, GRETA_CLASS_HOST_SPIN, 12},
	{"hang-spin", "--layers", "8", GRETA_OUTCOME_HUNG, GRETA_CLASS_HOST_SPIN, 0, 5},
	{"segv", "--layers", "4", GRETA_OUTCOME_FAILED, GRETA_CLASS_NONE, 0},
	{"abort", "--layers", "4", GRETA_OUTCOME_FAILED, GRETA_CLASS_NONE, 0},
	{"exit", "--exit", "7", GRETA_OUTCOME_FAILED, GRETA_CLASS_NONE, 0},
	{"device-oom", "--layers", "4", GRETA_OUTCOME_OOM, GRETA_CLASS_NONE, 0},
	{"garbage", "--layers", "4", GRETA_OUTCOME_INVALID, GRETA_CLASS_NONE, 0},
	{"no-result", "--layers", "4", GRETA_OUTCOME_INVALID, GRETA_CLASS_NONE, 0},
	{"short-prompt", "--layers", "4", GRETA_OUTCOME_INVALID, GRETA_CLASS_NONE, 0},
	{"zero-prefill", "--layers", "4", GRETA_OUTCOME_INVALID, GRETA_CLASS_NONE, 0},
	{"twice-different", "--layers", "4", GRETA_OUTCOME_INVALID, GRETA_CLASS_NONE, 0},
	{"ok", "--layer-ms", "5000", GRETA_OUTCOME_TIMED_OUT, GRETA_CLASS_NONE, 2},
};

struct flight {
	const struct kind *kind; /* NULL: free */
	struct greta_spec spec;
	struct seen seen;
};

static unsigned seed;

static unsigned draw(unsigned n)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 16) % n;
}

/* A quarter is faulty, an eighth of the others slow. */
static const struct kind *draw_kind(void)
{
	if (draw(4) == 0)
		return &faulty[draw(GRETA_COUNT(faulty))];
	return draw(8) == 0 ? &slow[draw(GRETA_COUNT(slow))] : &healthy[draw(GRETA_COUNT(healthy))];
}

static void launch(struct node *n, struct driver *d, struct flight *f)
{
	f->kind = draw_kind();
	const char *const args[] = {f->kind->mode, f->kind->option, f->kind->value, NULL};
	spec_make(n, &f->spec, args);
	for (int i = 0; i < GRETA_PHASE_COUNT; i++)
		f->spec.phases[i].silence_s = 1.5;
	f->spec.phases[GRETA_PHASE_PREFILL].bound_s = f->kind->bound_s;
	f->spec.wall_s = f->kind->wall_s > 0 ? f->kind->wall_s : 120;
	f->spec.cpus = 1;
	f->seen = (struct seen){0};
	driver_start(d, &f->spec);
}

static void check(const struct flight *f, int i)
{
	const struct greta_end *end = &f->seen.end;
	bool right_class = f->kind->class_ == GRETA_CLASS_NONE || end->class_ == f->kind->class_;
	if (end->outcome != f->kind->outcome || !right_class || end->survivors)
		fail_msg("attempt %d, %s %s %s: %s, %s, %s", i, f->kind->mode, f->kind->option, f->kind->value,
			 greta_outcome_name(end->outcome), greta_class_name(end->class_), end->reason);
	assert_int_equal(f->seen.n[GRETA_EVENT_OUTCOME], 1);
	if (end->outcome == GRETA_OUTCOME_HUNG)
		assert_true(f->seen.n[GRETA_EVENT_EVIDENCE] >= 5 && f->seen.n[GRETA_EVENT_VERDICT] >= 1);
	assert_int_equal(count_processes(f->spec.attempt), 0);
}

static struct flight *find(struct flight *flights, const char *attempt)
{
	for (int i = 0; i < IN_FLIGHT; i++)
		if (flights[i].kind && strcmp(flights[i].spec.attempt, attempt) == 0)
			return &flights[i];
	return NULL;
}

/* Its share of the attempts, on one of N_NODES nodes. */
static void run_share(struct node *n, unsigned node)
{
	struct driver d;
	struct flight flights[IN_FLIGHT] = {0};
	int total = (getenv("GRETA_ATTEMPTS") ? (int)strtol(getenv("GRETA_ATTEMPTS"), NULL, 10) : 200) / N_NODES;
	int launched = 0, done = 0, n_faulty = 0;
	seed = (getenv("GRETA_SEED") ? (unsigned)strtoul(getenv("GRETA_SEED"), NULL, 10) : SEED) + node;
	print_message("          seed %u\n", seed);
	driver_open(&d, DRIVER_DB, 1, NULL);
	int64_t begun = greta_clock_mono_ns();
	while (done < total) {
		struct greta_msg m;
		for (int i = 0; i < IN_FLIGHT && launched < total; i++)
			if (!flights[i].kind) {
				launch(n, &d, &flights[i]);
				launched++;
			}
		if (!driver_read(&d, &m, 60000))
			fail_msg("the session ended");
		struct flight *f = m.type == GRETA_MSG_EVENT ? find(flights, m.event->attempt) : NULL;
		if (f)
			driver_see(&d, &f->seen, m.event);
		if (f && m.event->kind == GRETA_EVENT_OUTCOME) {
			check(f, done++);
			n_faulty += f->kind->outcome != GRETA_OUTCOME_GOOD;
			driver_ack(&d, f->spec.attempt, f->seen.last_seq);
			seen_release(&f->seen);
			greta_spec_release(&f->spec);
			f->kind = NULL;
		}
		greta_msg_release(&m);
	}
	driver_close(&d);
	print_message("          %d attempts, %d of them faulty, %.0f s\n", total, n_faulty,
		      (double)(greta_clock_mono_ns() - begun) / 1e9);
}

static void test_campaign__a_quarter_is_faulty(void **state)
{
	run_share(*state, 0);
}

static void test_campaign__on_the_other_node_too(void **state)
{
	run_share(*state, 1);
}

int main(void)
{
	const struct CMUnitTest tests[N_NODES] = {
		cmocka_unit_test_setup_teardown(test_campaign__a_quarter_is_faulty, node_create, node_remove),
		cmocka_unit_test_setup_teardown(test_campaign__on_the_other_node_too, node_create, node_remove),
	};
	return run_side_by_side(tests, N_NODES, N_NODES);
}
