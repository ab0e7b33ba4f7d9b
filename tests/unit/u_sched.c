#include "tests/unit/unit.h"

#include "base/mem.h"
#include "orchestrator/control/sched.h"

#define JOBS 12

struct fixture {
	struct sched *s;
	struct sched_campaign *a, *b;
	struct sched_set *sa, *sb;
	struct sched_job jobs_a[JOBS], jobs_b[JOBS];
	struct sched_node n1, n2;
};

static const struct sched_need one_gpu = {.gpus = 1}, cpu = {0}, node = {.whole_node = true};

static void begin(struct fixture *f, struct sched_need need_a, struct sched_need need_b, int64_t max_per_node)
{
	*f = (struct fixture){.s = sched_create()};
	f->a = sched_campaign_add(f->s, 1, 0, need_a, max_per_node);
	f->b = sched_campaign_add(f->s, 2, 0, need_b, 0);
	f->sa = sched_set_add(f->a, NULL, NULL);
	f->sb = sched_set_add(f->b, NULL, NULL);
	f->n1 = f->n2 = (struct sched_node){.n_cpus = 4, .n_gpus = 2, .open = true};
	for (int i = 0; i < JOBS; i++)
		f->jobs_a[i].position = f->jobs_b[i].position = i;
}

static bool nowhere(const struct sched_job *job, const struct sched_node *n)
{
	(void)job, (void)n;
	return false;
}

static bool elsewhere(const struct sched_job *job, const struct sched_node *n)
{
	return job->avoid == n;
}

static struct sched_job *pick(struct fixture *f, struct sched_node *n)
{
	struct sched_campaign *c;

	return sched_pick(f->s, n, nowhere, &c);
}

static void test_sched__keeps_the_order(void **state)
{
	struct fixture f;
	const int order[] = {5, 2, 9, 0, 7, 1, 11, 3, 10, 4, 8, 6};

	(void)state;
	begin(&f, one_gpu, one_gpu, 0);
	f.n1.n_gpus = JOBS;
	for (int i = 0; i < JOBS; i++)
		sched_enqueue(f.sa, &f.jobs_a[order[i]]);
	for (int i = 0; i < JOBS; i++)
		assert_ptr_equal(pick(&f, &f.n1), &f.jobs_a[i]);
	assert_null(pick(&f, &f.n1));
	assert_true(sched_idle(f.s));
	sched_destroy(f.s);
}

static void test_sched__fills_what_there_is(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, one_gpu, cpu, 0);
	for (int i = 0; i < JOBS; i++) {
		sched_enqueue(f.sa, &f.jobs_a[i]);
		sched_enqueue(f.sb, &f.jobs_b[i]);
	}
	/* Two GPUs, and one job that takes all CPUs beside them. */
	assert_non_null(pick(&f, &f.n1));
	assert_non_null(pick(&f, &f.n1));
	assert_non_null(pick(&f, &f.n1));
	assert_null(pick(&f, &f.n1));
	assert_int_equal(f.n1.gpus_used, 2);
	assert_int_equal(f.n1.cpus_used, 4);
	sched_release(f.a, &f.n1);
	assert_ptr_equal(pick(&f, &f.n1), &f.jobs_a[2]);
	sched_release(f.b, &f.n1);
	assert_ptr_equal(pick(&f, &f.n1), &f.jobs_b[1]);
	f.n1.open = false;
	sched_release(f.b, &f.n1);
	assert_null(pick(&f, &f.n1));
	sched_destroy(f.s);
}

static void test_sched__fair_between_equals(void **state)
{
	struct fixture f;
	int n_a = 0, n_b = 0;

	(void)state;
	begin(&f, one_gpu, one_gpu, 0);
	f.n1.n_gpus = 8;
	for (int i = 0; i < JOBS; i++) {
		sched_enqueue(f.sa, &f.jobs_a[i]);
		sched_enqueue(f.sb, &f.jobs_b[i]);
	}
	for (int i = 0; i < 8; i++) {
		struct sched_campaign *c;

		assert_non_null(sched_pick(f.s, &f.n1, nowhere, &c));
		n_a += c == f.a;
		n_b += c == f.b;
	}
	assert_int_equal(n_a, 4);
	assert_int_equal(n_b, 4);
	sched_destroy(f.s);
}

static void test_sched__priority_first(void **state)
{
	struct fixture f;
	struct sched_campaign *urgent, *c;
	struct sched_job job = {.position = 0};

	(void)state;
	begin(&f, one_gpu, one_gpu, 0);
	urgent = sched_campaign_add(f.s, 3, 10, one_gpu, 0);
	sched_enqueue(f.sa, &f.jobs_a[0]);
	sched_enqueue(sched_set_add(urgent, NULL, NULL), &job);
	assert_ptr_equal(sched_pick(f.s, &f.n1, nowhere, &c), &job);
	assert_ptr_equal(c, urgent);
	sched_destroy(f.s);
}

static void test_sched__limit_of_a_node(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, one_gpu, one_gpu, 1);
	for (int i = 0; i < 3; i++)
		sched_enqueue(f.sa, &f.jobs_a[i]);
	assert_non_null(pick(&f, &f.n1));
	assert_null(pick(&f, &f.n1));
	assert_non_null(pick(&f, &f.n2));
	sched_release(f.a, &f.n1);
	assert_non_null(pick(&f, &f.n1));
	sched_destroy(f.s);
}

static bool only(const struct sched_node *n, const void *arg)
{
	return n == arg;
}

/* A job that waits for its node holds up nobody else's. */
static void test_sched__constraints(void **state)
{
	struct fixture f;
	struct sched_set *on_n2;

	(void)state;
	begin(&f, one_gpu, one_gpu, 0);
	on_n2 = sched_set_add(f.a, only, &f.n2);
	sched_enqueue(on_n2, &f.jobs_a[0]);
	sched_enqueue(f.sa, &f.jobs_a[1]);
	assert_ptr_equal(pick(&f, &f.n1), &f.jobs_a[1]);
	assert_null(pick(&f, &f.n1));
	assert_ptr_equal(pick(&f, &f.n2), &f.jobs_a[0]);
	sched_destroy(f.s);
}

static bool even_on_n1(const struct sched_job *job, const struct sched_node *n)
{
	return n->n_cpus != 4 || job->position % 2 == 0;
}

/* A job that does not suit waits where it stands in the queue; those behind it pass. */
static void test_sched__jobs_of_a_set_may_differ(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, one_gpu, one_gpu, 0);
	f.n2.n_cpus = 8;
	sched_set_suits(f.sa, even_on_n1);
	for (int i = 1; i < 5; i++)
		sched_enqueue(f.sa, &f.jobs_a[i]);
	assert_ptr_equal(pick(&f, &f.n1), &f.jobs_a[2]);
	assert_ptr_equal(pick(&f, &f.n2), &f.jobs_a[1]);
	assert_ptr_equal(pick(&f, &f.n1), &f.jobs_a[4]);
	assert_ptr_equal(pick(&f, &f.n2), &f.jobs_a[3]);
	sched_destroy(f.s);
}

/* That node only, and only that job: the others go on there, and it goes anywhere else at once. */
static void test_sched__avoids_only_where_it_failed(void **state)
{
	struct fixture f;
	struct sched_campaign *c;

	(void)state;
	begin(&f, one_gpu, one_gpu, 0);
	f.jobs_a[0].avoid = &f.n1;
	sched_enqueue(f.sa, &f.jobs_a[0]);
	assert_null(sched_pick(f.s, &f.n1, elsewhere, &c));
	assert_ptr_equal(sched_pick(f.s, &f.n2, elsewhere, &c), &f.jobs_a[0]);
	sched_destroy(f.s);

	begin(&f, one_gpu, one_gpu, 0);
	f.jobs_a[0].avoid = &f.n1;
	sched_enqueue(f.sa, &f.jobs_a[0]);
	sched_enqueue(f.sa, &f.jobs_a[1]);
	assert_ptr_equal(sched_pick(f.s, &f.n1, elsewhere, &c), &f.jobs_a[1]);
	assert_null(sched_pick(f.s, &f.n1, elsewhere, &c));
	assert_ptr_equal(sched_pick(f.s, &f.n1, nowhere, &c), &f.jobs_a[0]);
	sched_destroy(f.s);
}

/* Many small jobs of a; one of b takes a whole node. */
static void begin_crowded(struct fixture *f)
{
	begin(f, one_gpu, node, 0);
	for (int i = 0; i < JOBS; i++)
		sched_enqueue(f->sa, &f->jobs_a[i]);
}

/* Small jobs of others must not keep a node busy for ever. */
static void test_sched__whole_node_does_not_starve(void **state)
{
	struct fixture f;

	(void)state;
	begin_crowded(&f);
	assert_non_null(pick(&f, &f.n1));
	assert_non_null(pick(&f, &f.n1));
	sched_enqueue(f.sb, &f.jobs_b[0]);
	sched_release(f.a, &f.n1);
	assert_null(pick(&f, &f.n1)); /* kept for b */
	sched_release(f.a, &f.n1);
	assert_ptr_equal(pick(&f, &f.n1), &f.jobs_b[0]);
	assert_true(f.n1.taken_whole);
	assert_null(pick(&f, &f.n1));
	/* It reserves no more nodes than it has jobs for. */
	assert_non_null(pick(&f, &f.n2));
	sched_release(f.b, &f.n1);
	assert_non_null(pick(&f, &f.n1));
	sched_destroy(f.s);
}

/* A reservation that its campaign no longer needs is given back. */
static void test_sched__reservation_ends(void **state)
{
	struct fixture f;

	(void)state;
	begin_crowded(&f);
	assert_non_null(pick(&f, &f.n1));
	sched_enqueue(f.sb, &f.jobs_b[0]);
	assert_null(pick(&f, &f.n1));
	sched_dequeue(&f.jobs_b[0]);
	assert_non_null(pick(&f, &f.n1));
	sched_destroy(f.s);
}

/* Nor does it hold a node that has closed: another one may be kept instead. */
static void test_sched__reservation_moves_on(void **state)
{
	struct fixture f;

	(void)state;
	begin_crowded(&f);
	assert_non_null(pick(&f, &f.n1));
	assert_non_null(pick(&f, &f.n2));
	sched_enqueue(f.sb, &f.jobs_b[0]);
	assert_null(pick(&f, &f.n1)); /* kept for b */
	f.n1.open = false;
	sched_unreserve(f.s, &f.n1);
	assert_null(pick(&f, &f.n2)); /* this one, now */
	sched_release(f.a, &f.n2);
	assert_ptr_equal(pick(&f, &f.n2), &f.jobs_b[0]);
	sched_destroy(f.s);
}

static void test_sched__reservation_outlives_no_campaign(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, one_gpu, node, 0);
	sched_enqueue(f.sa, &f.jobs_a[0]);
	sched_enqueue(f.sa, &f.jobs_a[1]);
	assert_non_null(pick(&f, &f.n1));
	sched_enqueue(f.sb, &f.jobs_b[0]);
	assert_null(pick(&f, &f.n1));
	sched_dequeue(&f.jobs_b[0]);
	sched_campaign_remove(f.b);
	assert_non_null(pick(&f, &f.n1));
	sched_destroy(f.s);
}

static void test_sched__slots(void **state)
{
	struct sched_node n = {.n_cpus = 8, .n_gpus = 4};
	const struct sched_need two_gpus = {.gpus = 2}, three_cpus = {.cpus = 3}, both = {.gpus = 1, .cpus = 4};

	(void)state;
	assert_int_equal(sched_slots(&n, &one_gpu), 4);
	assert_int_equal(sched_slots(&n, &two_gpus), 2);
	assert_int_equal(sched_slots(&n, &cpu), 1);
	assert_int_equal(sched_slots(&n, &three_cpus), 2);
	assert_int_equal(sched_slots(&n, &both), 2);
	assert_int_equal(sched_slots(&n, &node), 1);
	n.n_gpus = 0;
	assert_int_equal(sched_slots(&n, &one_gpu), 0);
}

/* A pool: several machines under one name. A need fits into one of them; none is ever the whole pool. */
static bool counted_allows(const struct sched_node *n, const void *arg)
{
	(void)n;
	++*(int *)arg;
	return true;
}

/* What a set allows takes long to say, and is asked of each node at each turn. */
static void test_sched__asks_nothing_for_full_nodes(void **state)
{
	struct fixture f;
	int n_asked = 0;

	(void)state;
	begin(&f, one_gpu, one_gpu, 0);
	sched_enqueue(sched_set_add(f.a, counted_allows, &n_asked), &f.jobs_a[0]);
	f.n1.gpus_used = f.n1.n_gpus;
	assert_null(pick(&f, &f.n1));
	assert_int_equal(n_asked, 0);
	assert_non_null(pick(&f, &f.n2));
	assert_int_equal(n_asked, 1);
	sched_destroy(f.s);
}

static void test_sched__machines(void **state)
{
	struct sched_node pool = {.n_cpus = 16, .n_gpus = 8, .machines = 4, .open = true};
	struct fixture f;
	int n = 0;

	(void)state;
	assert_int_equal(sched_slots(&pool, &one_gpu), 8);
	assert_int_equal(sched_slots(&pool, &node), 4);
	assert_int_equal(sched_slots(&pool, &(struct sched_need){.gpus = 3}), 0);
	assert_int_equal(sched_slots(&pool, &cpu), 4);
	begin(&f, node, one_gpu, 0);
	for (int i = 0; i < JOBS; i++)
		sched_enqueue(f.sa, &f.jobs_a[i]);
	while (pick(&f, &pool))
		n++;
	assert_int_equal(n, 4);
	sched_release(f.a, &pool);
	assert_non_null(pick(&f, &pool));
	assert_false(pool.taken_whole);
	sched_destroy(f.s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sched__keeps_the_order),
		cmocka_unit_test(test_sched__fills_what_there_is),
		cmocka_unit_test(test_sched__fair_between_equals),
		cmocka_unit_test(test_sched__priority_first),
		cmocka_unit_test(test_sched__limit_of_a_node),
		cmocka_unit_test(test_sched__constraints),
		cmocka_unit_test(test_sched__jobs_of_a_set_may_differ),
		cmocka_unit_test(test_sched__avoids_only_where_it_failed),
		cmocka_unit_test(test_sched__whole_node_does_not_starve),
		cmocka_unit_test(test_sched__reservation_ends),
		cmocka_unit_test(test_sched__reservation_moves_on),
		cmocka_unit_test(test_sched__reservation_outlives_no_campaign),
		cmocka_unit_test(test_sched__slots),
		cmocka_unit_test(test_sched__asks_nothing_for_full_nodes),
		cmocka_unit_test(test_sched__machines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
