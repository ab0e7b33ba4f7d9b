/* work: where a job may go that failed. */
#include "tests/unit/unit.h"

#include "base/mem.h"
#include "orchestrator/control/ctl.h"

struct fixture {
	struct ctl ctl;
	struct ctl_node *nodes[2], node, pool;
	struct greta_variant variant;
	struct ctl_campaign campaign;
	struct ctl_job job;
};

static struct ctl_node node_of(struct ctl *c, const char *name, const char *slurm)
{
	return (struct ctl_node){
		.ctl = c,
		.name = (char *)name,
		.labels = (char *)"{}",
		.settings.slurm = (char *)slurm,
		.state = GRETA_ALIAS_UP,
	};
}

static void begin(struct fixture *f)
{
	*f = (struct fixture){0};
	f->node = node_of(&f->ctl, "node", NULL);
	f->pool = node_of(&f->ctl, "pool", "{\"name\":\"pool\"}");
	f->nodes[0] = &f->node;
	f->nodes[1] = &f->pool;
	f->ctl.nodes = f->nodes;
	f->ctl.n_nodes = GRETA_COUNT(f->nodes);
	f->campaign.spec.variants = &f->variant;
	f->campaign.spec.n_variants = 1;
	f->job.campaign = &f->campaign;
}

/* A pool is many machines, and Slurm takes the one that was lost out of service: the job goes back to the others. */
static void test_work__a_lost_job_avoids_a_machine_not_its_pool(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f);
	assert_true(work_elsewhere(&f.job, &f.node));
	assert_false(work_elsewhere(&f.job, &f.pool));
}

static void test_work__elsewhere_must_be_open_to_it(void **state)
{
	struct fixture f;
	char *only[] = {(char *)"node"};

	(void)state;
	begin(&f);
	f.pool.state = GRETA_ALIAS_DRAINING;
	assert_false(work_elsewhere(&f.job, &f.node));
	f.pool.state = GRETA_ALIAS_UP;
	f.campaign.spec.placement = GRETA_PLACEMENT_SAME_GPU;
	assert_false(work_elsewhere(&f.job, &f.node));
	f.campaign.spec.placement = GRETA_PLACEMENT_ANY;
	f.variant.nodes = (struct greta_strs){only, 1, 1};
	assert_false(work_elsewhere(&f.job, &f.node));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_work__a_lost_job_avoids_a_machine_not_its_pool),
		cmocka_unit_test(test_work__elsewhere_must_be_open_to_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
