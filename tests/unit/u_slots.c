#include "tests/unit/unit.h"

#include "agent/quarantine.h"
#include "agent/slots.h"
#include "base/mem.h"
#include "base/str.h"
#include "tests/unit/agent_trees.h"
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>

static struct agent_paths paths_of(const char *root)
{
	return (struct agent_paths){
		.slots = greta_format("%s/slots", root),
		.sys = greta_format("%s/sys", root),
		.proc = greta_format("%s/proc", root),
		.dev = greta_format("%s/dev", root),
	};
}

static struct greta_spec spec_of(enum greta_slot_kind kind, int64_t n)
{
	struct greta_spec spec = {.slot = kind, .cpus = n, .n_gpus = n};
	greta_uuid_new(spec.attempt);
	return spec;
}

static void expect_busy(struct slots *s, const struct agent_paths *p, const struct greta_spec *spec, const char *holder)
{
	struct greta_err e = {0};
	assert_fails(slots_take(s, p, spec, &e), GRETA_EBUSY);
	if (!strstr(e.text, holder))
		fail_msg("\"%s\" does not name %s", e.text, holder);
	assert_int_equal(s->n_fds, 0);
}

static void test_slots__node_excludes_cpu_and_gpu(void **state)
{
	struct greta_err e = {0};
	struct agent_paths p = paths_of(*state);
	struct slots node = {0}, cpu = {0}, gpu = {0};
	struct greta_spec node_spec = spec_of(GRETA_SLOT_NODE, 0), cpu_spec = spec_of(GRETA_SLOT_CPU, 1);
	struct greta_spec gpu_spec = spec_of(GRETA_SLOT_GPU, 2);
	tree_mi300x(*state, 8);
	assert_ok(slots_prepare(p.slots, &e));
	assert_ok(slots_take(&gpu, &p, &gpu_spec, &e));
	assert_int_equal(gpu.devices.n, 2);
	assert_string_equal(gpu.visible.items[0], "ROCR_VISIBLE_DEVICES=GPU-8af705259683161c,GPU-8af705259683272d");
	assert_ok(slots_take(&cpu, &p, &cpu_spec, &e));
	assert_true(cpu.bind_cpus && CPU_COUNT(&cpu.cpus) == 1);
	expect_busy(&node, &p, &node_spec, cpu_spec.attempt);
	slots_release(&cpu);
	expect_busy(&node, &p, &node_spec, gpu_spec.attempt);
	expect_busy(&cpu, &p, &cpu_spec, node_spec.attempt); /* somebody wants the whole node: nothing new begins */
	slots_release(&gpu);
	assert_ok(slots_take(&node, &p, &node_spec, &e));
	assert_int_equal(node.devices.n, 8);
	expect_busy(&cpu, &p, &cpu_spec, node_spec.attempt);
	expect_busy(&gpu, &p, &gpu_spec, node_spec.attempt);
	slots_release(&node);
	assert_ok(slots_take(&cpu, &p, &cpu_spec, &e));
	slots_release(&cpu);
	agent_paths_release(&p);
}

static void test_slots__gpus_by_number_and_by_name(void **state)
{
	struct greta_err e = {0};
	struct agent_paths p = paths_of(*state);
	struct slots all[4] = {0}, more = {0};
	struct greta_spec two = spec_of(GRETA_SLOT_GPU, 2), named = spec_of(GRETA_SLOT_GPU, 1), none = spec_of(GRETA_SLOT_GPU, 9);
	tree_mi300x(*state, 8);
	assert_ok(slots_prepare(p.slots, &e));
	assert_fails(slots_take(&more, &p, &none, &e), GRETA_EUNSUPPORTED);
	for (int i = 0; i < 4; i++)
		assert_ok(slots_take(&all[i], &p, &two, &e));
	assert_string_not_equal(all[0].devices.items[0], all[3].devices.items[0]);
	expect_busy(&more, &p, &two, two.attempt);
	slots_release(&all[2]);
	greta_strs_addf(&named.devices, "GPU-%016llx", (unsigned long long)TREE_UNIQUE_ID(0));
	expect_busy(&more, &p, &named, two.attempt); /* others are free, but not this one */
	slots_release(&all[0]);
	assert_ok(slots_take(&more, &p, &named, &e));
	assert_string_equal(more.devices.items[0], "GPU-8af705259683161c");
	slots_release(&more), slots_release(&all[1]), slots_release(&all[3]);
	greta_strs_release(&named.devices);
	agent_paths_release(&p);
}

static void test_slots__a_lock_on_the_device_counts(void **state)
{
	struct greta_err e = {0};
	struct agent_paths p = paths_of(*state);
	struct slots s = {0};
	struct greta_spec one = spec_of(GRETA_SLOT_GPU, 1);
	char path[1100];
	tree_h100(*state, 1);
	assert_ok(slots_prepare(p.slots, &e));
	snprintf(path, sizeof path, "%s/nvidia0", p.dev);
	int fd = open(path, O_RDWR);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	expect_busy(&s, &p, &one, "nvidia0");
	close(fd);
	assert_ok(slots_take(&s, &p, &one, &e));
	assert_non_null(strstr(s.visible.items[0], "CUDA_VISIBLE_DEVICES=GPU-5fd4f087"));
	slots_release(&s);
	unlink(path);
	assert_fails(slots_take(&s, &p, &one, &e), GRETA_ENOENT);
	assert_non_null(strstr(e.text, "render or video"));
	agent_paths_release(&p);
}

static void test_slots__quarantine(void **state)
{
	struct greta_err e = {0};
	struct agent_paths p = paths_of(*state);
	struct slots s = {0}, other = {0};
	struct greta_strs names = {0};
	struct greta_spec one = spec_of(GRETA_SLOT_GPU, 1), cpu = spec_of(GRETA_SLOT_CPU, 1), two = spec_of(GRETA_SLOT_GPU, 2);
	tree_mi300x(*state, 2);
	assert_ok(slots_prepare(p.slots, &e));
	assert_ok(quarantine_put(p.slots, "gpu-GPU-8af705259683161c", "its probe hung", &e));
	assert_ok(slots_take(&s, &p, &one, &e)); /* the other one */
	assert_string_equal(s.devices.items[0], "GPU-8af705259683272d");
	expect_busy(&other, &p, &one, one.attempt); /* can be waited for */
	assert_fails(slots_take(&other, &p, &two, &e), GRETA_EUNSUPPORTED);
	assert_non_null(strstr(e.text, "its probe hung"));
	slots_release(&s);
	assert_fails(quarantine_release(p.slots, "../node", &e), GRETA_EINVAL);
	assert_fails(quarantine_release(p.slots, "gpu-x", &e), GRETA_ENOENT);
	assert_ok(quarantine_release(p.slots, "gpu-GPU-8af705259683161c", &e));
	assert_ok(slots_take(&s, &p, &two, &e));
	slots_release(&s);
	assert_ok(quarantine_put(p.slots, "node", "processes are left", &e));
	assert_fails(slots_take(&s, &p, &cpu, &e), GRETA_EUNSUPPORTED);
	assert_non_null(strstr(e.text, "processes are left"));
	quarantine_list(p.slots, &names);
	assert_int_equal(names.n, 1);
	greta_strs_release(&names);
	agent_paths_release(&p);
}

static void test_slots__too_many_cpus(void **state)
{
	struct greta_err e = {0};
	struct agent_paths p = paths_of(*state);
	struct slots s = {0}, all = {0};
	struct greta_spec much = spec_of(GRETA_SLOT_CPU, 100000), every = spec_of(GRETA_SLOT_CPU, 0);
	assert_ok(slots_prepare(p.slots, &e));
	assert_fails(slots_take(&s, &p, &much, &e), GRETA_EUNSUPPORTED);
	assert_ok(slots_take(&all, &p, &every, &e));
	assert_false(all.bind_cpus);
	struct greta_spec one = spec_of(GRETA_SLOT_CPU, 1);
	expect_busy(&s, &p, &one, every.attempt);
	slots_release(&all);
	agent_paths_release(&p);
}

/* The lock lives with whoever has inherited the descriptor. */
static void test_slots__are_inherited(void **state)
{
	struct greta_err e = {0};
	struct agent_paths p = paths_of(*state);
	struct slots s = {0}, other = {0};
	struct greta_spec node = spec_of(GRETA_SLOT_NODE, 0), next = spec_of(GRETA_SLOT_NODE, 0);
	int ends[2];
	char byte;
	assert_ok(slots_prepare(p.slots, &e));
	assert_ok(slots_take(&s, &p, &node, &e));
	assert_int_equal(pipe(ends), 0);
	pid_t child = fork();
	if (child == 0) {
		close(ends[1]);
		_exit(read(ends[0], &byte, 1) == 0 ? 0 : 1);
	}
	slots_release(&s);
	expect_busy(&other, &p, &next, node.attempt);
	close(ends[1]);
	waitpid(child, NULL, 0);
	assert_ok(slots_take(&other, &p, &next, &e));
	slots_release(&other);
	close(ends[0]);
	agent_paths_release(&p);
}

static void test_slots__the_folder_is_for_all_users(void **state)
{
	struct greta_err e = {0};
	struct agent_paths p = paths_of(*state);
	struct slots s = {0};
	struct slots_holder *holders = NULL;
	struct greta_spec cpu = spec_of(GRETA_SLOT_CPU, 1);
	struct stat st;
	char path[1100];
	umask(077);
	assert_ok(slots_prepare(p.slots, &e));
	assert_ok(slots_take(&s, &p, &cpu, &e));
	assert_int_equal(stat(p.slots, &st), 0);
	assert_int_equal(st.st_mode & 07777, 01777);
	snprintf(path, sizeof path, "%s/node", p.slots);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0666);
	size_t n = slots_holders(p.slots, &holders), held = 0;
	for (size_t i = 0; i < n; i++)
		if (holders[i].held && strncmp(holders[i].name, "cpu-", 4) == 0) {
			assert_string_equal(holders[i].attempt, cpu.attempt);
			assert_int_equal(holders[i].pid, getpid());
			held++;
		}
	assert_int_equal(held, 1);
	slots_release(&s);
	unlink(path);
	assert_int_equal(symlink("/etc/passwd", path), 0); /* somebody else's trick */
	assert_true(slots_take(&s, &p, &cpu, &e) < 0);
	free(holders);
	agent_paths_release(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, unit_tmp_create, unit_tmp_remove)
		T(test_slots__node_excludes_cpu_and_gpu),
		T(test_slots__gpus_by_number_and_by_name),
		T(test_slots__a_lock_on_the_device_counts),
		T(test_slots__quarantine),
		T(test_slots__too_many_cpus),
		T(test_slots__are_inherited),
		T(test_slots__the_folder_is_for_all_users),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
