#include "agent/breadcrumb.h"
#include "base/gpu_page.h"
#include "base/mem.h"
#include "base/str.h"
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int breadcrumb_page(void)
{
	int fd = memfd_create("greta-gpu-page", MFD_CLOEXEC);
	if (fd >= 0 && ftruncate(fd, GRETA_GPU_PAGE_BYTES) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

static void name_place(const struct greta_gpu_page *page, uint64_t place, char *out, size_t cap)
{
	unsigned layer = place >> 16 & 0xffff, op = place & 0xffff;
	char name[GRETA_GPU_PAGE_OP_NAME];
	*out = '\0';
	if (place == 0 || op >= GRETA_GPU_PAGE_OPS)
		return;
	greta_str_copy(name, sizeof name, page->ops[op]);
	for (char *c = name; *c; c++)
		if (!isprint((unsigned char)*c))
			*c = '?';
	if (name[0])
		snprintf(out, cap, "layer %u %s", layer, name);
}

bool breadcrumb_read(int fd, struct breadcrumb *out)
{
	struct greta_gpu_page page;
	*out = (struct breadcrumb){0};
	if (fd < 0 || pread(fd, &page, sizeof page, 0) != sizeof page || page.executing == 0)
		return false;
	for (int i = 0; i < GRETA_GPU_PAGE_OPS; i++)
		page.ops[i][GRETA_GPU_PAGE_OP_NAME - 1] = '\0';
	out->place = page.executing;
	out->done = page.blocks_done;
	out->total = page.blocks;
	name_place(&page, page.executing, out->executing, sizeof out->executing);
	name_place(&page, page.enqueued, out->enqueued, sizeof out->enqueued);
	return true;
}

double breadcrumb_work(const struct breadcrumb *before, const struct breadcrumb *now)
{
	if (now->place != before->place)
		return 1;
	return now->total > 0 && now->done < now->total ? (double)(now->done - before->done) : NAN;
}

void breadcrumb_tell(const struct breadcrumb *b, struct greta_buf *out)
{
	greta_buf_addf(out, "executing: %s\n", b->executing[0] ? b->executing : "a kernel without a name");
	if (b->total)
		greta_buf_addf(out, "blocks:    %u of %u\n", b->done, b->total);
	else
		greta_buf_adds(out, "blocks:    this kernel does not count them\n");
	greta_buf_addf(out, "enqueued:  up to %s\n", b->enqueued[0] ? b->enqueued : "a kernel without a name");
}
