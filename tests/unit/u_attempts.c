#include "tests/unit/db_help.h"

#include "base/cleanup.h"
#include "db/nodes.h"
#include "db/records.h"

static void test_attempts__from_plan_to_counted(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	struct greta_attempt_row row;
	struct greta_applied out;
	int64_t id = help_attempt(h, h->jobs[0]);

	assert_ok(help_event(h, id, 0, GRETA_EVENT_ACCEPTED, NULL, NULL, &out, &e));
	assert_int_equal(out.what, GRETA_APPLY_DONE);
	assert_int_equal(help_i64(h->db, "SELECT dispatched_ns >= planned_ns FROM result"), 1);
	assert_ok(help_event(h, id, 0, GRETA_EVENT_WAITING, "{\"for\":\"gpu 0, held by alice\"}", NULL, NULL, &e));
	assert_ok(help_event(h, id, 0, GRETA_EVENT_STARTED,
			     "{\"pid\":7,\"devices\":[\"GPU-1\"],\"build_sha256\":\"bb\",\"engine_sha256\":\"ee\"}",
			     NULL, NULL, &e));
	assert_ok(help_event(h, id, 0, GRETA_EVENT_PROGRESS,
			     "{\"phase\":\"prefill\",\"done\":7,\"total\":32,\"unit\":\"layer\"}", NULL, NULL, &e));
	assert_ok(greta_attempts_get(h->db, id, &row, &e));
	assert_int_equal(row.state, GRETA_ATTEMPT_RUNNING);
	assert_int_equal(row.phase, GRETA_PHASE_PREFILL);
	assert_int_equal(row.committed_seq, 4);
	assert_int_equal(row.outcome, GRETA_OUTCOME_UNKNOWN);
	assert_false(row.counted);
	greta_attempt_row_release(&row);

	out = help_good(h, id, 22.7681, "flash_v2_naive", NULL);
	assert_int_equal(out.outcome, GRETA_OUTCOME_GOOD);
	assert_true(out.counted);
	assert_false(out.superseded);
	assert_int_equal(help_i64(h->db, "SELECT counted_attempt FROM job WHERE position = 0"), id);
	assert_float_equal(help_f64(h->db, "SELECT tokens_per_s FROM result"), 179.9, 0.05);
	assert_string_equal(help_str(h->db, "SELECT devices FROM result"), "GPU-1");
	assert_string_equal(help_str(h->db, "SELECT build FROM result"), "bb");
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM event"), 3);
}

/* Scripts hash alike, and alike ones differ from node to node: a name that the campaign gives is the build. */
static void test_attempts__a_build_that_has_a_name(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	int64_t id = help_attempt(h, h->jobs[0]);

	assert_ok(greta_db_exec(h->db, &e, "UPDATE variant SET detail = json_set(detail, '$.build_id', 'nightly-7')", ""));
	assert_ok(help_event(h, id, 0, GRETA_EVENT_STARTED, "{\"pid\":7,\"build_sha256\":\"bb\",\"engine_sha256\":\"ee\"}", NULL,
			     NULL, &e));
	help_good(h, id, 22.7681, "flash_v2_naive", NULL);
	id = help_attempt(h, h->jobs[1]);
	assert_ok(help_event(h, id, 0, GRETA_EVENT_STARTED, "{\"pid\":8,\"build_sha256\":\"cc\"}", NULL, NULL, &e));
	help_good(h, id, 22.7681, "flash_v2_naive", NULL);
	assert_int_equal(help_i64(h->db, "SELECT count(DISTINCT build_id) FROM attempt"), 1);
	assert_string_equal(help_str(h->db, "SELECT DISTINCT build FROM result WHERE outcome = 'ok'"), "nightly-7");
}

static void test_attempts__an_event_counts_once(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	struct greta_applied out;
	int64_t id = help_attempt(h, h->jobs[0]);

	for (int again = 0; again < 3; again++) {
		assert_ok(help_event(h, id, 1, GRETA_EVENT_ACCEPTED, NULL, NULL, &out, &e));
		assert_int_equal(out.what, again ? GRETA_APPLY_STALE : GRETA_APPLY_DONE);
		assert_ok(help_event(h, id, 2, GRETA_EVENT_LOG, "{\"stream\":\"out\",\"offset\":0}", "hello\n", &out,
				     &e));
		assert_int_equal(out.what, again ? GRETA_APPLY_STALE : GRETA_APPLY_DONE);
	}
	assert_int_equal(help_i64(h->db, "SELECT log_bytes FROM attempt"), 6);
	assert_int_equal(help_i64(h->db, "SELECT committed_seq FROM attempt"), 2);
}

static void test_attempts__refuses_a_gap(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	int64_t id = help_attempt(h, h->jobs[0]);

	assert_fails(help_event(h, id, 2, GRETA_EVENT_ACCEPTED, NULL, NULL, NULL, &e), GRETA_EPROTO);
	assert_non_null(strstr(e.text, "the one expected is 1"));
	assert_int_equal(help_i64(h->db, "SELECT committed_seq FROM attempt"), 0);
}

/* It would make no more sense the next time: it is noted and passed over, and holds up nobody's events. */
static void test_attempts__nonsense_is_noted_and_passed_over(void **state)
{
	static const struct {
		enum greta_event_kind kind;
		const char *detail, *bytes;
	} bad[] = {
		{GRETA_EVENT_NONE, "{}", NULL},
		{(enum greta_event_kind)77, "{}", NULL},
		{GRETA_EVENT_PROGRESS, "{\"phase\":\"dancing\"}", NULL},
		{GRETA_EVENT_PROGRESS, "{", NULL},
		{GRETA_EVENT_LOG, "{\"stream\":\"in\"}", "x"},
		{GRETA_EVENT_LOG, "[]", "x"},
		{GRETA_EVENT_LOG_GAP, "{\"offset\":3}", NULL},
		{GRETA_EVENT_LOG_GAP, "{\"dropped\":-3}", NULL},
		{GRETA_EVENT_LOG_GAP, "{\"dropped\":9223372036854775807}", NULL},
		{GRETA_EVENT_TELEMETRY, "{\"columns\":[\"a\"]}", NULL},
		{GRETA_EVENT_TELEMETRY, "{\"columns\":[\"a\",\"a\"],\"rows\":[[1,2,3]]}", NULL},
		{GRETA_EVENT_TELEMETRY, "{\"columns\":[\"a\\\"b\"],\"rows\":[[1,2]]}", NULL},
		{GRETA_EVENT_TELEMETRY, "{\"columns\":[\"a\"],\"rows\":[[1,2,3]]}", NULL},
		{GRETA_EVENT_TELEMETRY, "{\"columns\":[\"a\"],\"rows\":[[\"now\",2]]}", NULL},
		{GRETA_EVENT_TELEMETRY, "{\"columns\":[],\"rows\":[]}", NULL},
		{GRETA_EVENT_EVIDENCE, "{\"name\":\"../x\"}", "text"},
		{GRETA_EVENT_EVIDENCE, "{\"name\":\"gdb\",\"part\":3,\"parts\":2}", "text"},
	};
	struct help *h = *state;
	struct greta_err e = {0};
	struct greta_txn txn = greta_txn_none;
	struct greta_applied out;
	int64_t id = help_attempt(h, h->jobs[0]);

	assert_ok(greta_txn_begin(h->db, &txn, &e));
	for (size_t i = 0; i < GRETA_COUNT(bad); i++) {
		assert_ok(help_event(h, id, 0, bad[i].kind, bad[i].detail, bad[i].bytes, &out, &e));
		if (!out.unreadable || out.what != GRETA_APPLY_DONE)
			fail_msg("taken: %s", bad[i].detail);
	}
	assert_ok(help_event(h, id, 0, GRETA_EVENT_PROGRESS, "{\"phase\":\"load\"}", NULL, &out, &e));
	assert_false(out.unreadable);
	assert_ok(greta_txn_commit(&txn, &e));
	assert_int_equal(help_i64(h->db, "SELECT committed_seq FROM attempt"), GRETA_COUNT(bad) + 1);
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM log_chunk"), 0);
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM telemetry_chunk"), 0);
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM event WHERE json_extract(detail, '$.unreadable') IS NOT NULL"),
			 GRETA_COUNT(bad));
}

/* Whoever tampers with a spool spoils that attempt, and it is over. */
static void test_attempts__an_unreadable_outcome_is_the_end(void **state)
{
	static const char *const bad[] = {
		"{\"outcome\":3}", "{", "[]", "{\"outcome\":\"ok\",\"samples\":[{\"sample\":-1,\"metrics\":{\"a\":1}}]}",
		"{\"outcome\":\"ok\",\"samples\":[{\"sample\":1,\"metrics\":{}},{\"sample\":1,\"metrics\":{}}]}",
	};
	struct help *h = *state;
	struct greta_err e = {0};
	struct greta_applied out;

	for (size_t i = 0; i < GRETA_COUNT(bad); i++) {
		int64_t id = help_attempt(h, h->jobs[i]);

		assert_ok(help_event(h, id, 0, GRETA_EVENT_LOG, "{\"stream\":\"out\"}", "x\n", NULL, &e));
		assert_ok(help_event(h, id, 0, GRETA_EVENT_OUTCOME, bad[i], NULL, &out, &e));
		assert_int_equal(out.what, GRETA_APPLY_ENDED);
		assert_int_equal(out.outcome, GRETA_OUTCOME_INVALID);
		assert_true(out.unreadable);
		assert_false(out.counted);
	}
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM result WHERE outcome = 'invalid' AND cause = 'unreadable'"
					 " AND state = 'ended' AND length(reason) > 10 AND log_tail = 'x' || char(10)"),
			 GRETA_COUNT(bad));
	assert_ok(greta_db_check(h->db, &e));
}

static void test_attempts__nothing_follows_the_outcome(void **state)
{
	struct help *h = *state;
	struct greta_applied out;
	struct greta_err e = {0};
	int64_t id = help_attempt(h, h->jobs[0]);

	help_good(h, id, 1, "a", NULL);
	assert_ok(help_event(h, id, 0, GRETA_EVENT_LOG, "{\"stream\":\"out\"}", "x", &out, &e));
	assert_int_equal(out.what, GRETA_APPLY_STALE);
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM log_chunk"), 0);
	assert_fails(greta_attempts_end_here(h->db, id, GRETA_OUTCOME_LOST, NULL, NULL, &e), GRETA_EEXIST);
}

/* ---- which one counts */

static void test_attempts__the_first_good_one_counts(void **state)
{
	struct help *h = *state;
	struct greta_applied out;
	int64_t first = help_attempt(h, h->jobs[0]), second;

	help_good(h, first, 10, "a", NULL);
	second = help_attempt(h, h->jobs[0]);
	out = help_good(h, second, 11, "a", NULL);
	assert_false(out.counted);
	assert_true(out.superseded);
	assert_int_equal(help_i64(h->db, "SELECT counted_attempt FROM job WHERE position = 0"), first);
	assert_int_equal(help_i64(h->db, "SELECT superseded FROM attempt WHERE try_no = 2"), 1);
	assert_int_equal(help_i64(h->db, "SELECT n FROM scaling"), 1);
}

static void test_attempts__contradictions_make_all_invalid(void **state)
{
	struct help *h = *state;
	struct greta_applied out;
	int64_t id = help_attempt(h, h->jobs[0]);

	help_good(h, id, 10, "flash_v2_naive", NULL);
	id = help_attempt(h, h->jobs[0]);
	out = help_good(h, id, 10, "q_lds", NULL);
	assert_true(out.contradicts);
	assert_false(out.counted);
	assert_int_equal(out.outcome, GRETA_OUTCOME_INVALID);
	assert_int_equal(
		help_i64(h->db, "SELECT count(*) FROM attempt WHERE outcome = 'invalid' AND cause = 'contradiction'"),
		2);
	assert_int_equal(help_i64(h->db, "SELECT counted_attempt IS NULL FROM job WHERE position = 0"), 1);
	assert_non_null(strstr(help_str(h->db, "SELECT reason FROM job WHERE position = 0"),
			       "attn_impl is flash_v2_naive in one and q_lds in the other"));
	/* a third one can't tell which was right */
	id = help_attempt(h, h->jobs[0]);
	out = help_good(h, id, 10, "q_lds", NULL);
	assert_int_equal(out.outcome, GRETA_OUTCOME_INVALID);
	assert_int_equal(help_i64(h->db, "SELECT counted_attempt IS NULL FROM job WHERE position = 0"), 1);
}

static void test_attempts__logits_must_agree_on_the_same_setup_only(void **state)
{
	static const char started[] = "{\"pid\":7,\"devices\":[\"%s\"],\"build_sha256\":\"%s\"}";
	static const struct {
		const char *device, *build;
		bool contradicts;
	} cases[] = {{"GPU-b", "b1", true}, {"GPU-b", "b2", false}, {"GPU-other", "b1", false}};
	static const char facts_text[] = "{\"node_id\":\"n\",\"devices\":["
					 "{\"uuid\":\"GPU-a\",\"kind\":\"amd\",\"arch\":\"gfx942\"},"
					 "{\"uuid\":\"GPU-b\",\"kind\":\"amd\",\"arch\":\"gfx942\"},"
					 "{\"uuid\":\"GPU-other\",\"kind\":\"amd\",\"arch\":\"gfx90a\"}]}";
	struct greta_facts facts = {0};
	struct help *h = *state;
	struct greta_err e = {0};
	struct greta_node_ids ids;
	int64_t alias;

	assert_ok(greta_nodes_add(h->db, "n1", "local", NULL, NULL, &alias, &e));
	assert_ok(greta_facts_parse(facts_text, strlen(facts_text), &facts, &e));
	assert_ok(greta_nodes_record(h->db, alias, &facts, &ids, &e));
	greta_facts_release(&facts);
	for (size_t i = 0; i < GRETA_COUNT(cases); i++) {
		char detail[200];
		int64_t id = help_attempt(h, h->jobs[i]);

		snprintf(detail, sizeof detail, started, "GPU-a", "b1");
		assert_ok(help_event(h, id, 0, GRETA_EVENT_STARTED, detail, NULL, NULL, &e));
		help_good(h, id, 10, "a", "1111");
		id = help_attempt(h, h->jobs[i]);
		snprintf(detail, sizeof detail, started, cases[i].device, cases[i].build);
		assert_ok(help_event(h, id, 0, GRETA_EVENT_STARTED, detail, NULL, NULL, &e));
		assert_int_equal(help_good(h, id, 10, "a", "2222").contradicts, cases[i].contradicts);
	}
}

static void test_attempts__the_model_is_its_hash(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	static const char *const paths[] = {"/models/llama.gguf", "/elsewhere/same.gguf"};

	for (size_t i = 0; i < GRETA_COUNT(paths); i++) {
		char detail[300];
		int64_t id = help_attempt(h, h->jobs[i]);

		snprintf(detail, sizeof detail,
			 "{\"model\":\"%s\",\"model_facts\":{\"file_sha256\":\"abc123\",\"file_bytes\":4096%s}}", paths[i],
			 i ? ",\"tensors_sha256\":\"d\",\"metadata_sha256\":\"m\",\"n_params\":7,\"type\":\"F16\"" : "");
		assert_ok(help_event(h, id, 0, GRETA_EVENT_STARTED, detail, NULL, NULL, &e));
	}
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM model WHERE name = 'llama.gguf' AND bytes = 4096"), 1);
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM model"), 1); /* and what was not known first is filled in */
	assert_string_equal(help_str(h->db, "SELECT data_sha256 || metadata_sha256 || n_params || file_type FROM model"), "dm7F16");
	assert_int_equal(help_i64(h->db, "SELECT count(model_id) FROM attempt"), 2);
}

static void test_attempts__a_lost_node_may_come_back(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	struct greta_attempt_row row;
	struct greta_applied out;
	int64_t lost = help_attempt(h, h->jobs[0]), again;

	assert_ok(help_event(h, lost, 1, GRETA_EVENT_ACCEPTED, NULL, NULL, NULL, &e));
	assert_ok(greta_attempts_end_here(h->db, lost, GRETA_OUTCOME_LOST, "node", "away for 2400 s", &e));
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM attempt WHERE outcome = 'lost'"), 1);
	again = help_attempt(h, h->jobs[0]);
	assert_true(help_good(h, again, 10, "a", NULL).counted);

	h->seq = 1;
	assert_ok(help_event(h, lost, 2, GRETA_EVENT_STARTED, "{}", NULL, NULL, &e));
	assert_ok(greta_attempts_get(h->db, lost, &row, &e));
	assert_int_equal(row.state, GRETA_ATTEMPT_ENDED);
	greta_attempt_row_release(&row);
	out = help_good(h, lost, 10, "a", NULL);
	assert_true(out.superseded);
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM attempt WHERE outcome = 'lost'"), 0);
	assert_int_equal(help_i64(h->db, "SELECT counted_attempt FROM job WHERE position = 0"), again);
}

static void test_attempts__only_a_node_says_ok(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	int64_t id = help_attempt(h, h->jobs[0]);

	assert_fails(greta_attempts_end_here(h->db, id, GRETA_OUTCOME_GOOD, NULL, NULL, &e), GRETA_EINVAL);
}

static void test_attempts__a_rejected_result_gives_way(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	int64_t first = help_attempt(h, h->jobs[0]), second, now = 0;

	help_good(h, first, 10, "a", NULL);
	second = help_attempt(h, h->jobs[0]);
	help_good(h, second, 10, "a", NULL);
	assert_ok(greta_attempts_reject(h->db, first, "gate", "logits off by 3 sigma", &now, &e));
	assert_int_equal(now, second);
	assert_int_equal(help_i64(h->db, "SELECT counted_attempt FROM job WHERE position = 0"), second);
	assert_int_equal(help_i64(h->db, "SELECT superseded FROM attempt WHERE try_no = 2"), 0);
	assert_ok(greta_attempts_reject(h->db, second, "gate", "likewise", &now, &e));
	assert_int_equal(now, 0);
	assert_int_equal(help_i64(h->db, "SELECT counted_attempt IS NULL FROM job WHERE position = 0"), 1);
	assert_fails(greta_attempts_reject(h->db, second, "gate", "again", &now, &e), GRETA_EINVAL);
}

/* ---- samples */

static void test_attempts__medians_leave_the_warm_up_out(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	int64_t id = help_attempt(h, h->jobs[0]);

	assert_ok(
		help_event(h, id, 0, GRETA_EVENT_OUTCOME,
			   "{\"outcome\":\"ok\",\"samples\":["
			   "{\"sample\":0,\"metrics\":{\"prefill_s\":99,\"attn_impl\":\"warm\"}},"
			   "{\"sample\":1,\"metrics\":{\"prefill_s\":3,\"attn_impl\":\"cold\",\"prompt_tokens\":4000}},"
			   "{\"sample\":2,\"metrics\":{\"prefill_s\":1}},"
			   "{\"sample\":3,\"metrics\":{\"prefill_s\":2,\"peak\":1e300}},"
			   "{\"sample\":4,\"metrics\":{\"prefill_s\":10}}]}",
			   NULL, NULL, &e));
	assert_float_equal(help_f64(h->db, "SELECT prefill_s FROM result"), 2.5, 1e-12);
	assert_float_equal(help_f64(h->db, "SELECT prefill_min_s FROM result"), 1, 1e-12);
	assert_float_equal(help_f64(h->db, "SELECT prefill_max_s FROM result"), 10, 1e-12);
	assert_float_equal(help_f64(h->db, "SELECT tokens_per_s FROM result"), 1600, 1e-9);
	assert_int_equal(help_i64(h->db, "SELECT n_samples FROM result"), 4);
	assert_string_equal(help_str(h->db, "SELECT attn_impl FROM result"), "cold");
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM sample_value"), 9);
}

static void test_attempts__counts_that_are_none_do_not_stop_the_rest(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	int64_t id = help_attempt(h, h->jobs[0]);

	assert_ok(help_event(
		h, id, 0, GRETA_EVENT_OUTCOME,
		"{\"outcome\":\"invalid\",\"peak_rss_bytes\":9223372036854775807,\"log_dropped\":9223372036854775807,"
		"\"started_wall_ns\":-9223372036854775808,\"exit_code\":2147483647,"
		"\"samples\":[{\"sample\":9223372036854775807,\"metrics\":{\"prompt_tokens\":1e300,\"\":-0.0}}]}",
		NULL, NULL, &e));
	assert_int_equal(help_i64(h->db, "SELECT prompt_tokens IS NULL FROM result"), 1);
	assert_int_equal(help_i64(h->db, "SELECT exit_code FROM result"), INT32_MAX);
	assert_true(help_i64(h->db, "SELECT peak_rss_bytes FROM result") == INT64_MAX);
	assert_ok(greta_db_check(h->db, &e));
}

/* ---- verdict and evidence */

static void test_attempts__verdict_and_evidence(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	cleanup_buf struct greta_buf text = {0};
	int64_t id = help_attempt(h, h->jobs[0]);

	assert_ok(help_event(h, id, 0, GRETA_EVENT_PROGRESS,
			     "{\"phase\":\"prefill\",\"done\":7,\"total\":32,\"at\":\"layer 7 attn q_lds\"}", NULL,
			     NULL, &e));
	assert_ok(help_event(h, id, 0, GRETA_EVENT_VERDICT,
			     "{\"class\":\"gpu_kernel\",\"certainty\":\"supported\",\"text\":\"stuck in layer 7\"}",
			     NULL, NULL, &e));
	assert_ok(help_event(h, id, 0, GRETA_EVENT_EVIDENCE, "{\"name\":\"gdb\",\"part\":1,\"parts\":3}", "one ", NULL,
			     &e));
	assert_ok(help_event(h, id, 0, GRETA_EVENT_EVIDENCE, "{\"name\":\"gdb\",\"part\":3,\"parts\":3}", "three", NULL,
			     &e));
	assert_ok(help_event(h, id, 0, GRETA_EVENT_OUTCOME, "{\"outcome\":\"hung\",\"reason\":\"no progress\"}", NULL,
			     NULL, &e));
	assert_ok(greta_evidence_read(h->db, id, "gdb", &text, &e));
	assert_string_equal(text.data, "one \n[part 2 of 3 is missing]\nthree");
	assert_fails(greta_evidence_read(h->db, id, "dmesg", &text, &e), GRETA_ENOENT);
	assert_string_equal(help_str(h->db, "SELECT class FROM hang"), "gpu_kernel");
	assert_string_equal(help_str(h->db, "SELECT verdict FROM hang"), "stuck in layer 7");
	assert_string_equal(help_str(h->db, "SELECT breadcrumb FROM hang"), "layer 7 attn q_lds");
	assert_string_equal(help_str(h->db, "SELECT evidence FROM hang"), "gdb");
	assert_string_equal(help_str(h->db, "SELECT substr(fingerprint, 9) FROM hang"),
			    " gpu_kernel at prefill, layer * attn q_lds");
	assert_string_equal(help_str(h->db, "SELECT text FROM evidence"), "one three");
	assert_int_equal(help_i64(h->db, "SELECT parts_missing FROM evidence"), 1);
}

/* ---- reading */

static void test_attempts__open_ones_are_found_again(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	struct greta_attempt_rows rows = {0};
	struct greta_attempt_row row;
	cleanup_buf struct greta_buf spec = {0};
	int64_t a = help_attempt(h, h->jobs[0]), b = help_attempt(h, h->jobs[3]);
	char uuid[GRETA_UUID_LEN + 1];

	help_good(h, a, 1, "x", NULL);
	assert_ok(greta_attempts_open(h->db, &rows, &e));
	assert_int_equal(rows.n, 1);
	assert_int_equal(rows.items[0].id, b);
	assert_string_equal(rows.items[0].variant, "v3");
	assert_int_equal(rows.items[0].context, 8192);
	assert_int_equal(rows.items[0].state, GRETA_ATTEMPT_PLANNED);
	snprintf(uuid, sizeof uuid, "%s", rows.items[0].uuid);
	greta_attempt_rows_release(&rows);

	assert_ok(greta_attempts_find(h->db, uuid, &row, &e));
	assert_int_equal(row.id, b);
	greta_attempt_row_release(&row);
	uuid[8] = '\0';
	assert_ok(greta_attempts_find(h->db, uuid, &row, &e));
	assert_int_equal(row.id, b);
	greta_attempt_row_release(&row);
	assert_fails(greta_attempts_find(h->db, "ffffffff-0000", &row, &e), GRETA_ENOENT);
	assert_ok(greta_attempts_spec(h->db, b, &spec, &e));
	assert_non_null(strstr(spec.data, "\"argv\":[\"x\"]"));
	assert_non_null(strstr(spec.data, uuid));
}

/* Rows of attempts are at hand while a transaction takes events in; nobody may see that. */
static void test_attempts__mixed_events_of_one_transaction(void **state)
{
	static const char line[] = "{\"phase\":\"prefill\",\"done\":1,\"total\":2}";
	struct help *h = *state;
	struct greta_txn txn = greta_txn_none;
	struct greta_applied out;
	struct greta_err e = {0};
	int64_t ids[70]; /* more than there is room for at once */

	for (int k = 0; k < 70; k++)
		ids[k] = help_attempt(h, h->jobs[k % 8]);
	for (int round = 0; round < 2; round++) { /* the first one rolls back: then the same events come again */
		assert_ok(greta_txn_begin(h->db, &txn, &e));
		for (int seq = 1; seq <= 3; seq++)
			for (int k = 0; k < 70; k++) {
				assert_ok(help_event(h, ids[k], seq, seq == 2 ? GRETA_EVENT_PROGRESS : GRETA_EVENT_LOG,
						     seq == 2 ? line : "{\"stream\":\"err\"}", seq == 2 ? NULL : "some\n",
						     &out, &e));
				assert_int_equal(out.what, GRETA_APPLY_DONE);
			}
		assert_int_equal(help_i64(h->db, "SELECT sum(committed_seq) FROM attempt"), 3 * 70);
		assert_int_equal(help_i64(h->db, "SELECT sum(log_bytes) FROM attempt"), 10 * 70);
		assert_int_equal(help_i64(h->db, "SELECT sum(raw_bytes) FROM log_chunk"), 10 * 70);
		assert_int_equal(help_i64(h->db, "SELECT count(*) FROM attempt WHERE phase = 'prefill' AND progress LIKE '%done%'"),
				 70);
		if (round)
			assert_ok(greta_txn_commit(&txn, &e));
		else
			greta_txn_release(&txn);
		assert_int_equal(help_i64(h->db, "SELECT sum(log_bytes) FROM attempt"), round * 10 * 70);
	}
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM log WHERE text = 'some' || char(10) || 'some' || char(10)"), 0);
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM log WHERE streams = 'err'"), 140);
}

/* A node whose clock stands at nought, or that does not tell it, has begun all the same. */
static void test_attempts__a_start_without_a_time(void **state)
{
	struct help *h = *state;
	struct greta_event ev = {.seq = 1, .kind = GRETA_EVENT_STARTED, .detail = (char *)"{}"};
	struct greta_err e = {0};
	int64_t id = help_attempt(h, h->jobs[0]);

	assert_ok(greta_attempts_apply(h->db, id, &ev, NULL, &e));
	assert_string_equal(help_str(h->db, "SELECT state FROM attempt"), "running");
}

/* All in one transaction: output is sealed without having been loose, and is all there. */
static void test_attempts__begun_and_ended_in_one_transaction(void **state)
{
	struct help *h = *state;
	struct greta_txn txn = greta_txn_none;
	struct greta_err e = {0};
	int64_t id = help_attempt(h, h->jobs[0]);

	assert_ok(greta_txn_begin(h->db, &txn, &e));
	assert_ok(help_event(h, id, 0, GRETA_EVENT_LOG, "{\"stream\":\"out\"}", "one\n", NULL, &e));
	assert_ok(help_event(h, id, 0, GRETA_EVENT_LOG, "{\"stream\":\"err\"}", "two", NULL, &e));
	help_good(h, id, 1, "a", NULL);
	assert_ok(greta_txn_commit(&txn, &e));
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM log_chunk"), 1);
	assert_string_equal(help_str(h->db, "SELECT streams FROM log_chunk WHERE zstd IS NOT NULL"), "out 4 err 3");
	assert_string_equal(help_str(h->db, "SELECT text FROM log"), "one\ntwo");
	assert_string_equal(help_str(h->db, "SELECT log_tail FROM result WHERE log_bytes = 7"), "one\ntwo");
	assert_int_equal(help_i64(h->db, "SELECT log_sealed FROM attempt"), 7);
	assert_int_equal(help_i64(h->db, "SELECT sum(n_chunks) FROM log_column"), 1);
}

/* ---- whatever is grouped, and whoever looks on meanwhile, the database comes to the same */

#define N_ATTEMPTS 12
#define N_STEPS 9

static void step(struct help *h, int64_t id, int k, int s)
{
	static const struct {
		enum greta_event_kind kind;
		const char *detail, *bytes;
	} steps[N_STEPS - 1] = {
		{GRETA_EVENT_ACCEPTED, NULL, NULL},
		{GRETA_EVENT_STARTED, "{\"devices\":[\"GPU-1\"],\"build_sha256\":\"b\",\"model\":\"/m/x.gguf\",\"model_facts\":"
				      "{\"file_sha256\":\"m\"}}", NULL},
		{GRETA_EVENT_PROGRESS, "{\"phase\":\"load\"}", NULL},
		{GRETA_EVENT_LOG, "{\"stream\":\"out\"}", "one\n"},
		{GRETA_EVENT_TELEMETRY, "{\"columns\":[\"engine_cpu_percent\"],\"rows\":[[1000000000,50],[2000000000,70]]}", NULL},
		{GRETA_EVENT_LOG, "{\"stream\":\"err\"}", "two\nthr"},
		{GRETA_EVENT_LOG_GAP, "{\"dropped\":5}", NULL},
		{GRETA_EVENT_PROGRESS, "{\"phase\":\"prefill\",\"done\":1,\"total\":2}", NULL},
	};
	bool judged = k % 4 == 1 && s == 7, late = k % 3 == 2 && s == 1; /* its build is told with the outcome, if at all */
	struct greta_err e = {0};

	h->seq = s;
	if (s == N_STEPS - 1 && k % 5 == 4)
		assert_ok(help_event(h, id, 0, GRETA_EVENT_OUTCOME, "{\"outcome\":\"hung\",\"class\":\"host_spin\",\"build_sha256\":\"b\"}",
				     NULL, NULL, &e));
	else if (s == N_STEPS - 1)
		help_good(h, id, 1, "a", NULL);
	else if (judged)
		assert_ok(help_event(h, id, 0, GRETA_EVENT_VERDICT, "{\"class\":\"gpu_kernel\",\"text\":\"it hangs\"}", NULL, NULL, &e));
	else
		assert_ok(help_event(h, id, 0, steps[s].kind, late ? "{}" : steps[s].detail, steps[s].bytes, NULL, &e));
}

enum grouping { EACH_ALONE, ALL_TOGETHER, BY_CHANCE, GROUPINGS };

static void between(struct help *h, enum grouping how, struct greta_txn *txn, unsigned *chance)
{
	struct greta_err e = {0};

	if (how != BY_CHANCE)
		return;
	switch (rand_r(chance) % 8) {
	case 0:
		assert_ok(greta_txn_commit(txn, &e));
		assert_ok(greta_txn_begin(h->db, txn, &e));
		break;
	case 1:
		help_i64(h->db, "SELECT count(*) FROM result WHERE phase = 'load' AND log_bytes > 0");
		break;
	case 2:
		help_i64(h->db, "SELECT count(*) FROM log WHERE text <> ''");
		break;
	case 3:
		assert_ok(greta_db_exec(h->db, &e, "UPDATE attempt SET excluded = NULL, state = state WHERE id = 1", ""));
		break;
	default:
		break;
	}
}

static char *come_to(struct help *h, int k)
{
	cleanup_free char *sql = greta_format(
		"SELECT json_array(a.state, a.outcome, a.reason, a.superseded, a.build_id, a.model_id, a.committed_seq,"
		" a.dispatched_ns IS NULL, a.started_ns, a.ended_ns IS NULL, a.class, a.verdict, a.phase, a.progress, a.log_bytes,"
		" a.log_dropped, a.log_sealed, a.telemetry_loose, a.reported, a.engine_cpu_percent, a.device_type, j.counted_attempt,"
		" (SELECT group_concat(text, '') FROM log WHERE attempt_id = a.id),"
		" (SELECT group_concat(kind || seq) FROM event WHERE attempt_id = a.id),"
		" (SELECT sum(n) FROM telemetry_summary WHERE attempt_id = a.id), (SELECT log_tail FROM result WHERE attempt_id = a.id))"
		" FROM attempt a JOIN job j ON j.id = a.job_id WHERE a.id = %d", k + 1);

	return greta_strdup(help_str(h->db, sql));
}

static void play(struct help *h, enum grouping how, unsigned order, char *out[N_ATTEMPTS])
{
	unsigned chance = order;
	int64_t ids[N_ATTEMPTS];
	int at[N_ATTEMPTS] = {0};
	struct greta_txn txn = greta_txn_none;
	struct greta_err e = {0};

	for (int k = 0; k < N_ATTEMPTS; k++)
		ids[k] = help_attempt(h, h->jobs[k % 8]);
	if (how != EACH_ALONE)
		assert_ok(greta_txn_begin(h->db, &txn, &e));
	for (int left = N_ATTEMPTS * N_STEPS - 1; left > 0;) { /* the last one's outcome does not come */
		int k = rand_r(&order) % N_ATTEMPTS, last = k == N_ATTEMPTS - 1 ? N_STEPS - 1 : N_STEPS;

		if (at[k] == last)
			continue;
		step(h, ids[k], k, at[k]++);
		left--;
		between(h, how, &txn, &chance);
	}
	if (how != EACH_ALONE)
		assert_ok(greta_txn_commit(&txn, &e));
	for (int k = 0; k < N_ATTEMPTS; k++)
		out[k] = come_to(h, k);
}

static void test_attempts__how_events_are_grouped_does_not_matter(void **state)
{
	(void)state;
	for (unsigned order = 1; order <= 12; order++) {
		char *said[GROUPINGS][N_ATTEMPTS];

		for (enum grouping how = 0; how < GROUPINGS; how++) {
			struct help h = {0};
			cleanup_free char *path = greta_format("%u-%d.db", order, (int)how);

			help_open(&h, path);
			help_campaign(&h, "c");
			play(&h, how, order, said[how]);
			greta_db_close(h.db);
		}
		for (int k = 0; k < N_ATTEMPTS; k++) {
			assert_non_null(strstr(said[0][k], k == N_ATTEMPTS - 1 ? "[\"running\"" : "[\"ended\""));
			for (enum grouping how = 1; how < GROUPINGS; how++)
				assert_string_equal(said[0][k], said[how][k]);
		}
		for (enum grouping how = 0; how < GROUPINGS; how++)
			for (int k = 0; k < N_ATTEMPTS; k++)
				free(said[how][k]);
	}
}

/* Also by one who asks for that column alone. */
static void test_attempts__each_column_is_read_as_it_was_said(void **state)
{
	static const char *const columns[] = {"committed_seq", "log_bytes", "log_dropped", "telemetry_loose", "dispatched_ns",
					      "started_ns", "build_id", "model_id", "state", "phase", "progress"};
	struct help *h = *state;
	int64_t id = help_attempt(h, h->jobs[0]);
	struct greta_txn txn = greta_txn_none;
	struct greta_err e = {0};

	for (size_t i = 0; i < GRETA_COUNT(columns); i++) {
		cleanup_free char *sql = greta_format("SELECT quote(%s) FROM attempt", columns[i]);
		cleanup_free char *before = greta_strdup(help_str(h->db, sql));
		cleanup_free char *then = NULL;

		assert_ok(greta_txn_begin(h->db, &txn, &e));
		for (int s = 0; s < N_STEPS - 1; s++)
			step(h, id, 0, s);
		then = greta_strdup(help_str(h->db, sql));
		assert_string_not_equal(then, before);
		help_i64(h->db, "SELECT committed_seq FROM attempt");
		assert_string_equal(help_str(h->db, sql), then);
		greta_txn_release(&txn);
		assert_string_equal(help_str(h->db, sql), before);
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, help_setup, help_teardown)
	const struct CMUnitTest tests[] = {
		T(test_attempts__from_plan_to_counted),
		T(test_attempts__a_build_that_has_a_name),
		T(test_attempts__an_event_counts_once),
		T(test_attempts__refuses_a_gap),
		T(test_attempts__nonsense_is_noted_and_passed_over),
		T(test_attempts__an_unreadable_outcome_is_the_end),
		T(test_attempts__nothing_follows_the_outcome),
		T(test_attempts__the_first_good_one_counts),
		T(test_attempts__contradictions_make_all_invalid),
		T(test_attempts__logits_must_agree_on_the_same_setup_only),
		T(test_attempts__the_model_is_its_hash),
		T(test_attempts__a_lost_node_may_come_back),
		T(test_attempts__only_a_node_says_ok),
		T(test_attempts__a_rejected_result_gives_way),
		T(test_attempts__medians_leave_the_warm_up_out),
		T(test_attempts__counts_that_are_none_do_not_stop_the_rest),
		T(test_attempts__verdict_and_evidence),
		T(test_attempts__open_ones_are_found_again),
		T(test_attempts__mixed_events_of_one_transaction),
		T(test_attempts__a_start_without_a_time),
		T(test_attempts__begun_and_ended_in_one_transaction),
		T(test_attempts__how_events_are_grouped_does_not_matter),
		T(test_attempts__each_column_is_read_as_it_was_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
