/* agent_trees: makes /sys, /proc and /dev trees of nodes that we do not have.
 *
 * Formats, by public sources:
 *   KFD topology   drivers/gpu/drm/amd/amdkfd/kfd_topology.c (node_show, mem_show); values of an MI300X as printed in
 *                  ROCm/rocm-cli pull 343 (gfx_target_version 90402), ROCm/legacy-rocm-build issue 4414
 *                  (Chip ID 0x74a1, Uuid GPU-<unique_id in hex>) and ROCm/rocm-systems pull 10274 (which keys there are)
 *   amdgpu sysfs   Documentation/gpu/amdgpu/thermal.rst, driver-misc.rst (gpu_busy_percent, mem_info_vram_*, pp_dpm_sclk,
 *                  power1_average, unique_id, current_compute_partition, fw_version)
 *   KFD processes  drivers/gpu/drm/amd/amdkfd/kfd_process.c (proc/PID/vram_GPUID, pasid, queues/)
 *   NVIDIA         /proc/driver/nvidia/gpus/BUS/information, as in the driver's README, chapter "Listing of Installed
 *                  Components" and the open kernel module's nv-procfs.c
 */
#ifndef TESTS_AGENT_TREES_H
#define TESTS_AGENT_TREES_H

#include "base/fs.h"
#include "base/mem.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* Writes root/path, with its folders. */
static inline void tree_file(const char *root, const char *path, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static inline void tree_file(const char *root, const char *path, const char *fmt, ...)
{
	va_list ap;
	struct greta_buf text = {0};
	char *full = greta_format("%s/%s", root, path);
	char *dir = greta_strndup(full, (size_t)(strrchr(full, '/') - full));
	va_start(ap, fmt);
	greta_buf_vaddf(&text, fmt, ap);
	va_end(ap);
	greta_fs_mkdirs(dir, 0755, NULL);
	FILE *f = fopen(full, "we");
	if (!f || fwrite(text.data, 1, text.len, f) != text.len)
		fprintf(stderr, "can't write %s\n", full);
	if (f)
		fclose(f);
	greta_buf_release(&text);
	free(full);
	free(dir);
}

#define TREE_UNIQUE_ID(i) (UINT64_C(0x8af705259683161c) + (uint64_t)(i) * 0x1111)

static inline void tree_amd_gpu(const char *root, int i)
{
	char path[128];
	snprintf(path, sizeof path, "sys/class/kfd/kfd/topology/nodes/%d/properties", i + 2);
	tree_file(root, path,
		  "cpu_cores_count 0\nsimd_count 1216\nmem_banks_count 1\ncaches_count 618\nio_links_count 8\n"
		  "cpu_core_id_base 0\nsimd_id_base 2147487744\nmax_waves_per_simd 8\nlds_size_in_kb 64\nwave_front_size 64\n"
		  "array_count 32\nsimd_arrays_per_engine 1\ncu_per_simd_array 10\nsimd_per_cu 4\ngfx_target_version 90402\n"
		  "vendor_id 4098\ndevice_id 29857\nlocation_id %d\ndomain 0\ndrm_render_minor %d\nhive_id 12345678901234567\n"
		  "num_sdma_engines 2\nmax_engine_clk_fcompute 2100\nunique_id %llu\nnum_xcc 8\n",
		  (i + 1) << 12, 128 + i * 8, (unsigned long long)TREE_UNIQUE_ID(i));
	snprintf(path, sizeof path, "sys/class/kfd/kfd/topology/nodes/%d/name", i + 2);
	tree_file(root, path, "ip discovery\n");
	snprintf(path, sizeof path, "sys/class/kfd/kfd/topology/nodes/%d/gpu_id", i + 2);
	tree_file(root, path, "%d\n", 41000 + i);
	snprintf(path, sizeof path, "sys/class/kfd/kfd/topology/nodes/%d/mem_banks/0/properties", i + 2);
	tree_file(root, path, "heap_type 1\nsize_in_bytes 206141652992\nflags 0\nwidth 8192\nmem_clk_max 1300\n");
#define AMD_FILE(name, ...)                                                                                            \
	(snprintf(path, sizeof path, "sys/class/drm/renderD%d/device/%s", 128 + i * 8, name),                          \
	 tree_file(root, path, __VA_ARGS__))
	AMD_FILE("uevent", "DRIVER=amdgpu\nPCI_CLASS=120000\nPCI_ID=1002:74A1\nPCI_SLOT_NAME=0000:%02x:00.0\n", i + 1);
	AMD_FILE("vendor", "0x1002\n");
	AMD_FILE("product_name", "AMD Instinct MI300X OAM\n");
	AMD_FILE("unique_id", "%016llx\n", (unsigned long long)TREE_UNIQUE_ID(i));
	AMD_FILE("gpu_busy_percent", "0\n");
	AMD_FILE("mem_busy_percent", "0\n");
	AMD_FILE("mem_info_vram_used", "297590784\n");
	AMD_FILE("mem_info_vram_total", "206141652992\n");
	AMD_FILE("pp_dpm_sclk", "0: 132Mhz *\n1: 2100Mhz\n");
	AMD_FILE("pp_dpm_mclk", "0: 900Mhz *\n1: 1100Mhz\n2: 1300Mhz\n");
	AMD_FILE("current_compute_partition", "SPX\n");
	AMD_FILE("current_memory_partition", "NPS1\n");
	AMD_FILE("power_dpm_force_performance_level", "auto\n");
	AMD_FILE("vbios_version", "113-M3000100-102\n");
	AMD_FILE("pcie_replay_count", "0\n");
	AMD_FILE("hwmon/hwmon3/power1_average", "140000000\n");
	AMD_FILE("hwmon/hwmon3/power1_cap", "750000000\n");
	AMD_FILE("hwmon/hwmon3/temp2_input", "47000\n");
	AMD_FILE("hwmon/hwmon3/temp2_label", "junction\n");
	AMD_FILE("fw_version/mec_fw_version", "0x000000af\n");
	AMD_FILE("fw_version/sdma_fw_version", "0x00000012\n");
	AMD_FILE("ras/umc_err_count", "ue: 0\nce: 0\nde: 0\n");
#undef AMD_FILE
	snprintf(path, sizeof path, "dev/dri/renderD%d", 128 + i * 8);
	tree_file(root, path, "%s", "");
}

static inline void tree_mi300x(const char *root, int n_gpus)
{
	for (int i = 0; i < 2; i++) {
		char path[128];
		snprintf(path, sizeof path, "sys/class/kfd/kfd/topology/nodes/%d/properties", i);
		tree_file(root, path, "cpu_cores_count 96\nsimd_count 0\nmem_banks_count 1\ngfx_target_version 0\n"
				      "drm_render_minor 0\nunique_id 0\n");
	}
	for (int i = 0; i < n_gpus; i++)
		tree_amd_gpu(root, i);
	tree_file(root, "sys/module/amdgpu/version", "6.10.5\n");
	tree_file(root, "opt/rocm/.info/version", "6.3.1-48\n");
	tree_file(root, "proc/cpuinfo", "processor\t: 0\nmodel name\t: AMD EPYC 9654 96-Core Processor\nmicrocode\t: 0xa101148\n");
	tree_file(root, "proc/meminfo", "MemTotal:       2377924232 kB\nHugePages_Total:       0\n");
}

static inline void tree_h100(const char *root, int n_gpus)
{
	for (int i = 0; i < n_gpus; i++) {
		char path[128];
		snprintf(path, sizeof path, "proc/driver/nvidia/gpus/0000:%02x:00.0/information", 0x1b + i);
		tree_file(root, path,
			  "Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 131\nGPU UUID: \t GPU-5fd4f087-86f3-7a43-b711-4771313a%04x\n"
			  "Video BIOS: \t 96.00.61.00.01\nBus Type: \t PCIe\nDMA Size: \t 52 bits\nBus Location: \t 0000:%02x:00.0\n"
			  "Device Minor: \t %d\nGPU Firmware: \t 550.54.15\n", i, 0x1b + i, i);
		snprintf(path, sizeof path, "dev/nvidia%d", i);
		tree_file(root, path, "%s", "");
	}
	tree_file(root, "sys/module/nvidia/version", "550.54.15\n");
}

#endif
