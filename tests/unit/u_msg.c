#include "base/mem.h"
#include "schemas/msg.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define A1 "0b9cbe04-6b2f-4b9e-8c63-0a4d8a0f0001"
#define A2 "0b9cbe04-6b2f-4b9e-8c63-0a4d8a0f0002"

static void encode(const struct greta_msg *m, struct greta_buf *out)
{
	struct greta_err e = {0};

	if (greta_msg_encode(m, out, &e))
		fail_msg("%s", e.text);
}

static void decode(const struct greta_buf *in, struct greta_msg *out)
{
	struct greta_err e = {0};
	ssize_t used = greta_msg_decode(in->data, in->len, out, &e);

	if (used < 0)
		fail_msg("%s", e.text);
	assert_int_equal(used, in->len);
}

/* Encodes, decodes, encodes again: nothing may be lost. The decoded message is the caller's. */
static void round_trip(const struct greta_msg *m, struct greta_msg *out)
{
	cleanup_buf struct greta_buf first = {0}, second = {0};

	encode(m, &first);
	decode(&first, out);
	encode(out, &second);
	assert_int_equal(first.len, second.len);
	assert_memory_equal(first.data, second.data, first.len);
}

static void refused(const char *text, const char *expected)
{
	struct greta_err e = {0};
	struct greta_msg m;

	assert_int_equal(greta_msg_decode(text, strlen(text), &m, &e), -1);
	assert_int_equal(e.code, GRETA_EPROTO);
	if (!strstr(e.text, expected))
		fail_msg("%s\nexpected: %s", e.text, expected);
}

static void fill_spec(struct greta_spec *s)
{
	struct greta_expect *x;

	greta_str_copy(s->attempt, sizeof(s->attempt), A1);
	s->campaign = greta_strdup("b3_89");
	s->variant = greta_strdup("v3");
	s->context = 4096;
	s->repeat = 2;
	greta_strs_add(&s->argv, "greta-infer");
	greta_strs_add(&s->argv, "--prompt");
	greta_strs_add(&s->argv, "\"q\" \xff\n");
	greta_strs_add(&s->env, "A=1");
	s->adapter = GRETA_ADAPTER_LLAMA_BENCH;
	s->samples = 3;
	x = GRETA_PUSH(s->expect, s->n_expect, s->cap_expect);
	x->field = greta_strdup("attn_impl");
	x->value = greta_strdup("q_lds");
	s->slot = GRETA_SLOT_GPU;
	s->n_gpus = 8;
	s->wall_s = 1800.5;
	s->phases[GRETA_PHASE_PREFILL].silence_s = 300;
	s->phases[GRETA_PHASE_LOAD].limit_s = 60;
	s->on_slow = GRETA_ON_SLOW_EXTEND;
	s->log_limit_bytes = INT64_MAX;
}

static void test_msg__start_round_trip(void **state)
{
	struct greta_msg m = {.type = GRETA_MSG_START, .re = 7, .credit_bytes = 262144}, back;

	(void)state;
	m.spec = greta_alloc(sizeof(*m.spec));
	fill_spec(m.spec);
	round_trip(&m, &back);
	assert_int_equal(back.type, GRETA_MSG_START);
	assert_int_equal(back.re, 7);
	assert_int_equal(back.credit_bytes, 262144);
	assert_string_equal(back.spec->attempt, A1);
	assert_int_equal(back.spec->argv.n, 3);
	assert_string_equal(back.spec->argv.items[2], "\"q\" \xef\xbf\xbd\n"); /* what is no UTF-8 can't travel */
	assert_null(back.spec->argv.items[3]);
	assert_int_equal(back.spec->adapter, GRETA_ADAPTER_LLAMA_BENCH);
	assert_string_equal(back.spec->expect[0].value, "q_lds");
	assert_true(back.spec->phases[GRETA_PHASE_PREFILL].silence_s == 300);
	assert_true(back.spec->phases[GRETA_PHASE_LOAD].limit_s == 60);
	assert_int_equal(back.spec->on_slow, GRETA_ON_SLOW_EXTEND);
	assert_true(back.spec->log_limit_bytes == INT64_MAX);
	assert_null(back.spec->cwd);
	greta_msg_release(&m);
	greta_msg_release(&back);
	assert_null(back.spec);
}

static void test_msg__start_of_a_printed_spec_is_the_same(void **state)
{
	struct greta_msg m = {.type = GRETA_MSG_START, .re = 7, .seq = 3};
	cleanup_buf struct greta_buf printed = {0}, one = {0}, other = {0};

	(void)state;
	m.spec = greta_alloc(sizeof(*m.spec));
	fill_spec(m.spec);
	greta_spec_print(m.spec, &printed);
	assert_int_equal(greta_msg_encode(&m, &one, NULL), 0);
	m.printed_spec = printed.data;
	assert_int_equal(greta_msg_encode(&m, &other, NULL), 0);
	assert_string_equal(one.data, other.data);
	greta_msg_release(&m);
}

static void test_msg__every_type_round_trips(void **state)
{
	(void)state;
	for (int type = GRETA_MSG_NONE + 1; type < GRETA_MSG_COUNT; type++) {
		struct greta_msg m = {.type = (enum greta_msg_type)type,
				      .re = type,
				      .protocol_min = 1,
				      .protocol_max = 1,
				      .seq = 5,
				      .stamp_ns = INT64_MAX,
				      .boot_ns = 3,
				      .wall_ns = 4,
				      .credit_bytes = 9,
				      .code = GRETA_EFENCED,
				      .fence = 12};
		struct greta_msg back;
		struct greta_held *held = GRETA_PUSH(m.held, m.n_held, m.cap_held);

		greta_str_copy(m.attempt, sizeof(m.attempt), A1);
		greta_str_copy(held->attempt, sizeof(held->attempt), A2);
		m.text = greta_strdup("because");
		m.spec = greta_alloc(sizeof(*m.spec));
		fill_spec(m.spec);
		m.facts = greta_alloc(sizeof(*m.facts));
		m.facts->node_id = greta_strdup("n1");
		m.event = greta_alloc(sizeof(*m.event));
		greta_str_copy(m.event->attempt, sizeof(m.event->attempt), A2);
		round_trip(&m, &back);
		assert_int_equal(back.type, type);
		assert_int_equal(back.re, type);
		greta_msg_release(&m);
		greta_msg_release(&back);
	}
}

static void test_msg__answers_keep_their_code(void **state)
{
	struct greta_msg m = {.type = GRETA_MSG_REFUSED, .re = 3, .code = GRETA_EFENCED, .fence = 12}, back;
	cleanup_buf struct greta_buf odd = {0};

	(void)state;
	m.text = greta_strdup("a newer controller owns this");
	round_trip(&m, &back);
	assert_int_equal(back.code, GRETA_EFENCED);
	assert_int_equal(back.fence, 12);
	assert_string_equal(back.text, "a newer controller owns this");
	greta_msg_release(&m);
	greta_msg_release(&back);
	greta_buf_adds(&odd, "{\"type\":\"refused\",\"code\":\"EFUTURE\",\"news\":[{}],\"text\":null}\n");
	decode(&odd, &back);
	assert_int_equal(back.code, GRETA_EFAIL);
	assert_null(back.text);
	greta_msg_release(&back);
}

static void test_msg__facts_round_trip(void **state)
{
	struct greta_facts f = {.n_cpus = 96, .mem_bytes = INT64_C(1) << 41, .survives_logout = true}, back;
	cleanup_buf struct greta_buf text = {0}, again = {0};
	struct greta_err e = {0};
	struct greta_device *d = GRETA_PUSH(f.devices, f.n_devices, f.cap_devices);
	struct greta_fact *fact = GRETA_PUSH(f.env, f.n_env, f.cap_env);

	(void)state;
	f.node_id = greta_strdup("n");
	d->uuid = greta_strdup("GPU-1");
	d->vram_bytes = INT64_C(206158430208);
	fact->key = greta_strdup("rocm.version");
	fact->value = greta_strdup("6.2.1");
	greta_facts_print(&f, &text);
	assert_int_equal(greta_facts_parse(text.data, text.len, &back, &e), 0);
	greta_facts_print(&back, &again);
	assert_string_equal(text.data, again.data);
	assert_string_equal(back.env[0].value, "6.2.1");
	assert_true(back.devices[0].vram_bytes == INT64_C(206158430208));
	assert_true(back.survives_logout);
	greta_facts_release(&f);
	greta_facts_release(&back);
}

static void test_msg__end_keeps_unknown_unknown(void **state)
{
	struct greta_end end;
	struct greta_err e = {0};
	static const char *const bare = "{\"outcome\":\"exploded\",\"class\":\"new_class\",\"future\":1}";

	(void)state;
	assert_int_equal(greta_end_parse(bare, strlen(bare), &end, &e), 0);
	assert_int_equal(end.outcome, GRETA_OUTCOME_UNKNOWN);
	assert_int_equal(end.class_, GRETA_CLASS_NONE);
	assert_int_equal(end.exit_code, -1);
	assert_int_equal(end.peak_rss_bytes, -1);
	assert_true(isnan(end.wall_s) && isnan(end.cpu_user_s) && isnan(end.cpu_system_s) && isnan(end.progress.t_s));
	greta_end_release(&end);
	assert_int_equal(greta_end_parse("{}", 2, &end, &e), -1);
	assert_non_null(strstr(e.text, "\"outcome\" is missing"));
	assert_int_equal(greta_end_parse("[]", 2, &end, &e), -1);
	assert_int_equal(greta_end_parse("", 0, &end, &e), -1);
}

static void add_sample(struct greta_end *end, int64_t no, double prefill_s)
{
	struct greta_sample *s = GRETA_PUSH(end->samples.items, end->samples.n, end->samples.cap);

	s->sample_no = no;
	greta_sample_set_number(s, "prefill_s", prefill_s);
	greta_sample_set_text(s, "attn_impl", "flash_v2_naive");
}

static void test_msg__end_round_trip(void **state)
{
	struct greta_end end = {.outcome = GRETA_OUTCOME_HUNG,
				.exit_code = -1,
				.signal = 9,
				.wall_s = 0.1,
				.cpu_user_s = NAN,
				.class_ = GRETA_CLASS_HOST_SPIN,
				.certainty = GRETA_SUPPORTED,
				.survivors = true},
			 back;
	cleanup_buf struct greta_buf text = {0}, again = {0};
	struct greta_err e = {0};

	(void)state;
	add_sample(&end, 0, NAN);
	add_sample(&end, 1, 22.7681);
	greta_strs_add(&end.devices, "GPU-1");
	greta_str_copy(end.progress.at, sizeof(end.progress.at), "layer 7 attn q_lds");
	greta_end_print(&end, &text);
	assert_int_equal(greta_end_parse(text.data, text.len, &back, &e), 0);
	greta_end_print(&back, &again);
	assert_string_equal(text.data, again.data);
	assert_true(isnan(greta_sample_number(&back.samples.items[0], "prefill_s")));
	assert_true(greta_sample_number(&back.samples.items[1], "prefill_s") == 22.7681);
	assert_string_equal(greta_sample_get(&back.samples.items[1], "attn_impl")->text, "flash_v2_naive");
	assert_int_equal(back.certainty, GRETA_SUPPORTED);
	assert_string_equal(back.progress.at, "layer 7 attn q_lds");
	greta_end_release(&end);
	greta_end_release(&back);
}

static struct greta_msg event_of(const char *detail, const char *bytes, size_t n)
{
	struct greta_msg m = {.type = GRETA_MSG_EVENT};

	m.event = greta_alloc(sizeof(*m.event));
	greta_str_copy(m.event->attempt, sizeof(m.event->attempt), A1);
	m.event->seq = 41;
	m.event->kind = GRETA_EVENT_LOG;
	m.event->detail = greta_strdup(detail);
	if (n) {
		m.event->bytes = greta_alloc(n);
		memcpy(m.event->bytes, bytes, n);
		m.event->n_bytes = n;
	}
	return m;
}

static void test_msg__event_carries_bytes(void **state)
{
	struct greta_msg m = event_of("{\"stream\":\"out\",\"offset\":12}", "a\0\n{b", 5), back;

	(void)state;
	round_trip(&m, &back);
	assert_string_equal(back.event->detail, "{\"stream\":\"out\",\"offset\":12}");
	assert_int_equal(back.event->n_bytes, 5);
	assert_memory_equal(back.event->bytes, "a\0\n{b", 5);
	assert_int_equal(back.event->kind, GRETA_EVENT_LOG);
	greta_msg_release(&m);
	greta_msg_release(&back);
	m = event_of(NULL, NULL, 0);
	{
		cleanup_buf struct greta_buf frame = {0};

		encode(&m, &frame);
		decode(&frame, &back);
	}
	assert_string_equal(back.event->detail, "{}");
	assert_null(back.event->bytes);
	greta_msg_release(&m);
	greta_msg_release(&back);
}

/* An outcome with many samples exceeds a line, and must travel all the same. */
static void test_msg__long_message_travels_behind_its_line(void **state)
{
	struct greta_end end = {.outcome = GRETA_OUTCOME_GOOD};
	cleanup_buf struct greta_buf detail = {0};
	struct greta_msg m, back;

	(void)state;
	for (int i = 1; i <= 2000; i++)
		add_sample(&end, i, i);
	greta_end_print(&end, &detail);
	assert_true(detail.len > GRETA_FRAME_MAX);
	m = event_of(detail.data, "tail", 4);
	round_trip(&m, &back);
	assert_string_equal(back.event->detail, detail.data);
	assert_memory_equal(back.event->bytes, "tail", 4);
	greta_end_release(&end);
	greta_msg_release(&m);
	greta_msg_release(&back);
}

static void test_msg__frames_in_any_pieces(void **state)
{
	cleanup_buf struct greta_buf stream = {0};
	struct greta_msg ping = {.type = GRETA_MSG_PING, .stamp_ns = 5}, ev = event_of("{}", "xyz\n", 4), m;
	size_t first, n;

	(void)state;
	encode(&ev, &stream);
	first = stream.len;
	encode(&ping, &stream);
	for (n = 0; n < first; n++)
		assert_int_equal(greta_msg_decode(stream.data, n, &m, NULL), 0);
	for (n = first; n <= stream.len; n++) {
		assert_int_equal(greta_msg_decode(stream.data, n, &m, NULL), first);
		assert_memory_equal(m.event->bytes, "xyz\n", 4);
		greta_msg_release(&m);
	}
	assert_int_equal(greta_msg_decode(stream.data + first, stream.len - first, &m, NULL), stream.len - first);
	assert_int_equal(m.stamp_ns, 5);
	greta_msg_release(&m);
	greta_msg_release(&ev);
}

static void test_msg__refuses_garbage(void **state)
{
	static const struct {
		const char *text, *expected;
	} cases[] = {
		{"\n", "is empty"},
		{"hello\n", "frame:1:1"},
		{"{}\n", "expected an object with a \"type\""},
		{"[]\n", "expected an object with a \"type\""},
		{"{\"type\":5}\n", "expected an object with a \"type\""},
		{"{\"type\":\"frobnicate\"}\n", "unknown message type \"frobnicate\""},
		{"{\"type\":\"none\"}\n", "unknown message type \"none\""},
		{"{\"type\":\"ping\"}\n", "\"ping\" message: \"stamp_ns\" is missing"},
		{"{\"type\":\"ping\",\"stamp_ns\":\"x\"}\n", "stamp_ns: expected a whole number"},
		{"{\"type\":\"ping\",\"stamp_ns\":1,\"re\":{}}\n", "\"re\" is not a whole number"},
		{"{\"type\":\"ping\",\"stamp_ns\":1,\"bytes\":-1}\n", "\"bytes\" is not a number"},
		{"{\"type\":\"ping\",\"stamp_ns\":1,\"bytes\":300000}\n", "\"bytes\" is not a number from 0 to 262144"},
		{"{\"type\":\"attach\",\"attempt\":\"../../etc\"}\n", "attempt: expected a UUID"},
		{"{\"type\":\"attach\",\"attempt\":\"\"}\n", "attempt: expected a UUID"},
		{"{\"type\":\"start\",\"spec\":{\"attempt\":\"" A1 "\",\"argv\":[\"x\",1]}}\n",
		 "spec.argv[1]: expected a string"},
		{"{\"type\":\"start\",\"spec\":{\"attempt\":\"" A1 "\",\"argv\":[],\"adapter\":\"xml\"}}\n",
		 "spec.adapter: expected one of perf_timing, llama-bench, json"},
		{"{\"type\":\"start\",\"spec\":[]}\n", "spec: expected an object"},
		{"{\"type\":\"start\",\"spec\":{\"attempt\":\"" A1 "\"}}\n", "spec: \"argv\" is missing"},
		{"{\"type\":\"event\",\"event\":{\"attempt\":\"" A1 "\",\"seq\":1,\"kind\":\"log\",\"detail\":[]}}\n",
		 "event.detail: expected an object"},
		{"{\"type\":\"event\",\"body_bytes\":9,\"bytes\":4}\n....", "more \"body_bytes\" than \"bytes\""},
		{"{\"type\":\"event\",\"body_bytes\":4,\"bytes\":4}\n....", "\"event\" message: body:1:1"},
		{"{\"type\":\"event\",\"body_bytes\":2,\"bytes\":2}\n[]", "body: expected an object"},
		{"{\"type\":\"event\",\"body_bytes\":2,\"bytes\":2}\n{}", "\"event\" is missing"},
	};

	(void)state;
	for (size_t i = 0; i < GRETA_COUNT(cases); i++)
		refused(cases[i].text, cases[i].expected);
}

static void test_msg__refuses_long_lines_at_once(void **state)
{
	cleanup_buf struct greta_buf line = {0};
	struct greta_msg m;
	struct greta_err e = {0};

	(void)state;
	memset(greta_buf_reserve(&line, GRETA_FRAME_MAX), 'x', GRETA_FRAME_MAX);
	assert_int_equal(greta_msg_decode(line.data, GRETA_FRAME_MAX - 1, &m, &e), 0);
	assert_int_equal(greta_msg_decode(line.data, GRETA_FRAME_MAX, &m, &e), -1);
	assert_int_equal(e.code, GRETA_EPROTO);
}

static void test_msg__does_not_send_what_does_not_fit(void **state)
{
	cleanup_buf struct greta_buf out = {0};
	struct greta_msg m = {.type = GRETA_MSG_DONE};
	struct greta_err e = {0};

	(void)state;
	greta_buf_adds(&out, "before");
	m.text = greta_alloc(GRETA_FRAME_BYTES_MAX + 1);
	memset(m.text, 'x', GRETA_FRAME_BYTES_MAX);
	assert_int_equal(greta_msg_encode(&m, &out, &e), -1);
	assert_int_equal(e.code, GRETA_EINVAL);
	assert_string_equal(out.data, "before");
	m.type = GRETA_MSG_NONE;
	assert_int_equal(greta_msg_encode(&m, &out, &e), -1);
	greta_msg_release(&m);
	m = event_of("{}", "", 0);
	m.event->bytes = greta_alloc(GRETA_FRAME_BYTES_MAX + 1);
	m.event->n_bytes = GRETA_FRAME_BYTES_MAX + 1;
	assert_int_equal(greta_msg_encode(&m, &out, &e), -1);
	m.event->n_bytes--;
	assert_int_equal(greta_msg_encode(&m, &out, &e), 0);
	greta_msg_release(&m);
}

static void test_msg__finds_the_magic_line(void **state)
{
	static const char text[] = "Welcome!\nGRETA-AGENT other 1\n\x1b[0mGRETA-AGENT n0nce 3\r\n{\"type\"";
	struct greta_err e = {0};
	cleanup_buf struct greta_buf noise = {0};
	int protocol = 0;
	ssize_t used = greta_msg_find_magic(text, sizeof(text) - 1, "n0nce", &protocol, &e);

	(void)state;
	assert_int_equal(protocol, 3);
	assert_string_equal(text + used, "{\"type\"");
	for (ssize_t n = 0; n < used; n++)
		assert_int_equal(greta_msg_find_magic(text, (size_t)n, "n0nce", &protocol, &e), 0);
	assert_int_equal(greta_msg_find_magic("GRETA-AGENT n x\n", 16, "n", &protocol, &e), -1);
	assert_non_null(strstr(e.text, "names no protocol: GRETA-AGENT n x"));
	memset(greta_buf_reserve(&noise, GRETA_FRAME_MAX), '\x1b', GRETA_FRAME_MAX);
	assert_int_equal(greta_msg_find_magic(noise.data, GRETA_FRAME_MAX, "n", &protocol, &e), -1);
	assert_non_null(strstr(e.text, "no agent came"));
	assert_null(strchr(e.text, '\x1b'));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_msg__start_round_trip),
		cmocka_unit_test(test_msg__start_of_a_printed_spec_is_the_same),
		cmocka_unit_test(test_msg__every_type_round_trips),
		cmocka_unit_test(test_msg__answers_keep_their_code),
		cmocka_unit_test(test_msg__facts_round_trip),
		cmocka_unit_test(test_msg__end_keeps_unknown_unknown),
		cmocka_unit_test(test_msg__end_round_trip),
		cmocka_unit_test(test_msg__event_carries_bytes),
		cmocka_unit_test(test_msg__long_message_travels_behind_its_line),
		cmocka_unit_test(test_msg__frames_in_any_pieces),
		cmocka_unit_test(test_msg__refuses_garbage),
		cmocka_unit_test(test_msg__refuses_long_lines_at_once),
		cmocka_unit_test(test_msg__does_not_send_what_does_not_fit),
		cmocka_unit_test(test_msg__finds_the_magic_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
