#include "agent/facts.h"
#include "agent/devices.h"
#include "agent/files.h"
#include "agent/logout.h"
#include "agent/node_id.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/mem.h"
#include <ctype.h>
#include <inttypes.h>
#include <pwd.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#define TEXT_CAP 65536

extern char **environ;

static void add(struct greta_facts *f, const char *key, const char *value)
{
	struct greta_fact *row = GRETA_PUSH(f->env, f->n_env, f->cap_env);
	row->key = greta_strdup(key);
	row->value = greta_strdup(value);
}

/* A row for a file that can be read; none for one that can't. */
static void add_file(struct greta_facts *f, const char *key, const char *dir, const char *name)
{
	char value[512];
	if (file_text(dir, name, value, sizeof value) == 0 && value[0])
		add(f, key, value);
}

static void add_field(struct greta_facts *f, const char *key, const char *text, const char *field)
{
	char value[256];
	if (file_field(text, field, value, sizeof value) == 0 && value[0])
		add(f, key, value);
}

/* host */

/* "PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"" without its quotes. */
static void add_os(struct greta_facts *f, const char *root)
{
	char text[4096], value[256];
	cleanup_free char *path = greta_format("%s/etc/os-release", root);
	if (file_text(path, NULL, text, sizeof text) != 0 || file_field(text, "PRETTY_NAME", value, sizeof value) != 0)
		return;
	size_t n = strlen(value);
	if (n >= 2 && value[0] == '"' && value[n - 1] == '"') {
		value[n - 1] = '\0';
		memmove(value, value + 1, n - 1);
	}
	add(f, "os", value);
}

/* "model name	: AMD EPYC 9654": the first processor's. */
static void add_cpu(struct greta_facts *f, const char *sys, const char *proc)
{
	cleanup_free char *text = greta_alloc(TEXT_CAP);
	char cpu[FILE_PATH_MAX];
	if (file_text(proc, "cpuinfo", text, TEXT_CAP) == 0) {
		add_field(f, "cpu.model", text, "model name");
		add_field(f, "cpu.microcode", text, "microcode");
	}
	file_path(cpu, "%s/devices/system/cpu", sys);
	add_file(f, "cpu.online", cpu, "online");
	add_file(f, "cpu.smt", cpu, "smt/control");
	add_file(f, "cpu.governor", cpu, "cpu0/cpufreq/scaling_governor");
	add_file(f, "cpu.max_khz", cpu, "cpu0/cpufreq/scaling_max_freq");
	add_file(f, "cpu.boost", cpu, "cpufreq/boost");
	add_file(f, "cpu.no_turbo", cpu, "intel_pstate/no_turbo");
}

/* Of the kernel's command line only what results depend on: the rest may hold secrets, and differs for no reason. */
static void add_boot_options(struct greta_facts *f, const char *proc)
{
	static const char *const wanted[] = {"mitigations=", "iommu=",    "amd_iommu=", "intel_iommu=", "amdgpu.",
					     "isolcpus=",    "nohz_full=", "pci=",       "nosmt",        "numa_balancing="};
	char line[8192], *save = NULL;
	if (file_text(proc, "cmdline", line, sizeof line) != 0)
		return;
	for (char *word = strtok_r(line, " ", &save); word; word = strtok_r(NULL, " ", &save))
		for (size_t i = 0; i < GRETA_COUNT(wanted); i++)
			if (greta_str_starts(word, wanted[i])) {
				char key[128];
				snprintf(key, sizeof key, "kernel.option.%.*s", (int)strcspn(word, "="), word);
				add(f, key, word[strcspn(word, "=")] ? word + strcspn(word, "=") + 1 : "on");
			}
}

static void add_kernel(struct greta_facts *f, const char *sys, const char *proc)
{
	struct utsname u;
	char text[8192];
	if (uname(&u) == 0) {
		add(f, "kernel", u.release);
		add(f, "machine", u.machine);
	}
	add_boot_options(f, proc);
	add_file(f, "kernel.numa_balancing", proc, "sys/kernel/numa_balancing");
	add_file(f, "kernel.transparent_hugepage", sys, "kernel/mm/transparent_hugepage/enabled");
	if (file_text(proc, "meminfo", text, sizeof text) == 0)
		add_field(f, "mem.hugepages", text, "HugePages_Total");
}

/* GPUs */

static void add_runtime(struct greta_facts *f, const char *sys, const char *proc, const char *root)
{
	char line[512];
	cleanup_free char *rocm = greta_format("%s/opt/rocm/.info", root);
	add_file(f, "rocm.version", rocm, "version");
	add_file(f, "amdgpu.version", sys, "module/amdgpu/version");
	add_file(f, "amdgpu.srcversion", sys, "module/amdgpu/srcversion");
	add_file(f, "nvidia.driver", sys, "module/nvidia/version");
	if (file_text(proc, "driver/nvidia/version", line, sizeof line) == 0) {
		line[strcspn(line, "\n")] = '\0';
		add(f, "nvidia.version", line);
	}
}

static void add_firmware(struct greta_facts *f, const char *device, size_t index)
{
	char dir[FILE_PATH_MAX], key[128];
	cleanup_strs struct greta_strs names = {0};
	file_path(dir, "%s/fw_version", device);
	file_names(dir, "", &names);
	for (size_t i = 0; i < names.n; i++) {
		int stem = (int)strcspn(names.items[i], "_");
		snprintf(key, sizeof key, "gpu%zu.fw.%.*s", index, stem, names.items[i]);
		add_file(f, key, dir, names.items[i]);
	}
}

static void add_amd(struct greta_facts *f, const char *sys, const struct greta_device *d, size_t index)
{
	static const char *const files[][2] = {
		{"vbios", "vbios_version"},
		{"compute_partition", "current_compute_partition"},
		{"memory_partition", "current_memory_partition"},
		{"performance_level", "power_dpm_force_performance_level"},
		{"pcie_speed", "max_link_speed"},
		{"pcie_width", "max_link_width"},
	};
	char device[FILE_PATH_MAX], key[64];
	cleanup_strs struct greta_strs hwmon = {0};
	file_path(device, "%s/class/drm/%s/device", sys, strrchr(d->path, '/') + 1);
	for (size_t i = 0; i < GRETA_COUNT(files); i++) {
		snprintf(key, sizeof key, "gpu%zu.%s", index, files[i][0]);
		add_file(f, key, device, files[i][1]);
	}
	cleanup_free char *mon = greta_format("%s/hwmon", device);
	file_names(mon, "hwmon", &hwmon);
	snprintf(key, sizeof key, "gpu%zu.power_cap_uw", index);
	if (hwmon.n) {
		cleanup_free char *cap = greta_format("%s/power1_cap", hwmon.items[0]);
		add_file(f, key, mon, cap);
	}
	add_firmware(f, device, index);
}

static void add_devices(struct greta_facts *f, const char *sys)
{
	char key[64];
	for (size_t i = 0; i < f->n_devices; i++) {
		const struct greta_device *d = &f->devices[i];
		snprintf(key, sizeof key, "gpu%zu.name", i);
		add(f, key, d->name);
		if (greta_str_eq(d->kind, "amd"))
			add_amd(f, sys, d, i);
	}
}

/* Variables that steer the GPU runtimes; an engine inherits them. */
static void add_variables(struct greta_facts *f)
{
	static const char *const prefixes[] = {"ROCM_", "HIP_", "HSA_", "ROCR_", "GPU_", "AMD_", "CUDA_", "NVIDIA_", "OMP_"};
	for (char **v = environ; *v; v++)
		for (size_t i = 0; i < GRETA_COUNT(prefixes); i++)
			if (greta_str_starts(*v, prefixes[i])) {
				cleanup_free char *key = greta_format("env.%.*s", (int)strcspn(*v, "="), *v);
				add(f, key, *v + strcspn(*v, "=") + 1);
			}
}

void facts_environment(const char *sys, const char *proc, const char *root, struct greta_facts *out)
{
	add_os(out, root);
	add_kernel(out, sys, proc);
	add_cpu(out, sys, proc);
	add_runtime(out, sys, proc, root);
	add_devices(out, sys);
	add_variables(out);
}

/* the node */

static int64_t mem_bytes(const char *proc)
{
	char text[8192];
	int64_t kb = 0;
	if (file_text(proc, "meminfo", text, sizeof text) != 0 || file_field_i64(text, "MemTotal", &kb) != 0)
		return 0;
	return kb * 1024;
}

void facts_gather(const struct agent_paths *paths, struct greta_facts *out)
{
	char host[256] = "", machine[NODE_ID_LEN + 1];
	cpu_set_t cpus;
	struct logout logout;
	const struct passwd *user = getpwuid(geteuid());
	*out = (struct greta_facts){0};
	gethostname(host, sizeof host - 1);
	node_id_machine("/etc/machine-id", machine);
	logout_probe(&logout, "", geteuid(), user ? user->pw_name : "");
	out->node_id = greta_strdup(paths->node_id);
	out->hostname = greta_strdup(host);
	out->machine_id = greta_strdup(machine);
	out->boot_id = greta_strdup(greta_clock_boot_id());
	out->n_cpus = sched_getaffinity(0, sizeof cpus, &cpus) == 0 ? CPU_COUNT(&cpus) : sysconf(_SC_NPROCESSORS_ONLN);
	out->mem_bytes = mem_bytes(paths->proc);
	out->spool_free_bytes = file_free_bytes(paths->spool);
	out->survives_logout = logout.survives;
	out->survives_why = greta_strdup(logout.why);
	devices_find(paths->sys, paths->proc, paths->dev, out);
	facts_environment(paths->sys, paths->proc, "", out);
}
