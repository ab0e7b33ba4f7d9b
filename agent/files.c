#include "agent/files.h"
#include "base/cleanup.h"
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

char *file_path(char out[FILE_PATH_MAX], const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(out, FILE_PATH_MAX, fmt, ap);
	va_end(ap);
	return out;
}

int file_text(const char *dir, const char *name, char *out, size_t cap)
{
	char path[1024];
	int n = name ? snprintf(path, sizeof path, "%s/%s", dir, name) : snprintf(path, sizeof path, "%s", dir);
	if (n < 0 || (size_t)n >= sizeof path)
		return -1;
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return -1;
	size_t len = 0;
	ssize_t got = 0;
	while (len + 1 < cap && (got = read(fd, out + len, cap - 1 - len)) > 0)
		len += (size_t)got;
	if (got < 0)
		return -1;
	while (len > 0 && isspace((unsigned char)out[len - 1]))
		len--;
	out[len] = '\0';
	return 0;
}

int file_i64(const char *dir, const char *name, int64_t *out)
{
	char text[64];
	return file_text(dir, name, text, sizeof text) == 0 ? greta_str_i64(text, out) : -1;
}

int file_field(const char *text, const char *key, char *out, size_t cap)
{
	size_t key_len = strlen(key);
	for (const char *line = text; line && *line; line = strchr(line, '\n'), line = line ? line + 1 : NULL) {
		while (*line == ' ' || *line == '\t')
			line++;
		if (strncmp(line, key, key_len) != 0 || !strchr(" \t:=", line[key_len]))
			continue;
		const char *value = line + key_len + strspn(line + key_len, " \t:=");
		size_t n = strcspn(value, "\n");
		while (n > 0 && isspace((unsigned char)value[n - 1]))
			n--;
		snprintf(out, cap, "%.*s", (int)n, value);
		return 0;
	}
	return -1;
}

int file_field_i64(const char *text, const char *key, int64_t *out)
{
	char value[64];
	if (file_field(text, key, value, sizeof value) != 0)
		return -1;
	value[strspn(value, "0123456789-")] = '\0'; /* "12345 kB" */
	return greta_str_i64(value, out);
}

static int by_version(const void *a, const void *b)
{
	return strverscmp(*(char *const *)a, *(char *const *)b);
}

void file_names(const char *dir, const char *prefix, struct greta_strs *out)
{
	cleanup_dir DIR *d = opendir(dir);
	for (struct dirent *entry; d && (entry = readdir(d));)
		if (entry->d_name[0] != '.' && greta_str_starts(entry->d_name, prefix))
			greta_strs_add(out, entry->d_name);
	if (out->n > 1)
		qsort(out->items, out->n, sizeof *out->items, by_version);
}

int64_t file_free_bytes(const char *path)
{
	struct statvfs st;
	return statvfs(path, &st) == 0 ? (int64_t)(st.f_bavail * st.f_frsize) : 0;
}
