#include "agent/devices.h"
#include "agent/files.h"
#include "base/mem.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_CAP 8192

static struct greta_device *push(struct greta_facts *f)
{
	return GRETA_PUSH(f->devices, f->n_devices, f->cap_devices);
}

/* gfx_target_version is decimal MMmmss: 90402 is gfx942, where minor and stepping print as hex digits. */
static char *gfx_name(int64_t version)
{
	return greta_format("gfx%" PRId64 "%" PRIx64 "%" PRIx64, version / 10000, version / 100 % 100, version % 100);
}

static int64_t kfd_vram_bytes(const char *node)
{
	int64_t total = 0, size = 0, heap = 0;
	char banks[FILE_PATH_MAX], text[TEXT_CAP];
	cleanup_strs struct greta_strs names = {0};
	file_path(banks, "%s/mem_banks", node);
	file_names(banks, "", &names);
	for (size_t i = 0; i < names.n; i++) {
		char bank[FILE_PATH_MAX];
		file_path(bank, "%s/%s", banks, names.items[i]);
		/* heap types 1 and 2 are the GPU's own memory, public and private */
		if (file_text(bank, "properties", text, sizeof text) == 0 &&
		    file_field_i64(text, "heap_type", &heap) == 0 && (heap == 1 || heap == 2) &&
		    file_field_i64(text, "size_in_bytes", &size) == 0)
			total += size;
	}
	return total;
}

/* Compute partitions of one GPU share its unique_id; the later ones get a suffix so that names stay names. */
static char *amd_uuid(const struct greta_facts *f, uint64_t unique_id)
{
	char *uuid = greta_format("GPU-%016" PRIx64, unique_id);
	size_t len = strlen(uuid);
	int same = 0;
	for (size_t i = 0; i < f->n_devices; i++)
		same += strncmp(f->devices[i].uuid, uuid, len) == 0;
	if (same == 0)
		return uuid;
	char *partition = greta_format("%s.%d", uuid, same);
	free(uuid);
	return partition;
}

static void amd_device(const char *sys, const char *dev, const char *node, const char *props, struct greta_facts *f)
{
	int64_t minor = 0, gfx = 0, simds = 0, per_cu = 0;
	char unique[32] = "", name[128] = "", pci_dir[FILE_PATH_MAX], uevent[1024] = "", pci[64];
	file_field_i64(props, "drm_render_minor", &minor);
	file_field_i64(props, "gfx_target_version", &gfx);
	file_field_i64(props, "simd_count", &simds);
	file_field_i64(props, "simd_per_cu", &per_cu);
	file_field(props, "unique_id", unique, sizeof unique);
	file_path(pci_dir, "%s/class/drm/renderD%" PRId64 "/device", sys, minor);
	file_text(pci_dir, "uevent", uevent, sizeof uevent);
	char *uuid = amd_uuid(f, strtoull(unique, NULL, 10));
	struct greta_device *d = push(f);
	d->uuid = uuid;
	d->kind = greta_strdup("amd");
	if (file_text(pci_dir, "product_name", name, sizeof name) != 0 || !*name)
		file_text(node, "name", name, sizeof name);
	d->name = greta_strdup(name);
	d->arch = gfx ? gfx_name(gfx) : NULL;
	d->path = greta_format("%s/dri/renderD%" PRId64, dev, minor);
	if (file_field(uevent, "PCI_SLOT_NAME", pci, sizeof pci) == 0)
		d->pci = greta_strdup(pci);
	d->vram_bytes = kfd_vram_bytes(node);
	d->compute_units = per_cu ? simds / per_cu : 0;
}

static void find_amd(const char *sys, const char *dev, struct greta_facts *f)
{
	char root[FILE_PATH_MAX], props[TEXT_CAP];
	cleanup_strs struct greta_strs nodes = {0};
	file_path(root, "%s/class/kfd/kfd/topology/nodes", sys);
	file_names(root, "", &nodes);
	for (size_t i = 0; i < nodes.n; i++) {
		int64_t simds = 0;
		char node[FILE_PATH_MAX];
		file_path(node, "%s/%s", root, nodes.items[i]);
		if (file_text(node, "properties", props, sizeof props) == 0 &&
		    file_field_i64(props, "simd_count", &simds) == 0 && simds > 0) /* 0: a CPU */
			amd_device(sys, dev, node, props, f);
	}
}

static void find_nvidia(const char *proc, const char *dev, struct greta_facts *f)
{
	char root[FILE_PATH_MAX], text[TEXT_CAP], value[256];
	cleanup_strs struct greta_strs gpus = {0};
	file_path(root, "%s/driver/nvidia/gpus", proc);
	file_names(root, "", &gpus);
	for (size_t i = 0; i < gpus.n; i++) {
		char dir[FILE_PATH_MAX];
		int64_t minor = 0;
		file_path(dir, "%s/%s", root, gpus.items[i]);
		if (file_text(dir, "information", text, sizeof text) != 0 ||
		    file_field(text, "GPU UUID", value, sizeof value) != 0)
			continue;
		struct greta_device *d = push(f);
		d->uuid = greta_strdup(value);
		d->kind = greta_strdup("nvidia");
		d->name = greta_strdup(file_field(text, "Model", value, sizeof value) == 0 ? value : "NVIDIA GPU");
		d->pci = greta_strdup(gpus.items[i]);
		file_field_i64(text, "Device Minor", &minor);
		d->path = greta_format("%s/nvidia%" PRId64, dev, minor);
	}
}

static bool is_allocated(const char *list, const char *uuid)
{
	size_t n = strlen(uuid);
	for (; *list; list += strcspn(list, ","), list += *list == ',')
		if (strncmp(list, uuid, n) == 0 && (list[n] == ',' || !list[n]))
			return true;
	return false;
}

static void keep_allocated(struct greta_facts *f, const char *ours)
{
	struct greta_facts others = {0};
	size_t kept = 0;
	for (size_t i = 0; i < f->n_devices; i++) {
		if (is_allocated(ours, f->devices[i].uuid))
			f->devices[kept++] = f->devices[i];
		else
			*push(&others) = f->devices[i];
	}
	f->n_devices = kept;
	greta_facts_release(&others);
}

void devices_find(const char *sys, const char *proc, const char *dev, struct greta_facts *f)
{
	find_amd(sys, dev, f);
	find_nvidia(proc, dev, f);
	if (getenv(DEVICES_ALLOCATED))
		keep_allocated(f, getenv(DEVICES_ALLOCATED));
}

const char *devices_visible_variable(const struct greta_device *d)
{
	return greta_str_eq(d->kind, "nvidia") ? "CUDA_VISIBLE_DEVICES" : "ROCR_VISIBLE_DEVICES";
}
