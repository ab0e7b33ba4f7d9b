/* synth, gguf_write, gguf_check: what is written is what is read, the same everywhere, whole or not at all. */
#include "tests/unit/unit.h"

#include "base/str.h"
#include "engine/gguf_check.h"
#include "engine/gguf_write.h"
#include "engine/model.h"
#include "engine/recipe.h"
#include "engine/synth.h"
#include "engine/synth_normal.h"
#include "engine/tokenizer.h"
#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

static struct synth_spec small(const char *type)
{
	struct synth_spec spec = {
		.shape = {.name = "small",
			  .n_layers = 2,
			  .n_embd = 256,
			  .n_heads = 4,
			  .n_kv_heads = 2,
			  .head_dim = 64,
			  .n_ffn = 512,
			  .n_vocab = 300,
			  .n_ctx = 128,
			  .rope_theta = 10000},
		.type = type,
		.seed = 7,
		.n_threads = 2,
	};
	return spec;
}

static void check_file(const char *path, struct gguf_check *c)
{
	struct greta_err e = {0};
	struct gguf *g = gguf_open(path, &e);
	struct tokenizer *t = g ? tokenizer_create(g, &e) : NULL;
	struct model m;

	if (!t)
		fail_msg("%s", e.text);
	assert_ok(model_bind(&m, g, &e));
	model_release(&m);
	assert_ok(gguf_check_run(c, g, 2, &e));
	for (size_t i = 0; i < c->n_tensors; i++)
		assert_true(c->tensors[i].checked && c->tensors[i].n_not_finite == 0);
	tokenizer_destroy(t);
	gguf_close(g);
}

static void test_synth__every_type_makes_a_sound_model(void **state)
{
	static const char *const types[] = {"F32",  "F16",  "BF16", "Q8_0", "Q4_0",   "Q4_1",  "Q5_0",
					    "Q5_1", "Q4_K", "Q5_K", "Q6_K", "q4_k_m", "Q5_K_M"};
	struct greta_err e = {0};

	(void)state;
	for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
		struct synth_spec spec = small(types[i]);
		struct gguf_check c;
		assert_ok(synth_file(&spec, "m.gguf", NULL, &e));
		check_file("m.gguf", &c);
		gguf_check_release(&c);
	}
}

/* A hash that may not change: models made on two machines, or by two releases, are compared by it. */
static void test_synth__the_same_bytes_everywhere(void **state)
{
	struct synth_spec spec = small("F16");
	struct gguf_check one, four, other;
	struct greta_err e = {0};

	(void)state;
	spec.n_threads = 1;
	assert_ok(synth_file(&spec, "one.gguf", NULL, &e));
	spec.n_threads = 4;
	assert_ok(synth_file(&spec, "four.gguf", NULL, &e));
	spec.seed++;
	assert_ok(synth_file(&spec, "other.gguf", NULL, &e));
	check_file("one.gguf", &one);
	check_file("four.gguf", &four);
	check_file("other.gguf", &other);
	assert_string_equal(one.file_sha256, four.file_sha256);
	assert_string_not_equal(one.tensors_sha256, other.tensors_sha256);
	assert_string_equal(one.metadata_sha256, other.metadata_sha256);
	assert_string_equal(one.tensors_sha256, "86c1be01223b37b4313b95bbc1ca5ee438e12b6e0aa47278a04ecf7f8a3742f7");
	gguf_check_release(&one);
	gguf_check_release(&four);
	gguf_check_release(&other);
}

static void test_synth__values_are_normal_and_by_position(void **state)
{
	enum { N = 1 << 18 };
	float *all = malloc(N * sizeof *all), part[64];
	double sum = 0, squares = 0, fourth = 0;

	(void)state;
	synth_normal(5, 0, N, 0, 1, all);
	for (int i = 0; i < N; i++) {
		sum += (double)all[i];
		squares += (double)all[i] * (double)all[i];
		fourth += pow((double)all[i], 4);
	}
	assert_true(fabs(sum / N) < 0.01 && fabs(squares / N - 1) < 0.02 && fabs(fourth / N - 3) < 0.1);
	synth_normal(5, 64 * 1000, 64, 0, 1, part);
	assert_memory_equal(part, all + 64 * 1000, sizeof part);
	free(all);
}

static void test_synth__the_llama3_kind_has_its_factors_and_vocabulary(void **state)
{
	struct synth_spec spec = small("Q8_0");
	struct greta_err e = {0};
	struct tokenizer_ids ids = {0};

	(void)state;
	spec.shape.bpe = spec.shape.rope_factors = spec.shape.tied = true;
	spec.shape.rope_theta = 500000;
	assert_ok(synth_file(&spec, "m.gguf", NULL, &e));
	struct gguf *g = gguf_open("m.gguf", &e);
	assert_null(gguf_tensor(g, "output.weight"));
	const float *factors = gguf_tensor(g, "rope_freqs.weight")->data;
	assert_true(factors[0] == 1 && factors[31] == 8);
	struct tokenizer *t = tokenizer_create(g, &e);
	assert_ok(tokenizer_encode(t, "ab c", 4, TOKENIZER_BOS, &ids, &e));
	assert_int_equal(ids.id[0], 298);
	tokenizer_ids_release(&ids);
	tokenizer_destroy(t);
	gguf_close(g);
}

static void test_synth__refuses_shapes_that_make_no_model(void **state)
{
	struct greta_err e = {0};
	struct synth_spec spec = small("Q3_X");

	(void)state;
	assert_fails(synth_check(&spec, &e), GRETA_EINVAL);
	assert_true(greta_str_starts(e.text, "--type Q3_X is not known"));
	spec = small("F16"), spec.shape.n_kv_heads = 3;
	assert_fails(synth_check(&spec, &e), GRETA_EINVAL);
	spec = small("F16"), spec.shape.n_vocab = 100;
	assert_fails(synth_check(&spec, &e), GRETA_EINVAL);
	assert_string_equal(e.text, "--vocab is 100, 259 to 4194304 is expected");
	spec = small("F16");
	assert_fails(synth_file(&spec, "/nonexistent/m.gguf", NULL, &e), GRETA_ENOENT);
}

static void test_synth__named_shapes_have_their_known_sizes(void **state)
{
	(void)state;
	assert_int_equal(synth_parameters(synth_shape_named("llama2-7b")), 6738415616);
	assert_int_equal(synth_parameters(synth_shape_named("tinyllama")), 1100048384);
	assert_int_equal(synth_parameters(synth_shape_named("llama3-8b")), 8030261248);
	assert_int_equal(synth_parameters(synth_shape_named("llama3.2-1b")), 1235814400);
	assert_int_equal(synth_parameters(synth_shape_named("llama-0.2b")) / 1000000, 200);
}

/* --- recipe --- */

static const char *type_of(const char *recipe, const char *tensor, uint64_t n_in)
{
	return recipe_type(recipe_named(recipe), tensor, n_in, 16, false)->name;
}

static void test_recipe__mixes_and_fallbacks(void **state)
{
	(void)state;
	assert_string_equal(type_of("Q4_K_M", "output.weight", 4096), "Q6_K");
	assert_string_equal(type_of("Q4_K_M", "blk.0.attn_v.weight", 4096), "Q6_K");
	assert_string_equal(type_of("Q4_K_M", "blk.2.attn_v.weight", 4096), "Q4_K");
	assert_string_equal(type_of("Q4_K_M", "blk.4.ffn_down.weight", 4096), "Q6_K");
	assert_string_equal(type_of("Q4_K_M", "blk.0.attn_q.weight", 4096), "Q4_K");
	assert_string_equal(type_of("Q4_K_M", "blk.0.attn_q.weight", 64), "Q5_0");
	assert_string_equal(type_of("Q6_K", "blk.0.attn_q.weight", 64), "Q8_0");
	assert_string_equal(type_of("Q6_K", "blk.0.ffn_down.weight", 172), "F16");
	assert_null(recipe_named("Q4_K_X"));
}

/* --- gguf_write --- */

static int count_files(void)
{
	DIR *dir = opendir(".");
	struct dirent *entry;
	int n = 0;

	while ((entry = readdir(dir)))
		n += entry->d_name[0] != '.';
	closedir(dir);
	return n;
}

static int empty_folder(void **state)
{
	(void)state;
	return mkdir("empty", 0700) || chdir("empty") ? -1 : 0;
}

static int leave_folder(void **state)
{
	(void)state;
	return chdir("..") || greta_fs_remove_tree("empty", NULL) ? -1 : 0;
}

static void test_gguf_write__nothing_is_there_before_the_commit(void **state)
{
	struct greta_err e = {0};
	struct gguf_write *w = gguf_write_create("m.gguf", &e);

	(void)state;
	gguf_write_u32(w, "k", 1);
	assert_ok(gguf_write_start(w, &e));
	assert_int_equal(access("m.gguf", F_OK), -1);
	gguf_write_destroy(w);
	assert_int_equal(count_files(), 0);
}

static void test_gguf_write__follows_links_and_keeps_the_mode(void **state)
{
	struct greta_err e = {0};
	struct stat st;

	(void)state;
	assert_ok(greta_fs_write_atomic("real.gguf", "old", 3, 0640, &e));
	assert_int_equal(symlink("real.gguf", "link.gguf"), 0);
	struct gguf_write *w = gguf_write_create("link.gguf", &e);
	gguf_write_u32(w, "k", 1);
	assert_ok(gguf_write_start(w, &e));
	assert_ok(gguf_write_commit(w, &e));
	gguf_write_destroy(w);
	assert_int_equal(lstat("link.gguf", &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	assert_int_equal(stat("real.gguf", &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(count_files(), 2);
	struct gguf *g = gguf_open("real.gguf", &e);
	assert_non_null(g);
	gguf_close(g);
}

static int n_too_large;

static void count_too_large(int signo)
{
	(void)signo;
	n_too_large++;
}

/* And takes nothing of what is left, not even for a moment: it has other users, these tests among them. */
static void test_gguf_write__no_room_says_how_much(void **state)
{
	struct greta_err e = {0};
	struct gguf_write *w = gguf_write_create("m.gguf", &e);
	struct rlimit was, few;
	struct statvfs disk;
	bool room;

	(void)state;
	assert_int_equal(statvfs(".", &disk), 0);
	if ((double)disk.f_bavail * (double)disk.f_frsize > 8e12)
		skip(); /* there is */
	gguf_write_tensor(w, "t", quant_traits(QUANT_F32), 2, (uint64_t[]){1 << 20, 1 << 20});
	gguf_write_tensor(w, "u", quant_traits(QUANT_F32), 2, (uint64_t[]){1 << 20, 1 << 20});
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
	few = (struct rlimit){4096, was.rlim_max};
	signal(SIGXFSZ, count_too_large);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &few), 0); /* any attempt to reserve it is a signal */
	room = gguf_write_start(w, &e) == 0;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
	gguf_write_destroy(w);
	assert_int_equal(count_files(), 0);
	assert_false(room);
	assert_int_equal(n_too_large, 0);
	assert_non_null(strstr(e.text, "cannot reserve 8.8 TB in ., where "));
	assert_non_null(strstr(e.text, " are free: No space left on device"));
}

/* --- gguf_check --- */

static void test_gguf_check__finds_the_value_that_is_no_number(void **state)
{
	struct synth_spec spec = small("F32");
	struct greta_err e = {0};
	struct gguf_check c;

	(void)state;
	assert_ok(synth_file(&spec, "m.gguf", NULL, &e));
	struct gguf *g = gguf_open("m.gguf", &e);
	const struct gguf_tensor *t = gguf_tensor(g, "blk.1.ffn_up.weight");
	size_t number = (size_t)(t - gguf_tensor_at(g, 0));
	FILE *f = fopen("m.gguf", "r+");
	fseek(f, (long)t->offset + 5000 * 4, SEEK_SET);
	fwrite("\0\0\xc0\x7f\0\0\x80\xff", 1, 8, f);
	fclose(f);
	gguf_close(g);
	g = gguf_open("m.gguf", &e);
	assert_ok(gguf_check_run(&c, g, 0, &e));
	for (size_t i = 0; i < c.n_tensors; i++)
		assert_int_equal(c.tensors[i].n_not_finite, i == number ? 2 : 0);
	assert_int_equal(c.tensors[number].first, 5000);
	gguf_check_release(&c);
	gguf_close(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_synth__every_type_makes_a_sound_model),
		cmocka_unit_test(test_synth__the_same_bytes_everywhere),
		cmocka_unit_test(test_synth__values_are_normal_and_by_position),
		cmocka_unit_test(test_synth__the_llama3_kind_has_its_factors_and_vocabulary),
		cmocka_unit_test(test_synth__refuses_shapes_that_make_no_model),
		cmocka_unit_test(test_synth__named_shapes_have_their_known_sizes),
		cmocka_unit_test(test_recipe__mixes_and_fallbacks),
		cmocka_unit_test_setup_teardown(test_gguf_write__nothing_is_there_before_the_commit, empty_folder,
						leave_folder),
		cmocka_unit_test_setup_teardown(test_gguf_write__follows_links_and_keeps_the_mode, empty_folder,
						leave_folder),
		cmocka_unit_test_setup_teardown(test_gguf_write__no_room_says_how_much, empty_folder, leave_folder),
		cmocka_unit_test(test_gguf_check__finds_the_value_that_is_no_number),
	};

	return cmocka_run_group_tests(tests, unit_tmp_create, unit_tmp_remove);
}
