/* klog: the kernel's messages from a moment on. Needs no privilege where dmesg_restrict is off; says so where it is. */
#ifndef AGENT_KLOG_H
#define AGENT_KLOG_H

#include "base/buf.h"
#include <stdbool.h>
#include <stdint.h>

#define KLOG_KEPT (256 * 1024)

struct klog {
	int fd;                 /* -1: blind */
	struct greta_buf lines; /* what was read, a line each, at most KLOG_KEPT */
	char blind[128];        /* why nothing can be seen; "" if it can */
	struct klog_mark {
		size_t at;      /* in lines: what was read ... */
		int64_t ns;     /* ... at this time, monotonic */
	} *marks;
	size_t n_marks, cap_marks;
};

/* From now on. GRETA_KMSG names a plain file instead of /dev/kmsg, read from its end. */
void klog_open(struct klog *k);
/* Takes what has come; true if there was something. Never waits. */
bool klog_read(struct klog *k);
/* The first line kept that holds all of the words given (ends with NULL); NULL if none does. Caller frees. */
char *klog_find(const struct klog *k, const char *const *words);
/* What was read from one time up to another, monotonic. Caller frees. */
char *klog_between(const struct klog *k, int64_t from_ns, int64_t until_ns);
void klog_close(struct klog *k);

#endif
