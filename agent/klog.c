#include "agent/klog.h"
#include "base/clock.h"
#include "base/mem.h"
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RECORD_MAX 8192 /* of /dev/kmsg; one read gives one record */

void klog_open(struct klog *k)
{
	const char *set = getenv("GRETA_KMSG"), *path = set && *set ? set : "/dev/kmsg";
	*k = (struct klog){0};
	k->fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (k->fd >= 0 && lseek(k->fd, 0, SEEK_END) >= 0)
		return;
	snprintf(k->blind, sizeof k->blind, "kernel log (%s: %s)", path, strerror(errno));
	if (k->fd >= 0)
		close(k->fd);
	k->fd = -1;
}

/* "6,1234,5678,-;message" is a record's first line, " KEY=value" what may follow it: the message alone is kept. Of a plain
 * file, whose reads hold several records, a line without that framing is taken as it is. */
static void keep_line(struct klog *k, const char *line, size_t n)
{
	const char *message = n && isdigit((unsigned char)*line) ? memchr(line, ';', n) : NULL;
	if (message)
		n -= (size_t)(++message - line);
	else
		message = line;
	if (n == 0 || *line == ' ' || k->lines.len + n + 1 > KLOG_KEPT)
		return;
	greta_buf_add(&k->lines, message, n);
	greta_buf_addc(&k->lines, '\n');
}

static void keep(struct klog *k, const char *text, size_t n)
{
	while (n > 0) {
		const char *newline = memchr(text, '\n', n);
		size_t len = newline ? (size_t)(newline - text) : n;
		keep_line(k, text, len);
		text += len + (newline != NULL);
		n -= len + (newline != NULL);
	}
}

bool klog_read(struct klog *k)
{
	char record[RECORD_MAX];
	size_t before = k->lines.len;
	bool any = false;
	while (k->fd >= 0) {
		ssize_t n = read(k->fd, record, sizeof record);
		if (n < 0 && (errno == EPIPE || errno == EINTR))
			continue; /* EPIPE: some were overwritten before we came */
		if (n <= 0)
			break;
		keep(k, record, (size_t)n);
		any = true;
	}
	if (k->lines.len > before)
		*GRETA_PUSH(k->marks, k->n_marks, k->cap_marks) = (struct klog_mark){before, greta_clock_mono_ns()};
	return any;
}

char *klog_between(const struct klog *k, int64_t from_ns, int64_t until_ns)
{
	size_t from = k->lines.len, until = k->lines.len;
	for (size_t i = k->n_marks; i-- > 0;) {
		if (k->marks[i].ns >= from_ns)
			from = k->marks[i].at;
		if (k->marks[i].ns > until_ns)
			until = k->marks[i].at;
	}
	return from < until ? greta_strndup(k->lines.data + from, until - from) : greta_strdup("");
}

char *klog_find(const struct klog *k, const char *const *words)
{
	for (const char *line = greta_buf_str(&k->lines); *line;) {
		size_t n = strcspn(line, "\n"), found = 0, wanted = 0;
		for (; words[wanted]; wanted++)
			found += memmem(line, n, words[wanted], strlen(words[wanted])) != NULL;
		if (found == wanted)
			return greta_strndup(line, n);
		line += n + (line[n] == '\n');
	}
	return NULL;
}

void klog_close(struct klog *k)
{
	if (k->fd >= 0)
		close(k->fd);
	greta_buf_release(&k->lines);
	free(k->marks);
	*k = (struct klog){.fd = -1};
}
