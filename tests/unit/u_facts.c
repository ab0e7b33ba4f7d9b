#include "tests/unit/unit.h"

#include "agent/devices.h"
#include "agent/facts.h"
#include "agent/logout.h"
#include "agent/node_id.h"
#include "base/str.h"
#include "tests/unit/agent_trees.h"

static void find(const char *root, struct greta_facts *f)
{
	char *sys = greta_format("%s/sys", root), *proc = greta_format("%s/proc", root);
	char *dev = greta_format("%s/dev", root);
	*f = (struct greta_facts){0};
	devices_find(sys, proc, dev, f);
	facts_environment(sys, proc, root, f);
	free(sys), free(proc), free(dev);
}

static const char *row(const struct greta_facts *f, const char *key)
{
	for (size_t i = 0; i < f->n_env; i++)
		if (greta_str_eq(f->env[i].key, key))
			return f->env[i].value;
	return NULL;
}

static void test_facts__eight_mi300x(void **state)
{
	struct greta_facts f;
	tree_mi300x(*state, 8);
	find(*state, &f);
	assert_int_equal(f.n_devices, 8);
	assert_string_equal(f.devices[0].uuid, "GPU-8af705259683161c");
	assert_string_equal(f.devices[0].kind, "amd");
	assert_string_equal(f.devices[0].arch, "gfx942");
	assert_string_equal(f.devices[0].name, "AMD Instinct MI300X OAM");
	assert_string_equal(f.devices[7].pci, "0000:08:00.0");
	assert_non_null(strstr(f.devices[7].path, "/dev/dri/renderD184"));
	assert_int_equal(f.devices[0].vram_bytes, INT64_C(206141652992));
	assert_int_equal(f.devices[0].compute_units, 304);
	assert_string_equal(row(&f, "rocm.version"), "6.3.1-48");
	assert_string_equal(row(&f, "amdgpu.version"), "6.10.5");
	assert_string_equal(row(&f, "gpu0.power_cap_uw"), "750000000");
	assert_string_equal(row(&f, "gpu7.compute_partition"), "SPX");
	assert_string_equal(row(&f, "gpu3.fw.mec"), "0x000000af");
	assert_string_equal(row(&f, "cpu.model"), "AMD EPYC 9654 96-Core Processor");
	assert_null(row(&f, "gpu0.power1_average")); /* readings are telemetry */
	assert_string_equal(devices_visible_variable(&f.devices[0]), "ROCR_VISIBLE_DEVICES");
	greta_facts_release(&f);
}

static void test_facts__partitions_of_one_gpu_differ(void **state)
{
	struct greta_facts f;
	tree_mi300x(*state, 1);
	tree_file(*state, "sys/class/kfd/kfd/topology/nodes/3/properties",
		  "simd_count 152\nsimd_per_cu 4\ngfx_target_version 90402\ndrm_render_minor 129\nunique_id %llu\n",
		  (unsigned long long)TREE_UNIQUE_ID(0));
	find(*state, &f);
	assert_int_equal(f.n_devices, 2);
	assert_string_equal(f.devices[1].uuid, "GPU-8af705259683161c.1");
	greta_facts_release(&f);
}

static void test_facts__nvidia(void **state)
{
	struct greta_facts f;
	tree_h100(*state, 2);
	find(*state, &f);
	assert_int_equal(f.n_devices, 2);
	assert_string_equal(f.devices[1].uuid, "GPU-5fd4f087-86f3-7a43-b711-4771313a0001");
	assert_string_equal(f.devices[1].name, "NVIDIA H100 80GB HBM3");
	assert_non_null(strstr(f.devices[1].path, "/dev/nvidia1"));
	assert_string_equal(row(&f, "nvidia.driver"), "550.54.15");
	assert_string_equal(devices_visible_variable(&f.devices[0]), "CUDA_VISIBLE_DEVICES");
	greta_facts_release(&f);
}

static void test_facts__nothing_and_nonsense(void **state)
{
	struct greta_facts f;
	find(*state, &f);
	assert_int_equal(f.n_devices, 0);
	greta_facts_release(&f);
	tree_file(*state, "sys/class/kfd/kfd/topology/nodes/1/properties", "simd_count 4x\n\n\xff\xfe garbage");
	tree_file(*state, "sys/class/kfd/kfd/topology/nodes/2/properties", "simd_count 16\n");
	tree_file(*state, "proc/driver/nvidia/gpus/0000:01:00.0/information", "GPU UUID:\n");
	find(*state, &f);
	assert_true(f.n_devices <= 3);
	greta_facts_release(&f);
}

static void test_node_id__is_stable_and_tells_clones_apart(void **state)
{
	struct greta_err e = {0};
	char first[NODE_ID_LEN + 1], again[NODE_ID_LEN + 1], base[1024], other_base[1024], machine[1024];
	struct greta_strs gpus = {0}, swapped = {0}, fewer = {0}, others = {0};
	snprintf(base, sizeof base, "%s/a", (char *)*state);
	snprintf(other_base, sizeof other_base, "%s/b", (char *)*state);
	snprintf(machine, sizeof machine, "%s/machine-id", (char *)*state);
	mkdir(base, 0700), mkdir(other_base, 0700);
	tree_file(*state, "machine-id", "3d1219c7c4c5404aaa1f6d2a48adfda4\n");
	greta_strs_add(&gpus, "GPU-1"), greta_strs_add(&gpus, "GPU-2");
	greta_strs_add(&swapped, "GPU-2"), greta_strs_add(&swapped, "GPU-1");
	greta_strs_add(&fewer, "GPU-1");
	greta_strs_add(&others, "GPU-3"), greta_strs_add(&others, "GPU-4");
	assert_ok(node_id_get(base, machine, &gpus, first, &e));
	assert_int_equal(strlen(first), NODE_ID_LEN);
	assert_ok(node_id_get(base, machine, &swapped, again, &e));
	assert_string_equal(first, again);
	assert_ok(node_id_get(base, machine, &fewer, again, &e)); /* one fell off the bus */
	assert_string_equal(first, again);
	assert_ok(node_id_get(other_base, machine, &swapped, again, &e)); /* the same, computed afresh */
	assert_string_equal(first, again);
	assert_ok(node_id_get(base, machine, &others, again, &e)); /* a clone of the disk in another machine */
	assert_string_not_equal(first, again);
	assert_null(strstr(first, "3d1219c7"));
	greta_strs_release(&gpus), greta_strs_release(&swapped), greta_strs_release(&fewer), greta_strs_release(&others);
}

static void probe(const char *root, uid_t uid, bool survives, bool scope, const char *why)
{
	struct logout l;
	logout_probe(&l, root, uid, "alice");
	assert_int_equal(l.survives, survives);
	assert_int_equal(l.needs_scope, scope);
	assert_non_null(strstr(l.why, why));
}

static void test_logout__every_case(void **state)
{
	const char *root = *state;
	probe(root, 1000, true, false, "systemd does not run");
	tree_file(root, "run/systemd/system/x", "x");
	probe(root, 1000, true, false, "KillUserProcesses=no");
	tree_file(root, "etc/systemd/logind.conf", "[Login]\n#KillUserProcesses=yes\nKillUserProcesses=no\n");
	probe(root, 1000, true, false, "KillUserProcesses=no");
	tree_file(root, "etc/systemd/logind.conf.d/10-kill.conf", "[Login]\nKillUserProcesses=yes\n");
	probe(root, 1000, false, false, "enable-linger");
	probe(root, 0, true, false, "root");
	tree_file(root, "var/lib/systemd/linger/alice", "%s", "");
	probe(root, 1000, true, true, "lingering");
	tree_file(root, "etc/systemd/logind.conf.d/20-no.conf", "KillUserProcesses=no\n");
	probe(root, 1000, true, false, "KillUserProcesses=no");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, unit_tmp_create, unit_tmp_remove)
		T(test_facts__eight_mi300x),
		T(test_facts__partitions_of_one_gpu_differ),
		T(test_facts__nvidia),
		T(test_facts__nothing_and_nonsense),
		T(test_node_id__is_stable_and_tells_clones_apart),
		T(test_logout__every_case),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
