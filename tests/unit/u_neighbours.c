#include "tests/unit/unit.h"

#include "agent/neighbours.h"
#include "agent/slots.h"
#include "base/clock.h"
#include "base/mem.h"
#include <string.h>

#define HUNG "6e03ab58-2b1c-4d7e-9d43-0c6f2b7a1111"
#define RESET "amdgpu 0000:05:00.0: amdgpu: GPU reset begin!\n"

/* A node of two GPUs, of which ours is the first. */
struct bed {
	struct greta_device gpus[2];
	struct greta_facts held, there;
	struct klog klog;
	struct neighbours_case c;
};

static void bed_make(struct bed *b)
{
	static char ours[] = "GPU-1", theirs[] = "GPU-5", here[] = "0000:01:00.0", there[] = "0000:05:00.0";
	struct greta_err e = {0};
	*b = (struct bed){.gpus = {{.uuid = ours, .pci = here}, {.uuid = theirs, .pci = there}}};
	assert_ok(slots_prepare("slots", &e));
	b->held = (struct greta_facts){.devices = b->gpus, .n_devices = 1};
	b->there = (struct greta_facts){.devices = b->gpus, .n_devices = 2};
	b->klog.fd = 0; /* it could be read */
	b->c = (struct neighbours_case){"slots", &b->klog, &b->held, &b->there, greta_clock_mono_ns() - 600 * GRETA_NS_PER_S,
					greta_clock_mono_ns()};
}

static void bed_release(struct bed *b)
{
	b->klog.fd = -1;
	klog_close(&b->klog);
}

static void kernel_says(struct bed *b, const char *line, double before_the_end_s)
{
	*GRETA_PUSH(b->klog.marks, b->klog.n_marks, b->klog.cap_marks) =
		(struct klog_mark){b->klog.lines.len, b->c.ended_ns - (int64_t)(before_the_end_s * 1e9)};
	greta_buf_adds(&b->klog.lines, line);
}

static void note_hang(const char *gpu)
{
	struct greta_err e = {0};
	assert_ok(neighbours_note_hang("slots", gpu, HUNG, &e));
}

static void expect(const struct bed *b, enum greta_certainty certainty, const char *slot, const char *attempt)
{
	struct neighbours_blame blame;
	neighbours_blame(&b->c, &blame);
	assert_string_equal(greta_certainty_name(blame.certainty), greta_certainty_name(certainty));
	assert_string_equal(blame.slot, slot);
	assert_string_equal(blame.attempt, attempt);
}

static void test_neighbours__the_kernel_tells_of_another_gpu(void **state)
{
	struct bed b;
	(void)state;
	bed_make(&b);
	expect(&b, GRETA_CERTAINTY_NONE, "", "");
	kernel_says(&b, RESET, 5);
	expect(&b, GRETA_ESTABLISHED, "gpu-GPU-5", "");
	note_hang("GPU-5");
	expect(&b, GRETA_ESTABLISHED, "gpu-GPU-5", HUNG);
	b.held.n_devices = 0; /* whoever holds no GPU can lose none */
	expect(&b, GRETA_CERTAINTY_NONE, "", "");
	bed_release(&b);
}

static void test_neighbours__what_is_its_own(void **state)
{
	struct bed b;
	(void)state;
	bed_make(&b);
	kernel_says(&b, RESET, 300); /* it came through that one */
	expect(&b, GRETA_CERTAINTY_NONE, "", "");
	kernel_says(&b, "amdgpu 0000:01:00.0: amdgpu: [gfxhub] page fault (src_id:0 ring:24)\n", 3); /* it began it itself */
	kernel_says(&b, RESET, 2);
	expect(&b, GRETA_CERTAINTY_NONE, "", "");
	bed_release(&b);
}

static void test_neighbours__a_note_where_the_log_can_t_tell(void **state)
{
	struct bed b;
	(void)state;
	bed_make(&b);
	note_hang("GPU-5");
	expect(&b, GRETA_CERTAINTY_NONE, "", ""); /* the log can be read, and tells of no reset */
	b.klog.fd = -1;
	expect(&b, GRETA_SUPPORTED, "gpu-GPU-5", HUNG);
	b.klog.fd = 0;
	b.c.begun_ns = greta_clock_mono_ns() + GRETA_NS_PER_S; /* what the log said came before it began */
	expect(&b, GRETA_SUPPORTED, "gpu-GPU-5", HUNG);
	b.klog.fd = -1;
	b.c.ended_ns = greta_clock_mono_ns() + (int64_t)(2 * NEIGHBOURS_WINDOW_S * 1e9); /* long after */
	expect(&b, GRETA_CERTAINTY_NONE, "", "");
	b.c.ended_ns = greta_clock_mono_ns();
	b.held.devices = &b.gpus[1]; /* its own GPU */
	expect(&b, GRETA_CERTAINTY_NONE, "", "");
	bed_release(&b);
}

/* Anybody may write there. */
static void test_neighbours__notes_that_make_no_sense(void **state)
{
	static const char *const texts[] = {"", "x", "1 2 3", "0f7c1a52-5c1a-4e0b-9d43-0c6f2b7a1111 99 " HUNG, "../../etc 1 ../../etc"};
	struct bed b;
	(void)state;
	bed_make(&b);
	b.klog.fd = -1;
	for (size_t i = 0; i < GRETA_COUNT(texts); i++) {
		FILE *f = fopen("slots/hangs/GPU-5.0", "we");
		assert_non_null(f);
		fputs(texts[i], f);
		fclose(f);
		expect(&b, GRETA_CERTAINTY_NONE, "", "");
	}
	bed_release(&b);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, unit_tmp_create, unit_tmp_remove)
	const struct CMUnitTest tests[] = {
		T(test_neighbours__the_kernel_tells_of_another_gpu),
		T(test_neighbours__what_is_its_own),
		T(test_neighbours__a_note_where_the_log_can_t_tell),
		T(test_neighbours__notes_that_make_no_sense),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
