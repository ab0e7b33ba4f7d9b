#include "tests/unit/db_help.h"

#include "base/fs.h"
#include "orchestrator/import/import_bench.h"

static int take(struct help *h, const char *path, struct import_summary *out, struct greta_err *e)
{
	struct import_request r = {.dir = path, .name = "other"};
	int rc = import_bench(h->db, &r, out, e);
	import_summary_release(out);
	return rc;
}

static void write_file(const char *text)
{
	struct greta_err e = {0};
	assert_ok(greta_fs_write_atomic("in.jsonl", text, strlen(text), 0644, &e));
}

static void test_import_bench__llama_bench(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	struct import_summary s;
	assert_ok(take(h, GRETA_FIXTURES "/llama-bench/bench.json", &s, &e));
	assert_int_equal(s.n_added, 2);
	assert_int_equal(s.n_ok, 2);
	/* One process is one attempt; its repetitions are samples. */
	assert_true(fabs(help_f64(h->db, "SELECT prefill_s FROM result WHERE campaign = 'other' AND context = 512") - 0.1) < 1e-9);
	assert_int_equal(help_i64(h->db, "SELECT n_samples FROM result WHERE campaign = 'other' AND context = 512"), 3);
	assert_string_equal(help_str(h->db, "SELECT variant FROM result WHERE campaign = 'other'"), "llama 7B F16 ROCm");
	assert_int_equal(help_i64(h->db, "SELECT min(tokens_verified) FROM result WHERE campaign = 'other'"), 1);
	assert_ok(take(h, GRETA_FIXTURES "/llama-bench/bench.json", &s, &e));
	assert_int_equal(s.n_added, 0);
	assert_int_equal(s.n_known, 2);
}

/* -o sql of a default run: -p 64,128, -n 4, -pg 32,4. A file name has a quote in it, which llama-bench leaves as it is. */
static void test_import_bench__llama_bench_sql(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	struct import_summary s = {0};
	struct import_request r = {.dir = GRETA_FIXTURES "/llama-bench/bench.sql", .name = "other"};
	assert_ok(import_bench(h->db, &r, &s, &e));
	assert_int_equal(s.n_added, 2);
	assert_int_equal(s.n_ok, 2);
	assert_non_null(strstr(s.notes.data, "generate tokens or begin behind a filled cache: 2"));
	import_summary_release(&s);
	assert_true(fabs(help_f64(h->db, "SELECT prefill_s FROM result WHERE campaign = 'other' AND context = 64") - 731798e-9) < 1e-15);
	assert_int_equal(help_i64(h->db, "SELECT sum(n_samples) FROM result WHERE campaign = 'other'"), 2); /* the means */
	assert_string_equal(help_str(h->db, "SELECT variant FROM result WHERE campaign = 'other'"), "llama 7B F16 ROCm");
	assert_true(fabs(help_f64(h->db, "SELECT value FROM sample_value WHERE campaign = 'other' AND context = 64"
					 " AND name = 'stddev_ts'") - 7238.617951) < 1e-9);
	assert_string_equal(help_str(h->db, "SELECT text FROM sample_value WHERE campaign = 'other' AND name = 'build_commit'"), "8cf427ff");
	assert_ok(take(h, r.dir, &s, &e));
	assert_int_equal(s.n_known, 2);
}

#define SQL_TABLE "CREATE TABLE IF NOT EXISTS llama_bench (model_type TEXT, n_prompt INTEGER, n_gen INTEGER, n_depth INTEGER, avg_ns INTEGER);\n"
#define SQL_TEST(values) "INSERT INTO llama_bench (model_type, n_prompt, n_gen, n_depth, avg_ns) VALUES (" values ");\n"

static void test_import_bench__sql_as_others_write_it(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	struct import_summary s;
	write_file(SQL_TABLE "\n" SQL_TEST("'it''s, (one)', '512', '0', '0', '1000000000'") /* as SQL has it, and ours */
		   SQL_TABLE SQL_TEST("'', '512', '0', '4096', '1'") "  insert into llama_bench (n_prompt,n_gen,avg_ns)\n"
		   " values ('4096','0','2000000000') ;");
	assert_ok(take(h, "in.jsonl", &s, &e));
	assert_int_equal(s.n_added, 2); /* one began behind 4096 tokens */
	assert_string_equal(help_str(h->db, "SELECT variant FROM result WHERE campaign = 'other' AND context = 512"), "it's, (one)");
	assert_true(help_f64(h->db, "SELECT prefill_s FROM result WHERE campaign = 'other' AND context = 4096") == 2);
}

static void test_import_bench__default_run_has_generation_in_it(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	struct import_summary s = {0};
	struct import_request r = {.dir = "in.jsonl", .name = "other"};
	write_file("{\"n_prompt\":512,\"n_gen\":0,\"n_depth\":0,\"samples_ns\":[5,6,7]}\n{\"n_prompt\":0,\"n_gen\":128,\"samples_ns\":[5]}\n"
		   "{\"n_prompt\":512,\"n_gen\":128,\"samples_ns\":[5]}\n{\"n_prompt\":512,\"n_gen\":0,\"n_depth\":64,\"samples_ns\":[5]}\n");
	assert_ok(import_bench(h->db, &r, &s, &e));
	assert_int_equal(s.n_added, 1);
	assert_non_null(strstr(s.notes.data, "cache: 3"));
	import_summary_release(&s);
}

static void test_import_bench__json_lines(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	struct import_summary s;
	write_file("{\"variant\":\"vllm\",\"context\":4096,\"prefill_s\":1.5,\"prompt_tokens\":4096}\n\n"
		   "{\"variant\":\"vllm\",\"context\":4096,\"prefill_s\":1.5,\"prompt_tokens\":4096}\n"
		   "{\"variant\":\"vllm\",\"context\":8192,\"prefill_s\":0}\n"
		   "{\"variant\":\"vllm\",\"context\":8192,\"prefill_s\":9,\"prompt_tokens\":2048}");
	assert_ok(take(h, "in.jsonl", &s, &e));
	assert_int_equal(s.n_added, 4); /* the same time twice is two runs */
	assert_int_equal(s.n_ok, 2);
	assert_int_equal(s.n_invalid, 2); /* a zero, and a prompt that was cut */
	assert_ok(take(h, "in.jsonl", &s, &e));
	assert_int_equal(s.n_added, 0);
}

/* An investigation by hand: what each run had in its environment, and the one that gave no result. */
static void test_import_bench__environment_and_hang(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	struct import_summary s;
	write_file("{\"variant\":\"v3\",\"context\":2048,\"prefill_s\":7,\"prompt_tokens\":2048,"
		   "\"env\":{\"HIP_LAUNCH_BLOCKING\":\"1\",\"HF_TOKEN\":\"secret\"}}\n"
		   "{\"variant\":\"v3\",\"context\":8192,\"outcome\":\"hung\",\"env\":{}}\n"
		   "{\"variant\":\"v3\",\"context\":4096,\"outcome\":\"ok\",\"prefill_s\":0}\n");
	assert_ok(take(h, "in.jsonl", &s, &e));
	assert_int_equal(s.n_added, 3);
	assert_int_equal(s.n_ok, 1);
	assert_int_equal(s.n_failed, 1);
	assert_int_equal(s.n_invalid, 1); /* calling itself ok makes no result of it */
	assert_string_equal(help_str(h->db, "SELECT group_concat(key || '=' || value) FROM environment_row WHERE environment_id ="
					    " (SELECT environment_id FROM result WHERE context = 2048)"),
			    "env.HIP_LAUNCH_BLOCKING=1");
	assert_string_equal(help_str(h->db, "SELECT outcome FROM hang WHERE context = 8192"), "hung");
	assert_int_equal(help_i64(h->db, "SELECT count(environment_id) FROM result"), 1);
}

static void test_import_bench__refuses_what_is_neither(void **state)
{
	static const char *const bad[] = {
		"", " \n", "nonsense\n", "{\"context\":4096}\n", "[{\"n_prompt\":0,\"n_gen\":128,\"samples_ns\":[1]}]",
		"{\"variant\":\"x\",\"context\":1,\"prefill_s\":1,\"env\":{\"A\":1}}",
		"{\"variant\":\"x\",\"context\":1,\"prefill_s\":1,\"env\":[\"A=1\"]}",
		"{\"variant\":\"x\",\"context\":1,\"outcome\":\"stuck\"}", "{\"variant\":\"x\",\"context\":1,\"outcome\":\"ok\"}",
		"[1,2]", "{\"variant\":\"x\",\"context\":-1,\"prefill_s\":1}", "[{\"n_prompt\":512,\"n_gen\":0}]", "[{\"n_prompt\":512",
		"{\"variant\":\"x\",\"context\":4096,\"prefill_s\":1}\n{\"variant\":\"x\"\n",
		SQL_TABLE, "CREATE TABLE IF NOT EXISTS t (n_prompt INTEGER", "CREATE TABLE t (n_prompt INTEGER);",
		SQL_TABLE "DROP TABLE llama_bench;\n", SQL_TABLE SQL_TEST("'x', '512', '0', '0'"), SQL_TABLE SQL_TEST("'x', '512', '0', '0', 1"),
		SQL_TABLE SQL_TEST("'x', '0', '128', '0', '1'"), SQL_TABLE SQL_TEST("'x', 'many', '0', '0', '1'"),
		SQL_TABLE SQL_TEST("'x', '512', '0', '0', 'long'"), SQL_TABLE "INSERT INTO llama_bench (n_prompt) VALUES ('512", "CREATE TABLE ",
		"INSERT INTO t (n_prompt, n_gen, avg_ns) VALUES ('512', '0', '7');\n", /* of what type? */
		SQL_TABLE "INSERT INTO llama_bench (n_prompt, n_prompt) VALUES ('512', '512');\n",
	};
	struct help *h = *state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct greta_err e = {0};
		struct import_summary s;
		write_file(bad[i]);
		assert_fails(take(h, "in.jsonl", &s, &e), GRETA_EINVAL);
		assert_non_null(strstr(e.text, "in.jsonl"));
	}
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM campaign"), 1); /* nothing of it stays */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_import_bench__llama_bench, help_setup, help_teardown),
		cmocka_unit_test_setup_teardown(test_import_bench__llama_bench_sql, help_setup, help_teardown),
		cmocka_unit_test_setup_teardown(test_import_bench__sql_as_others_write_it, help_setup, help_teardown),
		cmocka_unit_test_setup_teardown(test_import_bench__default_run_has_generation_in_it, help_setup, help_teardown),
		cmocka_unit_test_setup_teardown(test_import_bench__json_lines, help_setup, help_teardown),
		cmocka_unit_test_setup_teardown(test_import_bench__environment_and_hang, help_setup, help_teardown),
		cmocka_unit_test_setup_teardown(test_import_bench__refuses_what_is_neither, help_setup, help_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
