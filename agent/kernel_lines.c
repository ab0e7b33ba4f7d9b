#include "agent/kernel_lines.h"
#include "base/mem.h"
#include "base/str.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define PCI_LEN 10 /* "0000:1b:00", without the function, which Xid lines leave out */

/* What a line comes to. The strongest first, since of several in one log the strongest tells most. */
enum said { LOST, FAULT, HANG, RAS, RESET, SAID_COUNT, SAID_NOTHING = SAID_COUNT };

static const struct {
	enum greta_class class_;
	const char *blamed;
	bool strikes_siblings; /* it is told of one GPU, and ends what runs on others */
} meaning[SAID_COUNT] = {
	[LOST] = {GRETA_CLASS_DEVICE_LOST, "device", true},
	[FAULT] = {GRETA_CLASS_MEMORY_FAULT, "kernel", false},
	[HANG] = {GRETA_CLASS_QUEUE_HANG, "runtime", false},
	[RAS] = {GRETA_CLASS_RAS, "device", true},
	[RESET] = {GRETA_CLASS_QUEUE_HANG, "runtime", true}, /* of our own GPU, for no other reason that was told */
};

/* gmc_v9_0.c, kfd_device_queue_manager.c, kfd_process.c, kfd_int_process_v9.c, amdgpu_ras.c, amdgpu_device.c; the number of
 * an Xid stands behind "): ", and NVIDIA's "Xid Errors" says what it means. */
static const struct {
	const char *words;
	enum said said;
} table[] = {
	{"device lost from bus", LOST},
	{"has fallen off the bus", LOST},
	{"page fault (src_id", FAULT},
	{"Memory access fault by GPU", FAULT},
	{"): 13, ", FAULT},
	{"): 31, ", FAULT},
	{"qcm fence wait loop timeout", HANG},
	{"unsuccessful queues preemption", HANG},
	{"Failed to evict", HANG},
	{"failed to remove hardware queue", HANG},
	{"Failed to preempt", HANG},
	{"): 109, ", HANG},
	{"): 119, ", HANG},
	{"uncorrectable hardware error", RAS},
	{"poison is consumed", RAS},
	{"poison consumption", RAS},
	{"Poison is created", RAS},
	{"): 48, ", RAS},
	{"): 63, ", RAS},
	{"): 64, ", RAS},
	{"): 94, ", RAS},
	{"): 95, ", RAS},
	{"GPU reset begin", RESET},
	{"GPU reset(", RESET},
};

static bool holds(const char *line, size_t n, const char *words)
{
	return memmem(line, n, words, strlen(words)) != NULL;
}

/* "aca entry[00].STATUS=0x98000800003e0000", "ACA[01/08].STATUS=0x...": amdgpu_aca.h has the bits. A bank is logged for
 * corrected errors too. */
static bool is_bad_bank(const char *line, size_t n)
{
	const uint64_t bad = UINT64_C(1) << 61 | UINT64_C(1) << 44 | UINT64_C(1) << 43; /* uncorrected, deferred, poison */
	const char *at = memmem(line, n, "].STATUS=0x", 11);
	return at && (strtoull(at + 11, NULL, 16) & bad);
}

static enum said what_is_said(const char *line, size_t n)
{
	for (size_t i = 0; i < GRETA_COUNT(table); i++)
		if (holds(line, n, table[i].words) && (table[i].words[0] != ')' || holds(line, n, "Xid (PCI")))
			return table[i].said;
	return is_bad_bank(line, n) ? RAS : SAID_NOTHING;
}

/* The GPU that the line names, as PCI_LEN characters of it; NULL: none. */
static const char *named_gpu(const char *line, size_t n)
{
	static const char shape[] = "xxxx:xx:xx";
	for (size_t i = 0; i + PCI_LEN <= n; i++) {
		size_t k = 0;
		while (k < PCI_LEN && (shape[k] == 'x' ? isxdigit((unsigned char)line[i + k]) != 0 : line[i + k] == shape[k]))
			k++;
		if (k == PCI_LEN)
			return line + i;
	}
	return NULL;
}

bool kernel_lines_name(const char *line, const struct greta_device *d)
{
	const char *gpu = named_gpu(line, strlen(line));
	return gpu && d->pci && strncasecmp(d->pci, gpu, PCI_LEN) == 0;
}

static bool is_ours(const char *line, size_t n, const struct greta_device *ours, size_t n_ours)
{
	const char *gpu = named_gpu(line, n);
	if (!gpu)
		return true;
	for (size_t i = 0; i < n_ours; i++)
		if (!ours[i].pci || strncasecmp(ours[i].pci, gpu, PCI_LEN) == 0)
			return true;
	return false;
}

static void take(struct kernel_finding *out, enum greta_class class_, const char *line, size_t n)
{
	out->class_ = class_;
	n = n < sizeof out->line ? n : sizeof out->line - 1;
	memcpy(out->line, line, n);
	out->line[n] = '\0';
}

void kernel_lines_read(const char *log, const struct greta_device *ours, size_t n, struct kernel_finding *out)
{
	enum said strongest = SAID_NOTHING;
	*out = (struct kernel_finding){0};
	for (size_t len; *log; log += len + (log[len] == '\n')) {
		len = strcspn(log, "\n");
		enum said said = what_is_said(log, len);
		if (said == SAID_NOTHING)
			continue;
		if (is_ours(log, len, ours, n)) {
			if (said < strongest)
				take(out, meaning[said].class_, log, len);
			strongest = said < strongest ? said : strongest;
		} else if (meaning[said].strikes_siblings && strongest == SAID_NOTHING) {
			take(out, GRETA_CLASS_COLLATERAL, log, len);
			return;
		}
	}
}

const char *kernel_lines_blamed(enum greta_class c)
{
	for (size_t i = 0; i < SAID_COUNT; i++)
		if (meaning[i].class_ == c)
			return meaning[i].blamed;
	return NULL;
}
