#include "tests/unit/unit.h"

#include "agent/kernel_lines.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/mem.h"
#include <string.h>

static char ours_pci[] = "0000:1b:00.0";
static const struct greta_device ours = {.pci = ours_pci};

static void read_log(const char *file, struct greta_buf *out)
{
	struct greta_err e = {0};
	char *path = greta_format(GRETA_FIXTURES "/kernel_log/%s", file);
	assert_ok(greta_fs_read(path, 1 << 20, out, &e));
	free(path);
}

static void expect(const char *log, enum greta_class class_, const char *line_has)
{
	struct kernel_finding f;
	kernel_lines_read(log, &ours, 1, &f);
	if (f.class_ != class_ || (line_has && !strstr(f.line, line_has)))
		fail_msg("%s, not %s: \"%s\" in\n%.200s", greta_class_name(f.class_), greta_class_name(class_), f.line, log);
}

static const struct {
	const char *file;
	enum greta_class class_;
	const char *line_has;
} logs[] = {
	{"ras_athub.txt", GRETA_CLASS_RAS, "ERREVENT_ATHUB_INTERRUPT"},
	{"ras_umc.txt", GRETA_CLASS_RAS, "STATUS=0xbc20"},
	{"ras_poison.txt", GRETA_CLASS_RAS, "Poison is created"},
	{"ras_corrected.txt", GRETA_CLASS_NONE, NULL},
	{"collateral_reset.txt", GRETA_CLASS_COLLATERAL, "0000:dd:00.0"},
	{"own_reset.txt", GRETA_CLASS_QUEUE_HANG, "qcm fence"},
	{"page_fault_elsewhere.txt", GRETA_CLASS_NONE, NULL},
	{"xid_31.txt", GRETA_CLASS_MEMORY_FAULT, "): 31,"},
	{"xid_79.txt", GRETA_CLASS_DEVICE_LOST, "off the bus"},
	{"xid_95.txt", GRETA_CLASS_RAS, "Uncontained"},
	{"xid_43.txt", GRETA_CLASS_NONE, NULL},
};

static void test_kernel_lines__played_back(void **state)
{
	(void)state;
	for (size_t i = 0; i < GRETA_COUNT(logs); i++) {
		struct greta_buf log = {0};
		read_log(logs[i].file, &log);
		expect(log.data, logs[i].class_, logs[i].line_has);
		greta_buf_release(&log);
	}
}

static void test_kernel_lines__whose_gpu(void **state)
{
	struct kernel_finding f;
	struct greta_device sibling = {.pci = (char[]){"0000:DD:00.0"}}, nameless = {0};
	struct greta_buf log = {0};
	(void)state;
	read_log("collateral_reset.txt", &log);
	kernel_lines_read(log.data, &sibling, 1, &f); /* its own error, and so its own failure */
	assert_int_equal(f.class_, GRETA_CLASS_QUEUE_HANG);
	kernel_lines_read(log.data, &nameless, 1, &f); /* which is ours is not known: then all are */
	assert_int_equal(f.class_, GRETA_CLASS_QUEUE_HANG);
	kernel_lines_read(log.data, NULL, 0, &f);
	assert_int_equal(f.class_, GRETA_CLASS_COLLATERAL);
	expect("amdgpu: qcm fence wait loop timeout expired\n", GRETA_CLASS_QUEUE_HANG, NULL);
	expect("amdgpu 0000:1b:00.0: amdgpu: GPU reset begin!\n", GRETA_CLASS_QUEUE_HANG, "reset begin");
	expect("amdgpu 0000:1b:00.0: amdgpu: GPU reset begin!\namdgpu 0000:1b:00.0: device lost from bus!", GRETA_CLASS_DEVICE_LOST,
	       "lost");
	greta_buf_release(&log);
}

/* Cut anywhere, or with any byte changed: a class at most, never a line that is not there. */
static void test_kernel_lines__mutated(void **state)
{
	unsigned seed = 7;
	(void)state;
	expect("", GRETA_CLASS_NONE, NULL);
	expect("\n\n\n", GRETA_CLASS_NONE, NULL);
	for (size_t i = 0; i < GRETA_COUNT(logs); i++) {
		struct greta_buf log = {0};
		read_log(logs[i].file, &log);
		for (size_t cut = 0; cut < log.len; cut++) {
			struct kernel_finding f;
			char *text = greta_strndup(log.data, log.len - cut);
			seed = seed * 1664525 + 1013904223;
			text[(seed >> 8) % (log.len - cut)] = (char)(1 + (seed >> 24) % 255);
			kernel_lines_read(text, &ours, 1, &f);
			assert_true((f.class_ == GRETA_CLASS_NONE) == (f.line[0] == '\0'));
			assert_non_null(strstr(text, f.line));
			free(text);
		}
		greta_buf_release(&log);
	}
}

static void test_kernel_lines__a_long_line_is_cut(void **state)
{
	char line[1000];
	struct kernel_finding f;
	(void)state;
	memset(line, 'x', sizeof line - 1);
	line[sizeof line - 1] = '\0';
	memcpy(line, "Failed to evict", 15);
	kernel_lines_read(line, &ours, 1, &f);
	assert_int_equal(strlen(f.line), sizeof f.line - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kernel_lines__played_back),
		cmocka_unit_test(test_kernel_lines__whose_gpu),
		cmocka_unit_test(test_kernel_lines__mutated),
		cmocka_unit_test(test_kernel_lines__a_long_line_is_cut),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
