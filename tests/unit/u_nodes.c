#include "tests/unit/db_help.h"

#include "base/str.h"
#include "db/nodes.h"
#include "db/records.h"

static void parse_facts(const char *text, struct greta_facts *facts)
{
	struct greta_err e = {0};

	assert_ok(greta_facts_parse(text, strlen(text), facts, &e));
}

static int64_t add(struct help *h, const char *name)
{
	struct greta_err e = {0};
	int64_t id;

	assert_ok(greta_nodes_add(h->db, name, "ssh", "{\"host\":\"10.0.0.1\"}", "{\"gpu\":\"mi300x\"}", &id, &e));
	return id;
}

static void test_nodes__added_found_drained_removed(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	struct greta_alias_row row;
	struct greta_alias_rows rows = {0};
	int64_t id = add(h, "gpu3"), again;

	assert_fails(greta_nodes_add(h->db, "gpu3", "ssh", NULL, NULL, &again, &e), GRETA_EEXIST);
	assert_ok(greta_nodes_set_host_key(h->db, id, "SHA256:abc", &e));
	assert_ok(greta_nodes_set_state(h->db, id, GRETA_ALIAS_DRAINING, "maintenance", &e));
	assert_ok(greta_nodes_find(h->db, "gpu3", &row, &e));
	assert_int_equal(row.id, id);
	assert_int_equal(row.state, GRETA_ALIAS_DRAINING);
	assert_string_equal(row.reason, "maintenance");
	assert_string_equal(row.host_key, "SHA256:abc");
	assert_string_equal(row.settings, "{\"host\":\"10.0.0.1\"}");
	assert_int_equal(row.node_id, 0);
	greta_alias_row_release(&row);

	assert_ok(greta_nodes_set_state(h->db, id, GRETA_ALIAS_REMOVED, NULL, &e));
	assert_fails(greta_nodes_find(h->db, "gpu3", &row, &e), GRETA_ENOENT);
	assert_ok(greta_nodes_list(h->db, false, &rows, &e));
	assert_int_equal(rows.n, 0);
	assert_ok(greta_nodes_list(h->db, true, &rows, &e));
	assert_int_equal(rows.n, 1);
	assert_string_equal(rows.items[0].settings, "{}");
	greta_alias_rows_release(&rows);

	assert_int_equal(add(h, "gpu3"), id); /* with its history; its key has to be accepted anew */
	assert_ok(greta_nodes_find(h->db, "gpu3", &row, &e));
	assert_int_equal(row.state, GRETA_ALIAS_UP);
	assert_null(row.host_key);
	greta_alias_row_release(&row);
	assert_fails(greta_nodes_set_state(h->db, 99, GRETA_ALIAS_UP, NULL, &e), GRETA_ENOENT);
}

static void test_nodes__a_slip_is_answered_with_the_likely(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	struct greta_alias_row row;

	assert_fails(greta_nodes_find(h->db, "gpu3", &row, &e), GRETA_ENOENT);
	assert_non_null(strstr(e.text, "there are none yet"));
	add(h, "gpu3");
	add(h, "otherwise");
	assert_fails(greta_nodes_find(h->db, "gpu4", &row, &e), GRETA_ENOENT);
	assert_string_equal(e.text, "no node \"gpu4\"; there are: gpu3");
}

static void test_nodes__two_aliases_of_one_machine_are_one_node(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	struct greta_facts facts = {0};
	struct greta_node_ids one, other;
	int64_t a = add(h, "a"), b = add(h, "b");

	parse_facts("{\"node_id\":\"key\",\"hostname\":\"h\",\"n_cpus\":4,\"mem_bytes\":1024,"
		    "\"devices\":[{\"uuid\":\"GPU-1\",\"kind\":\"amd\",\"name\":\"MI300X\",\"arch\":\"gfx942\"}],"
		    "\"env\":[{\"key\":\"kernel\",\"value\":\"6.1\"},{\"key\":\"rocm\",\"value\":\"6.2\"}]}",
		    &facts);
	assert_ok(greta_nodes_record(h->db, a, &facts, &one, &e));
	assert_ok(greta_nodes_record(h->db, b, &facts, &other, &e));
	assert_int_equal(one.node_id, other.node_id);
	assert_int_equal(one.environment_id, other.environment_id);
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM device"), 1);
	assert_int_equal(help_i64(h->db, "SELECT count(DISTINCT node_id) FROM alias"), 1);
	greta_facts_release(&facts);
	memset(&facts, 0, sizeof facts);
	assert_fails(greta_nodes_record(h->db, a, &facts, &one, &e), GRETA_EPROTO);
}

static void test_nodes__a_device_is_known_by_its_uuid(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	struct greta_facts facts = {0};
	struct greta_node_ids ids;
	int64_t a = add(h, "a"), attempt = help_attempt(h, h->jobs[0]);

	/* an attempt names it before any facts do */
	assert_ok(help_event(h, attempt, 0, GRETA_EVENT_STARTED, "{\"devices\":[\"GPU-1\"]}", NULL, NULL, &e));
	assert_string_equal(help_str(h->db, "SELECT kind FROM device"), "unknown");
	parse_facts("{\"node_id\":\"k1\",\"devices\":[{\"uuid\":\"GPU-1\",\"kind\":\"amd\",\"name\":\"MI300X\"}]}",
		    &facts);
	assert_ok(greta_nodes_record(h->db, a, &facts, &ids, &e));
	greta_facts_release(&facts);
	assert_string_equal(help_str(h->db, "SELECT name FROM device"), "MI300X");
	help_good(h, attempt, 1, "x", NULL);
	assert_string_equal(help_str(h->db, "SELECT device_type FROM result"), "MI300X");

	/* moved into another machine */
	memset(&facts, 0, sizeof facts);
	parse_facts("{\"node_id\":\"k2\",\"devices\":[{\"uuid\":\"GPU-1\",\"kind\":\"amd\"}]}", &facts);
	assert_ok(greta_nodes_record(h->db, a, &facts, &ids, &e));
	greta_facts_release(&facts);
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM device"), 1);
	assert_int_equal(help_i64(h->db, "SELECT node_id FROM device"), ids.node_id);
	assert_string_equal(help_str(h->db, "SELECT name FROM device"), "MI300X");
}

static void test_nodes__what_is_in_quarantine_is_what_the_node_says(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	struct greta_facts facts = {0};
	struct greta_node_ids ids;
	struct greta_quarantines q = {0};
	char node[] = "node", gpu[] = "gpu-GPU-1", why[] = "its probe hung";
	const struct greta_quarantine said[] = {{node, why, 5}, {gpu, NULL, 6}, {gpu, why, 7}};

	parse_facts("{\"node_id\":\"k1\"}", &facts);
	assert_ok(greta_nodes_record(h->db, add(h, "a"), &facts, &ids, &e));
	greta_facts_release(&facts);
	assert_ok(greta_quarantine_set(h->db, ids.node_id, said, 3, &e));
	assert_ok(greta_quarantine_list(h->db, ids.node_id, &q, &e));
	assert_int_equal(q.n, 2);
	assert_string_equal(q.items[0].slot, "gpu-GPU-1");
	assert_string_equal(q.items[0].reason, "no reason given");
	assert_string_equal(q.items[1].reason, "its probe hung");
	assert_int_equal(q.items[1].since_wall_ns, 5);
	greta_quarantines_release(&q);
	assert_ok(greta_quarantine_set(h->db, ids.node_id, NULL, 0, &e));
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM quarantine"), 0);
	assert_true(greta_quarantine_set(h->db, 99, said, 1, &e) < 0); /* no such node */
}

static void test_environments__one_set_is_stored_once(void **state)
{
	char rocm[] = "rocm", v62[] = "6.2", v63[] = "6.3", mode[] = "mode", perf[] = "perf", kernel[] = "kernel",
	     k61[] = "6.1";
	const struct greta_fact node[] = {{rocm, v62}, {kernel, k61}}, turned[] = {{kernel, k61}, {rocm, v62}};
	const struct greta_fact extra[] = {{mode, perf}}, newer[] = {{rocm, v63}};
	struct help *h = *state;
	struct greta_err e = {0};
	int64_t base, same, with_mode, again, changed;

	assert_ok(greta_environments_add(h->db, 0, node, 2, &base, &e));
	assert_ok(greta_environments_add(h->db, 0, turned, 2, &same, &e)); /* order does not matter */
	assert_int_equal(base, same);
	assert_ok(greta_environments_add(h->db, base, extra, 1, &with_mode, &e));
	assert_ok(greta_environments_add(h->db, base, extra, 1, &again, &e));
	assert_int_equal(with_mode, again);
	assert_true(with_mode != base);
	assert_ok(greta_environments_add(h->db, with_mode, newer, 1, &changed, &e));
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM environment"), 3);
	assert_string_equal(help_str(h->db, "SELECT group_concat(key || ' ' || coalesce(value_a, '-') || ' ' ||"
					    " coalesce(value_b, '-'), ', ') FROM (SELECT * FROM environment_diff"
					    " WHERE a = 1 AND b = 3 ORDER BY key)"),
			    "mode - perf, rocm 6.2 6.3");
}

/* ---- records */

static void test_records__what_is_known_later_is_filled_in(void **state)
{
	struct greta_model_facts m = {.file_sha256 = "f1", .bytes = 100};
	struct greta_build_facts b = {.build_sha256 = "b1"};
	char kernel[] = "attn", arch[] = "gfx942", sha256[] = "cc";
	const struct greta_kernel k = {.kernel = kernel, .arch = arch, .code_object_sha256 = sha256, .vgpr = 128, .agpr = -1,
				       .sgpr = 64, .lds_bytes = 65536, .blocks_per_unit = -1};
	struct help *h = *state;
	struct greta_err e = {0};
	int64_t model, same, build;

	assert_ok(greta_models_record(h->db, &m, &model, &e));
	m = (struct greta_model_facts){.file_sha256 = "f1", .data_sha256 = "d1", .name = "tiny", .bytes = 999};
	assert_ok(greta_models_record(h->db, &m, &same, &e));
	assert_int_equal(model, same);
	assert_string_equal(help_str(h->db, "SELECT data_sha256 || name || bytes FROM model"), "d1tiny100");
	assert_ok(greta_builds_record(h->db, &b, &build, &e));
	b.version = "0.1";
	assert_ok(greta_builds_record(h->db, &b, &same, &e));
	assert_int_equal(build, same);
	assert_string_equal(help_str(h->db, "SELECT version FROM build"), "0.1");
	assert_ok(greta_builds_add_kernel(h->db, build, &k, &e));
	assert_ok(greta_builds_add_kernel(h->db, build, &k, &e));
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM code_object WHERE agpr IS NULL AND scratch_bytes = 0"),
			 1);
}

static void test_records__baselines(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	struct greta_baseline_rows rows = {0};
	int64_t id;

	assert_fails(greta_baselines_set(h->db, "main", h->campaign_id, NULL, NULL, &e), GRETA_EINVAL);
	help_good(h, help_attempt(h, h->jobs[0]), 1, "a", NULL);
	assert_ok(greta_baselines_set(h->db, "main", h->campaign_id, NULL, "before the driver", &e));
	assert_fails(greta_baselines_set(h->db, "v", h->campaign_id, "v3", NULL, &e), GRETA_EINVAL);
	id = help_attempt(h, h->jobs[1]);
	assert_ok(help_event(h, id, 0, GRETA_EVENT_OUTCOME, "{\"outcome\":\"ok\",\"samples\":[]}", NULL, NULL, &e));
	assert_fails(greta_baselines_set(h->db, "main", h->campaign_id, NULL, NULL, &e), GRETA_EINVAL);
	assert_non_null(strstr(e.text, "did not say how many tokens"));
	assert_ok(greta_baselines_list(h->db, &rows, &e));
	assert_int_equal(rows.n, 1);
	assert_string_equal(rows.items[0].campaign, "c");
	assert_null(rows.items[0].variant);
	assert_string_equal(rows.items[0].note, "before the driver");
	greta_baseline_rows_release(&rows);
	assert_fails(greta_baselines_remove(h->db, "mian", &e), GRETA_ENOENT);
	assert_string_equal(e.text, "no baseline \"mian\"; there are: main");
	assert_ok(greta_baselines_remove(h->db, "main", &e));
	assert_fails(greta_baselines_remove(h->db, "main", &e), GRETA_ENOENT);
}

static void test_records__imports_and_actions(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	int64_t campaign = 7;
	bool seen = true;

	assert_ok(greta_imports_seen(h->db, "k", &seen, &e));
	assert_false(seen);
	assert_ok(greta_imports_add(h->db, "k", "runs/x", h->campaign_id, 0, &e));
	assert_ok(greta_imports_seen(h->db, "k", &seen, &e));
	assert_true(seen);
	assert_ok(greta_imports_campaign(h->db, "c", &campaign, &e)); /* submitted, not imported */
	assert_int_equal(campaign, 0);
	assert_ok(greta_actions_add(h->db, NULL, "node add", NULL, &e));
	assert_ok(greta_actions_add(h->db, "alice", "cancel", "{\"campaign\":1}", &e));
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM action WHERE at_ns > 0"), 2);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, help_setup, help_teardown)
	const struct CMUnitTest tests[] = {
		T(test_nodes__added_found_drained_removed),
		T(test_nodes__a_slip_is_answered_with_the_likely),
		T(test_nodes__two_aliases_of_one_machine_are_one_node),
		T(test_nodes__a_device_is_known_by_its_uuid),
		T(test_nodes__what_is_in_quarantine_is_what_the_node_says),
		T(test_environments__one_set_is_stored_once),
		T(test_records__what_is_known_later_is_filled_in),
		T(test_records__baselines),
		T(test_records__imports_and_actions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
