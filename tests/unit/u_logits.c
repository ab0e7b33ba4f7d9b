/* The engine against reference logits and greedy continuations of tiny models (../shared/data/gguf, its README tells how
 * they were made). */
#include "tests/unit/unit.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/mem.h"
#include "base/sha256.h"
#include "base/str.h"
#include "engine/greta_engine.h"
#include "schemas/json.h"
#include <dirent.h>
#include <math.h>
#include <string.h>

#define DATA GRETA_SHARED_DATA "/gguf/"

/* Largest error over the row's standard deviation. Measured here: float32 2e-5 at worst (Q6_K), half KV 3e-3. */
#define F32_LIMIT 1e-3
#define KV_F16_LIMIT 1e-2
#define FAST_LIMIT 0.2

static struct greta_err e;

struct setup {
	struct greta_engine_params engine;
	struct greta_session_params session;
	double limit;
};

struct tokens {
	uint32_t *id;
	size_t n;
};

static struct tokens tokens_of(const struct greta_json_val *array)
{
	struct tokens t = {.id = malloc((greta_json_size(array) + 1) * sizeof *t.id)};
	int64_t id;

	for (const struct greta_json_val *v = greta_json_first(array); v; v = greta_json_next(v)) {
		assert_int_equal(greta_json_i64(v, &id), 0);
		t.id[t.n++] = (uint32_t)id;
	}
	return t;
}

static double number(const struct greta_json_val *object, const char *key)
{
	double x = NAN;
	assert_int_equal(greta_json_f64(greta_json_get(object, key), &x), 0);
	return x;
}

static const char *text(const struct greta_json_val *object, const char *key)
{
	const char *s = NULL;
	assert_int_equal(greta_json_str(greta_json_get(object, key), &s), 0);
	return s;
}

static double error_of(const float *got, const float *want, size_t n, double std)
{
	double worst = 0.0;

	for (size_t i = 0; i < n; i++) {
		double d = fabs((double)got[i] - (double)want[i]) / std;
		worst = d <= worst ? worst : d; /* NaN sticks */
	}
	return worst;
}

static bool have_data(void)
{
	if (access(DATA "ref/long.json", R_OK) == 0)
		return true;
	print_message("skipped: no reference data in " DATA "\n");
	return false;
}

static struct greta_engine *open_model(const char *model, const struct setup *s)
{
	cleanup_free char *path = greta_format(DATA "%s", model);
	struct greta_engine_params params = s->engine;

	params.backend = "cpu"; /* also where there is a GPU */
	struct greta_engine *eng = greta_engine_open(path, &params, &e);

	if (!eng)
		fail_msg("%s", e.text);
	return eng;
}

static struct greta_session *open_session(struct greta_engine *eng, const struct setup *s, uint32_t n_ctx)
{
	struct greta_session_params p = s->session;

	p.n_ctx = n_ctx;
	struct greta_session *session = greta_session_create(eng, &p, &e);
	if (!session)
		fail_msg("%s", e.text);
	return session;
}

/* --- one reference file ------------------------------------------------------------------------------------------- */

static void check_prefills(struct greta_session *session, const struct greta_json_val *root, const float *rows, size_t n_vocab,
			   const struct setup *s)
{
	for (const struct greta_json_val *p = greta_json_first(greta_json_get(root, "prefill")); p; p = greta_json_next(p)) {
		struct tokens t = tokens_of(greta_json_get(p, "tokens"));
		const float *want = rows + (size_t)number(p, "row") * n_vocab;
		greta_session_reset(session);
		assert_ok(greta_session_eval(session, t.id, t.n, &e));
		double error = error_of(greta_session_logits(session), want, n_vocab, number(p, "std"));
		if (!(error < s->limit))
			fail_msg("%s: %zu tokens, attention %s: error %g of the row's deviation, limit %g", text(root, "model"), t.n,
				 greta_session_attn(session), error, s->limit);
		free(t.id);
	}
}

/* A token may differ rightly where its margin is small, and all after it. */
static void check_greedy(struct greta_session *session, const struct greta_json_val *root, size_t n_vocab, double margin)
{
	for (const struct greta_json_val *g = greta_json_first(greta_json_get(root, "greedy")); g; g = greta_json_next(g)) {
		struct tokens t = tokens_of(greta_json_get(g, "tokens")), next = tokens_of(greta_json_get(g, "next"));
		const struct greta_json_val *m = greta_json_first(greta_json_get(g, "margin"));
		greta_session_reset(session);
		assert_ok(greta_session_eval(session, t.id, t.n, &e));
		for (size_t i = 0; i < next.n; i++, m = greta_json_next(m)) {
			double here;
			uint32_t token = greta_argmax(greta_session_logits(session), n_vocab);
			assert_int_equal(greta_json_f64(m, &here), 0);
			if (here < margin)
				break;
			if (token != next.id[i])
				fail_msg("%s: greedy token %zu after %zu: %u, expected %u (margin %g)", text(root, "model"), i, t.n,
					 token, next.id[i], here);
			assert_ok(greta_session_eval(session, &token, 1, &e));
		}
		free(t.id);
		free(next.id);
	}
}

static void check_file(const char *ref, const struct setup *s, double greedy_margin)
{
	cleanup_free char *path = greta_format(DATA "ref/%s", ref);
	cleanup_buf struct greta_buf rows = {0};
	struct greta_json *j = greta_json_load(path, 64 << 20, &e);

	if (!j)
		fail_msg("%s", e.text);
	const struct greta_json_val *root = greta_json_root(j);
	cleanup_free char *rows_path = greta_format(DATA "ref/%s", text(root, "logits_file"));
	assert_ok(greta_fs_read(rows_path, 256 << 20, &rows, &e));
	struct greta_engine *eng = open_model(text(root, "model"), s);
	struct greta_session *session = open_session(eng, s, 400);
	check_prefills(session, root, (const float *)(const void *)rows.data, greta_engine_n_vocab(eng), s);
	if (greedy_margin > 0)
		check_greedy(session, root, greta_engine_n_vocab(eng), greedy_margin);
	greta_session_destroy(session);
	greta_engine_close(eng);
	greta_json_destroy(j);
}

static int check_all(const struct setup *s, double greedy_margin)
{
	DIR *dir = opendir(DATA "ref");
	int n = 0;

	assert_non_null(dir);
	for (struct dirent *d; (d = readdir(dir));) {
		if (!greta_str_ends(d->d_name, ".json") || greta_str_eq(d->d_name, "long.json"))
			continue;
		check_file(d->d_name, s, greedy_margin);
		n++;
	}
	closedir(dir);
	return n;
}

/* --- tests -------------------------------------------------------------------------------------------------------- */

static void test_logits__float32(void **state)
{
	const struct setup s = {.engine = {.precision = GRETA_PRECISION_F32}, .limit = F32_LIMIT};

	(void)state;
	if (have_data())
		assert_true(check_all(&s, 0.05) >= 19);
}

static void test_logits__float32_every_instruction_set(void **state)
{
	static const char *const isas[] = {"generic", "avx2"};

	(void)state;
	for (size_t i = 0; have_data() && i < 2; i++) {
		const struct setup s = {.engine = {.backend = "cpu", .precision = GRETA_PRECISION_F32, .isa = isas[i]}, .limit = F32_LIMIT};
		struct greta_engine *eng = greta_engine_open(DATA "models/mha-f32.gguf", &s.engine, &e);
		if (!eng && e.code == GRETA_EUNSUPPORTED)
			continue; /* this processor lacks it */
		greta_engine_close(eng);
		check_all(&s, 0);
	}
}

static void test_logits__float32_every_attention(void **state)
{
	static const char *const attns[] = {"flash_v2_naive", "q_lds", "q_lds_v2", "reference"};

	(void)state;
	for (size_t i = 0; have_data() && i < 4; i++) {
		const struct setup s = {.engine = {.precision = GRETA_PRECISION_F32}, .session = {.attn = attns[i], .n_batch = 70},
					.limit = F32_LIMIT};
		check_all(&s, 0);
	}
}

static void test_logits__half_kv(void **state)
{
	const struct setup s = {.engine = {.precision = GRETA_PRECISION_F32}, .session = {.kv = GRETA_KV_F16},
				.limit = KV_F16_LIMIT};

	(void)state;
	if (have_data())
		check_all(&s, 0);
}

static void test_logits__fast(void **state)
{
	const struct setup s = {.limit = FAST_LIMIT};

	(void)state;
	if (have_data())
		check_all(&s, 0.5);
}

/* --- long prefills ------------------------------------------------------------------------------------------------ */

/* The rule that long.json gives for its token ids. */
static uint32_t *rule_tokens(const struct greta_json_val *c, size_t n, size_t n_vocab)
{
	uint32_t *t = malloc(n * sizeof *t);
	char hex[GRETA_SHA256_HEX + 1];

	t[0] = 1;
	for (uint64_t i = 1; i < n; i++)
		t[i] = (uint32_t)(3 + (i * i * 31 + i * 17 + 5) % (n_vocab - 3));
	assert_string_equal(greta_sha256_of(t, n * sizeof *t, hex), text(c, "tokens_sha256_le_i32"));
	return t;
}

static void check_long(const struct greta_json_val *c, const struct setup *s)
{
	cleanup_free char *model = greta_format("models/%s.gguf", text(c, "model"));
	cleanup_free char *rows_path = greta_format(DATA "ref/%s", text(c, "logits_file"));
	cleanup_buf struct greta_buf rows = {0};
	size_t n = (size_t)number(c, "n");
	struct greta_engine *eng = open_model(model, s);
	size_t n_vocab = greta_engine_n_vocab(eng);
	struct greta_session *session = open_session(eng, s, (uint32_t)n);
	uint32_t *tokens = rule_tokens(c, n, n_vocab);

	assert_ok(greta_fs_read(rows_path, 1 << 20, &rows, &e));
	assert_int_equal(rows.len, n_vocab * sizeof(float));
	assert_ok(greta_session_eval(session, tokens, n, &e));
	double error = error_of(greta_session_logits(session), (const float *)(const void *)rows.data, n_vocab, number(c, "std"));
	if (!(error < s->limit))
		fail_msg("%s, %zu tokens: error %g of the row's deviation, limit %g", model, n, error, s->limit);
	free(tokens);
	greta_session_destroy(session);
	greta_engine_close(eng);
}

static void test_logits__long_prefills(void **state)
{
	const struct setup s = {.engine = {.precision = GRETA_PRECISION_F32}, .limit = F32_LIMIT};

	(void)state;
	if (!have_data())
		return;
	struct greta_json *j = greta_json_load(DATA "ref/long.json", 1 << 20, &e);
	assert_non_null(j);
	for (const struct greta_json_val *c = greta_json_first(greta_json_root(j)); c; c = greta_json_next(c))
		check_long(c, &s);
	greta_json_destroy(j);
}

/* --- determinism -------------------------------------------------------------------------------------------------- */

static void prefill_and_decode(const char *model, const struct setup *s, float **out, size_t *n_vocab)
{
	struct greta_engine *eng = open_model(model, s);
	struct greta_session *session = open_session(eng, s, 210);
	uint32_t tokens[200];

	*n_vocab = greta_engine_n_vocab(eng);
	*out = malloc(2 * *n_vocab * sizeof **out);
	greta_engine_synthetic(eng, 5, tokens, 200);
	assert_ok(greta_session_eval(session, tokens, 200, &e));
	memcpy(*out, greta_session_logits(session), *n_vocab * sizeof **out);
	for (int i = 0; i < 5; i++)
		assert_ok(greta_session_eval(session, tokens + i, 1, &e));
	memcpy(*out + *n_vocab, greta_session_logits(session), *n_vocab * sizeof **out);
	greta_session_destroy(session);
	greta_engine_close(eng);
}

static void check_same_bits(const char *model, const char *attn, enum greta_precision precision)
{
	static const struct {
		int n_threads;
		uint32_t n_batch;
	} ways[] = {{1, 200}, {1, 1}, {2, 64}, {3, 17}, {5, 130}, {2, 199}};
	float *first = NULL, *now;
	size_t n_vocab;

	for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
		const struct setup s = {
			.engine = {.deterministic = true, .n_threads = ways[i].n_threads, .precision = precision},
			.session = {.attn = attn, .n_batch = ways[i].n_batch},
		};
		prefill_and_decode(model, &s, &now, &n_vocab);
		if (first && memcmp(first, now, 2 * n_vocab * sizeof *now) != 0)
			fail_msg("%s, attention %s: other bits with %d threads and blocks of %u", model, attn, ways[i].n_threads,
				 ways[i].n_batch);
		free(first);
		first = now;
	}
	free(first);
}

static void test_logits__deterministic(void **state)
{
	static const char *const models[] = {"models/gqa-f16-tied-eps.gguf", "models/gqa-q8_0.gguf", "models/gqa-q4_k_m.gguf",
					     "models/stories260K-q6k-fallback.gguf"};
	static const char *const attns[] = {"fast", "flash_v2_naive", "q_lds", "q_lds_v2"};

	(void)state;
	for (size_t i = 0; have_data() && i < 4; i++) {
		check_same_bits(models[i], attns[i], GRETA_PRECISION_FAST);
		check_same_bits(models[i], "fast", GRETA_PRECISION_F32);
	}
}

/* eval_all must hand out what eval gives for each prefix. */
static int keep_row(void *arg, uint64_t i, const float *logits)
{
	memcpy((float *)arg + i * 512, logits, 512 * sizeof(float));
	return 0;
}

static void test_logits__of_all_tokens(void **state)
{
	const struct setup s = {.engine = {.precision = GRETA_PRECISION_F32}, .session = {.n_batch = 16}};

	(void)state;
	if (!have_data())
		return;
	struct greta_engine *eng = open_model("models/gqa-q8_0.gguf", &s);
	struct greta_session *session = open_session(eng, &s, 50);
	float *rows = malloc(50 * 512 * sizeof *rows);
	uint32_t tokens[50];
	greta_engine_synthetic(eng, 1, tokens, 50);
	assert_ok(greta_session_eval_all(session, tokens, 50, keep_row, rows, &e));
	for (size_t n = 1; n <= 50; n += 7) {
		greta_session_reset(session);
		assert_ok(greta_session_eval(session, tokens, n, &e));
		assert_true(error_of(greta_session_logits(session), rows + (n - 1) * 512, 512, 1.0) < 1e-4);
	}
	free(rows);
	greta_session_destroy(session);
	greta_engine_close(eng);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_logits__float32),
		cmocka_unit_test(test_logits__float32_every_instruction_set),
		cmocka_unit_test(test_logits__float32_every_attention),
		cmocka_unit_test(test_logits__half_kv),
		cmocka_unit_test(test_logits__fast),
		cmocka_unit_test(test_logits__long_prefills),
		cmocka_unit_test(test_logits__deterministic),
		cmocka_unit_test(test_logits__of_all_tokens),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
