/* gpu_watch: the page that kernels write what is executing to. It is a file's, where one is named, so that a supervisor
 * that maps the same file reads on when this process is dead. */
#include "kernels/gpu_internal.h"
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = GRETA_GPU_PAGE_BYTES, MAPPED = 2 | 1, NOT_READY = 600 /* of both drivers */ };

static void *map_page(const char *path, struct greta_err *e)
{
	int flags = MAP_SHARED, fd = -1;
	void *p;

	if (path) {
		fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		if (fd < 0 || ftruncate(fd, PAGE)) {
			greta_err_sys(e, "%s (where the GPU tells what is executing)", path);
			if (fd >= 0)
				close(fd);
			return NULL;
		}
	} else {
		flags |= MAP_ANONYMOUS;
	}
	p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, flags, fd, 0);
	if (fd >= 0)
		close(fd);
	if (p != MAP_FAILED)
		return memset(p, 0, PAGE);
	greta_err_sys(e, "mapping a page for the GPU's progress");
	return NULL;
}

void gpu_watch_stop(struct greta_gpu *g)
{
	if (!g->page)
		return;
	g->api.host_unregister(g->page);
	munmap(g->page, PAGE);
	g->page = NULL;
}

int greta_gpu_watch(struct greta_gpu *g, const char *path, struct greta_gpu_page **page, struct greta_gpu_page **device,
		    struct greta_err *e)
{
	void *on_device;

	gpu_watch_stop(g);
	g->page = map_page(path, e);
	if (!g->page)
		return -1;
	/* Pages of a disk's file can't be pinned for long: Linux refuses, since it could not write them back. */
	if (gpu_check(&g->api, g->api.host_register(g->page, PAGE, MAPPED), e,
		      path ? "registering the progress page (its file must be on a tmpfs, such as /dev/shm)"
			   : "registering the progress page")) {
		munmap(g->page, PAGE);
		g->page = NULL;
		return -1;
	}
	if (gpu_check(&g->api, g->api.host_device_pointer(&on_device, g->page, 0), e, "mapping the progress page")) {
		gpu_watch_stop(g);
		return -1;
	}
	*page = g->page;
	*device = on_device;
	return 0;
}

int greta_gpu_busy(struct greta_gpu *g, bool *busy, struct greta_err *e)
{
	gpu_result r = g->api.stream_query(g->stream);

	*busy = r == NOT_READY;
	return *busy ? 0 : gpu_check(&g->api, r, e, "executing on the GPU");
}
