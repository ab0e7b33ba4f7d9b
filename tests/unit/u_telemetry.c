#include "tests/unit/db_help.h"

#include "db/columns.h"
#include "db/telemetry.h"
#include <float.h>

/* ---- the column code */

static void round_trip(const int64_t *t_ns, const double *values, size_t n, size_t m)
{
	struct greta_buf block = {0};
	struct columns c;

	columns_encode(t_ns, values, n, m, &block);
	assert_int_equal(columns_decode(block.data, block.len, &c), 0);
	assert_int_equal(c.n, n);
	assert_int_equal(c.m, m);
	for (size_t i = 0; i < n; i++)
		assert_true(c.t_ns[i] == t_ns[i]);
	for (size_t i = 0; i < n * m; i++) /* to the bit, but for what kind of NAN it is */
		if (isnan(values[i]) ? !isnan(c.values[i]) : memcmp(&values[i], &c.values[i], sizeof(double)) != 0)
			fail_msg("value %zu: %.17g became %.17g", i, values[i], c.values[i]);
	columns_release(&c);
	greta_buf_release(&block);
}

static void test_columns__come_back_to_the_bit(void **state)
{
	static const int64_t t[] = {1770888600000000000, 1770888601000000000, 1770888602000000500,
				    INT64_MIN,		 INT64_MAX,	      0};
	static const double plain[] = {1, 250.5, 77, 250.25, 1e6, 0.001, -3, 0, 12, 99.999, 5, 6};
	static const double odd[] = {M_PI,	DBL_MAX, -DBL_MIN,	     5e-324,  -0.0, 0, INFINITY,
				     -INFINITY, 1e300,	 9007199254740993.0, 1.0 / 3, 1e-7};
	static const double gaps[] = {NAN, 1, NAN, 2, NAN, NAN, NAN, 3.5, NAN, NAN, NAN, M_E};

	(void)state;
	round_trip(t, plain, 6, 2);
	round_trip(t, odd, 6, 2);
	round_trip(t, odd, 4, 3);
	round_trip(t, gaps, 6, 2);
	round_trip(t, gaps, 3, 4);
	round_trip(t, plain, 1, 1);
	round_trip(t, plain, 6, 0);
	round_trip(t, plain, 0, 3);
}

static void test_columns__random_ones_too(void **state)
{
	enum { N = 500, M = 7 };
	static int64_t t[N];
	static double v[N * M];

	(void)state;
	srand(11);
	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < N; i++)
			t[i] = (i ? t[i - 1] : 1770888600000000000) + 100000000 + rand() % 1000;
		for (int i = 0; i < N * M; i++) {
			double kinds[] = {rand() % 500, rand() % 100000 / 100.0, rand() / 7.0, NAN,
					  rand() % 2 ? NAN : 3};

			v[i] = kinds[i % M % 5];
		}
		round_trip(t, v, N, M);
	}
}

static void test_columns__steady_readings_are_small(void **state)
{
	enum { N = 4096 };
	static int64_t t[N];
	static double v[N * 3];
	struct greta_buf block = {0};

	(void)state;
	for (int i = 0; i < N; i++) {
		t[i] = 1770888600000000000 + i * INT64_C(1000000000);
		v[i * 3] = 2100;
		v[i * 3 + 1] = 750.5 + i % 2;
		v[i * 3 + 2] = 66;
	}
	columns_encode(t, v, N, 3, &block);
	assert_true(block.len < N * 5 + 100);
	greta_buf_release(&block);
}

/* Bytes that are no block, or one cut short or changed: refused or read, never worse. */
static void test_columns__damage_is_harmless(void **state)
{
	static const int64_t t[] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
	static const double v[] = {1, NAN, M_PI, 2, 5, M_E, 3, NAN, 1.0 / 3};
	struct greta_buf block = {0};
	struct columns c;

	(void)state;
	columns_encode(t, v, 3, 3, &block);
	for (size_t n = 0; n < block.len; n++)
		assert_int_equal(columns_decode(block.data, n, &c), -1);
	for (size_t i = 0; i < block.len; i++)
		for (int bit = 0; bit < 8; bit++) {
			block.data[i] = (char)(block.data[i] ^ (1 << bit));
			if (!columns_decode(block.data, block.len, &c))
				columns_release(&c);
			block.data[i] = (char)(block.data[i] ^ (1 << bit));
		}
	assert_int_equal(columns_decode("\xff\xff\xff\xff\xff\xff\xff\xff\x7f\xff\xff\xff\x7f", 13, &c), -1);
	greta_buf_release(&block);
}

/* ---- in the database */

static void put(struct help *h, int64_t id, int64_t t, const char *columns, const char *values)
{
	struct greta_err e = {0};
	char detail[256];

	snprintf(detail, sizeof detail, "{\"columns\":[%s],\"rows\":[[%lld,%s]]}", columns, (long long)t, values);
	assert_ok(help_event(h, id, 0, GRETA_EVENT_TELEMETRY, detail, NULL, NULL, &e));
}

static const char dump[] = "SELECT group_concat(t_ns || ' ' || name || ' ' || value, ', ') FROM telemetry";

static void test_telemetry__the_same_before_and_after_sealing(void **state)
{
	static const char whole[] = "1 power 700.5, 1 temp 60.0, 2 power 710.0, 3 power 720.0, 3 temp 62.0, 4 vram 5.0";
	struct help *h = *state;
	int64_t id = help_attempt(h, h->jobs[0]);

	put(h, id, 1, "\"power\",\"temp\"", "700.5,60");
	put(h, id, 2, "\"power\",\"temp\"", "710,null");
	put(h, id, 3, "\"power\",\"temp\"", "720,62");
	put(h, id, 4, "\"vram\"", "5");
	assert_string_equal(help_str(h->db, dump), whole);
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM telemetry_chunk WHERE sealed = 0"), 4);
	help_good(h, id, 1, "a", NULL);
	assert_string_equal(help_str(h->db, dump), whole);
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM telemetry_chunk WHERE sealed = 1"), 2);
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM telemetry_chunk"), 2);
	assert_string_equal(help_str(h->db, "SELECT n || ' ' || min || ' ' || max || ' ' || mean || ' ' || last"
					    " FROM telemetry_stat WHERE name = 'temp'"),
			    "2 60.0 62.0 61.0 62.0");
	assert_string_equal(help_str(h->db, "SELECT mean FROM telemetry_stat WHERE name = 'power'"),
			    "710.166666666667");
}

static int count_rows(void *arg, const struct greta_telemetry *t, struct greta_err *e)
{
	int64_t *n = arg;

	(void)e;
	for (size_t i = 0; i < t->n_rows; i++) {
		assert_true(t->t_ns[i] == *n * 1000);
		assert_true(t->values[i * t->n_columns] == (double)(*n % 97));
		++*n;
	}
	return 0;
}

/* Single readings become chunks of some size while they still come, and summaries come out right over all of them. */
static void test_telemetry__sealed_on_the_way(void **state)
{
	static const char *const columns[] = {"x", "y"};
	struct help *h = *state;
	struct greta_err e = {0};
	struct greta_txn txn = greta_txn_none;
	int64_t id = help_attempt(h, h->jobs[0]), n = 0;

	assert_ok(greta_txn_begin(h->db, &txn, &e));
	for (int64_t i = 0; i < 10000; i++) {
		int64_t t = i * 1000;
		double v[2] = {(double)(i % 97), (double)i};
		struct greta_telemetry row = {.columns = columns, .n_columns = 2, .t_ns = &t, .values = v, .n_rows = 1};

		assert_ok(greta_telemetry_add(h->db, id, &row, &e));
	}
	assert_ok(greta_txn_commit(&txn, &e));
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM telemetry_chunk WHERE sealed = 1"), 2);
	assert_ok(greta_telemetry_seal(h->db, id, &e));
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM telemetry_chunk"), 3);
	assert_ok(greta_telemetry_read(h->db, id, count_rows, &n, &e));
	assert_int_equal(n, 10000);
	assert_int_equal(help_i64(h->db, "SELECT n FROM telemetry_summary WHERE name = 'y'"), 10000);
	assert_float_equal(help_f64(h->db, "SELECT mean FROM telemetry_summary WHERE name = 'y'"), 4999.5, 1e-9);
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM telemetry"), 20000);
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM telemetry WHERE name = 'x' AND value = 96"), 10000 / 97);
}

static void test_telemetry__a_large_batch_is_sealed_at_once(void **state)
{
	enum { N = 5000 };
	static const char *const columns[] = {"x"};
	static int64_t t[N];
	static double v[N];
	const struct greta_telemetry rows = {.columns = columns, .n_columns = 1, .t_ns = t, .values = v, .n_rows = N};
	struct help *h = *state;
	struct greta_err e = {0};
	int64_t id = help_attempt(h, h->jobs[0]);

	assert_ok(greta_telemetry_add(h->db, id, &rows, &e));
	assert_int_equal(help_i64(h->db, "SELECT sealed FROM telemetry_chunk"), 1);
	assert_int_equal(help_i64(h->db, "SELECT n FROM telemetry_summary"), N);
}

static void test_telemetry__damage_is_said(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	struct greta_query *q;
	int64_t id = help_attempt(h, h->jobs[0]), n = 0;

	put(h, id, 1, "\"power\"", "1");
	assert_ok(greta_db_exec(h->db, &e, "UPDATE telemetry_chunk SET columns = '[\"a\",\"b\"]'", ""));
	assert_true(greta_telemetry_read(h->db, id, count_rows, &n, &e) < 0);
	assert_non_null(strstr(e.text, "damaged"));
	q = greta_query_open(h->db, &e, "SELECT * FROM telemetry", "");
	assert_true(greta_query_step(q, &e) < 0);
	assert_non_null(strstr(e.text, "damaged chunk"));
	greta_query_close(q);
	q = greta_query_open(h->db, &e, "SELECT * FROM greta_telemetry('[]', x'00')", "");
	assert_true(greta_query_step(q, &e) < 0);
	greta_query_close(q);
	q = greta_query_open(h->db, &e, "SELECT * FROM greta_telemetry", "");
	assert_true(greta_query_step(q, &e) < 0);
	assert_non_null(strstr(e.text, "needs (columns, data)"));
	greta_query_close(q);
	q = greta_query_open(h->db, &e, "SELECT greta_zstd('text')", "");
	assert_true(greta_query_step(q, &e) < 0);
	assert_non_null(strstr(e.text, "not a compressed chunk"));
	greta_query_close(q);
	assert_int_equal(help_i64(h->db, "SELECT greta_zstd(NULL) IS NULL"), 1);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, help_setup, help_teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_columns__come_back_to_the_bit),
		cmocka_unit_test(test_columns__random_ones_too),
		cmocka_unit_test(test_columns__steady_readings_are_small),
		cmocka_unit_test(test_columns__damage_is_harmless),
		T(test_telemetry__the_same_before_and_after_sealing),
		T(test_telemetry__sealed_on_the_way),
		T(test_telemetry__a_large_batch_is_sealed_at_once),
		T(test_telemetry__damage_is_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
