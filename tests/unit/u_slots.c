#include "tests/unit/unit.h"

#include "agent/quarantine.h"
#include "agent/slots.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "tests/unit/agent_trees.h"
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
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
	slots_release(&more);
	greta_strs_addf(&named.devices, "GPU-%016llx", (unsigned long long)TREE_UNIQUE_ID(1));
	assert_ok(slots_take(&more, &p, &named, &e)); /* one of two */
	assert_int_equal(more.devices.n, 1);
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

/* A lock and an engine that GRETA did not start: the loser waits, and says for whom. */
static void test_slots__a_foreign_lock_is_named(void **state)
{
	struct greta_err e = {0};
	struct agent_paths p = paths_of(*state);
	struct slots s = {0};
	struct greta_spec one = spec_of(GRETA_SLOT_GPU, 1), node = spec_of(GRETA_SLOT_NODE, 0);
	char path[1100], who[64];
	int locked[2];
	tree_mi300x(*state, 1);
	assert_ok(slots_prepare(p.slots, &e));
	assert_int_equal(pipe(locked), 0);
	pid_t child = fork();
	if (child == 0) {
		snprintf(path, sizeof path, "%s/dri/renderD128", p.dev);
		if (flock(open(path, O_RDWR), LOCK_EX) == 0 && write(locked[1], "x", 1) == 1)
			pause();
		_exit(1);
	}
	assert_int_equal(read(locked[0], path, 1), 1);
	snprintf(who, sizeof who, "locked by pid %d (u_slots) of user ", (int)child);
	expect_busy(&s, &p, &one, who);
	assert_true(s.foreign);
	expect_busy(&s, &p, &node, who);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	assert_ok(slots_take(&s, &p, &one, &e));
	assert_false(s.foreign);
	slots_release(&s);
	close(locked[0]), close(locked[1]);
	agent_paths_release(&p);
}

static void test_slots__a_foreign_process_on_an_amd_gpu(void **state)
{
	struct greta_err e = {0};
	struct agent_paths p = paths_of(*state);
	struct slots s = {0};
	struct greta_spec one = spec_of(GRETA_SLOT_GPU, 1), two = spec_of(GRETA_SLOT_GPU, 2), node = spec_of(GRETA_SLOT_NODE, 0);
	tree_mi300x(*state, 2);
	tree_file(*state, "proc/4711/comm", "python3\n");
	tree_file(*state, "sys/class/kfd/kfd/proc/4711/vram_41000", "17179869184\n");
	tree_file(*state, "sys/class/kfd/kfd/proc/4711/vram_41001", "2097152\n"); /* it only looked at the other one */
	assert_ok(slots_prepare(p.slots, &e));
	assert_ok(slots_take(&s, &p, &one, &e));
	assert_string_equal(s.devices.items[0], "GPU-8af705259683272d");
	slots_release(&s);
	expect_busy(&s, &p, &two, "used by pid 4711 (python3) of user ");
	expect_busy(&s, &p, &node, "used by pid 4711 (python3) of user ");
	tree_file(*state, "sys/class/kfd/kfd/proc/4711/vram_41000", "0\n");
	assert_ok(slots_take(&s, &p, &two, &e));
	slots_release(&s);
	tree_file(*state, "sys/class/kfd/kfd/proc/4711/queues/0/gpuid", "41001\n");
	expect_busy(&s, &p, &two, "gpu-GPU-8af705259683272d, used by pid 4711");
	agent_paths_release(&p);
}

/* By a library of our own that stands in for NVML: fake_nvml.c. */
static void test_slots__a_foreign_process_on_an_nvidia_gpu(void **state)
{
	struct greta_err e = {0};
	struct agent_paths p = paths_of(*state);
	struct slots s = {0};
	struct greta_spec one = spec_of(GRETA_SLOT_GPU, 1);
	tree_h100(*state, 1);
	tree_file(*state, "proc/4712/comm", "vllm\n");
	assert_ok(slots_prepare(p.slots, &e));
	setenv("FAKE_NVML_PID", "4712", 1);
	expect_busy(&s, &p, &one, "used by pid 4712 (vllm) of user ");
	setenv("FAKE_NVML_PID", "0", 1);
	assert_ok(slots_take(&s, &p, &one, &e));
	slots_release(&s);
	setenv("FAKE_NVML_PID", "hang", 1); /* in the driver: nobody waits for it */
	assert_ok(slots_take(&s, &p, &one, &e));
	slots_release(&s);
	unsetenv("FAKE_NVML_PID");
	agent_paths_release(&p);
}

static void test_slots__quarantine(void **state)
{
	struct greta_err e = {0};
	struct agent_paths p = paths_of(*state);
	struct slots s = {0}, other = {0};
	struct greta_strs names = {0};
	struct greta_spec one = spec_of(GRETA_SLOT_GPU, 1), cpu = spec_of(GRETA_SLOT_CPU, 1), two = spec_of(GRETA_SLOT_GPU, 2);
	struct greta_spec whole = spec_of(GRETA_SLOT_NODE, 0);
	struct greta_msg told = {0};
	tree_mi300x(*state, 2);
	assert_ok(slots_prepare(p.slots, &e));
	assert_ok(quarantine_put(p.slots, "gpu-GPU-8af705259683161c", "its probe hung", &e));
	assert_ok(slots_take(&s, &p, &one, &e)); /* the other one */
	assert_string_equal(s.devices.items[0], "GPU-8af705259683272d");
	expect_busy(&other, &p, &one, one.attempt); /* can be waited for */
	assert_fails(slots_take(&other, &p, &two, &e), GRETA_EUNSUPPORTED);
	assert_non_null(strstr(e.text, "its probe hung"));
	slots_release(&s);
	assert_fails(slots_take(&other, &p, &whole, &e), GRETA_EUNSUPPORTED); /* it would use that GPU, too */
	assert_non_null(strstr(e.text, "its probe hung"));
	assert_ok(quarantine_put(p.slots, "gpu-GPU-8af705259683161c", "another reason", &e)); /* the first one stays */
	quarantine_tell(p.slots, &told);
	assert_int_equal(told.n_slots, 1);
	assert_string_equal(told.slots[0].slot, "gpu-GPU-8af705259683161c");
	assert_string_equal(told.slots[0].reason, "its probe hung");
	assert_true(told.slots[0].since_wall_ns > greta_clock_wall_ns() - 60 * GRETA_NS_PER_S);
	greta_msg_release(&told);
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

/* /var/tmp is tidied by age, and its tidiers ask for no lock. */
static void test_slots__a_shared_lock_keeps_its_file_young(void **state)
{
	struct greta_err e = {0};
	struct agent_paths p = paths_of(*state);
	struct slots s = {0};
	struct greta_spec cpu = spec_of(GRETA_SLOT_CPU, 1);
	struct timespec old[2] = {{.tv_sec = 1000000}, {.tv_sec = 1000000}};
	struct stat st;
	char *path = greta_format("%s/node", p.slots);
	assert_ok(slots_prepare(p.slots, &e));
	assert_ok(slots_take(&s, &p, &cpu, &e));
	slots_release(&s);
	assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
	assert_ok(slots_take(&s, &p, &cpu, &e));
	assert_int_equal(stat(path, &st), 0);
	assert_true(st.st_mtime > 1000000 && st.st_atime > 1000000);
	slots_release(&s);
	free(path);
	agent_paths_release(&p);
}

/* One of those who take turns; exits with 1 when it was not alone. */
static _Noreturn void take_turns(const char *root, const struct agent_paths *p)
{
	char *inside = greta_format("%s/inside", root), *node = greta_format("%s/node", p->slots);
	for (int round = 0; round < 1000; round++) {
		struct slots s = {0};
		struct greta_spec spec = spec_of(GRETA_SLOT_NODE, 0);
		if (slots_take(&s, p, &spec, NULL) == 0) {
			int alone = open(inside, O_CREAT | O_EXCL | O_CLOEXEC, 0600);
			if (alone < 0)
				_exit(1);
			close(alone);
			unlink(inside);
			if (round % 2)
				unlink(node);
		}
		slots_release(&s);
	}
	_exit(0);
}

static void test_slots__a_removed_file_locks_nothing(void **state)
{
	struct greta_err e = {0};
	struct agent_paths p = paths_of(*state);
	pid_t pids[3];
	assert_ok(slots_prepare(p.slots, &e));
	for (int i = 0; i < 3; i++)
		if ((pids[i] = fork()) == 0)
			take_turns(*state, &p);
	for (int i = 0; i < 3; i++) {
		int status = -1;
		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		assert_int_equal(status, 0);
	}
	agent_paths_release(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, unit_tmp_create, unit_tmp_remove)
		T(test_slots__node_excludes_cpu_and_gpu),
		T(test_slots__gpus_by_number_and_by_name),
		T(test_slots__a_lock_on_the_device_counts),
		T(test_slots__a_foreign_lock_is_named),
		T(test_slots__a_foreign_process_on_an_amd_gpu),
		T(test_slots__a_foreign_process_on_an_nvidia_gpu),
		T(test_slots__quarantine),
		T(test_slots__too_many_cpus),
		T(test_slots__are_inherited),
		T(test_slots__a_shared_lock_keeps_its_file_young),
		T(test_slots__a_removed_file_locks_nothing),
		T(test_slots__the_folder_is_for_all_users),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
