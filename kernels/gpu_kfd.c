/* gpu_kfd: the architecture of an AMD GPU. No attribute of the runtime gives it in a way that all versions share; the
 * kernel driver's topology does: gfx_target_version 90402 is gfx942, location_id and domain the PCI address. */
#include "base/fs.h"
#include "base/str.h"
#include "kernels/gpu_internal.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KFD_NODES "/sys/class/kfd/kfd/topology/nodes"

/* The number after "key " at a line's start; -1 if it is not there. */
static int64_t property(const char *text, const char *key)
{
	size_t n = strlen(key);

	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, key, n) == 0 && line[n] == ' ')
			return strtoll(line + n + 1, NULL, 10);
	}
	return -1;
}

/* 90402 is gfx942: major, two digits of minor, two of stepping, the last shown in hexadecimal. */
static void arch_name(int64_t version, char arch[16])
{
	snprintf(arch, 16, "gfx%d%d%x", (int)(version / 10000 % 1000), (int)(version / 100 % 100), (int)(version % 100));
}

/* Whether the node is of that card. Partitions (CPX) are nodes of one card, and alike: what tells them apart, the function
 * or, in KFD's location_id, bits 28 to 31, does not matter here. */
static bool same_card(const char *text, unsigned domain, unsigned bus, unsigned device)
{
	int64_t location = property(text, "location_id"), d = property(text, "domain");

	return location >= 0 && (d < 0 || d == domain) && (location & 0xfff8) == (bus << 8 | device << 3);
}

static int refuse(const char *arch, const char *pci, struct greta_err *e)
{
	return greta_err_set(e, GRETA_EUNSUPPORTED, "GPU %s is %s; kernels are built for gfx942 (MI300X, MI300A)", pci, arch);
}

int gpu_kfd_arch(const char *root, const char *pci, char arch[16], struct greta_err *e)
{
	unsigned domain, bus, device, function;
	const char *for_tests = getenv("GRETA_KFD_NODES");
	const char *dir = root ? root : for_tests ? for_tests : KFD_NODES;
	DIR *d;
	struct dirent *entry;
	bool found = false;

	if (sscanf(pci, "%x:%x:%x.%x", &domain, &bus, &device, &function) != 4)
		return greta_err_set(e, GRETA_EFAIL, "PCI address '%s' of the GPU makes no sense", pci);
	d = opendir(dir);
	if (!d)
		return greta_err_sys(e, "%s (the GPU's architecture is read there)", dir);
	while (!found && (entry = readdir(d)) != NULL) {
		struct greta_buf text = { 0 };
		char path[512];

		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof path, "%s/%s/properties", dir, entry->d_name);
		if (greta_fs_read(path, 1 << 16, &text, NULL) == 0 && property(greta_buf_str(&text), "gfx_target_version") > 0 &&
		    same_card(greta_buf_str(&text), domain, bus, device)) {
			arch_name(property(greta_buf_str(&text), "gfx_target_version"), arch);
			found = true;
		}
		greta_buf_release(&text);
	}
	closedir(d);
	if (!found)
		return greta_err_set(e, GRETA_EUNSUPPORTED, "no node of %s has the GPU at %s", dir, pci);
	return greta_str_eq(arch, "gfx942") ? 0 : refuse(arch, pci, e);
}
