#include "agent/cmd.h"
#include "base/cleanup.h"
#include "base/mem.h"
#include "base/sha256.h"
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#define CHUNK_BYTES ((size_t)256 * 1024)
#define LOOK_AGAIN_MS 10
#define WRITE_BYTES (8 * 1024 * 1024) /* what goes to the disk at once */

struct values {
	int64_t bytes;
};

static const struct greta_opt options[] = {
	{"bytes", 0, GRETA_OPT_I64, offsetof(struct values, bytes), "N", "wait until so many have been written, in order, and hash those"},
	{0},
};

static const struct greta_opts opts = {
	.program = "greta-agent hash",
	.operands = "FILE",
	.min_operands = 1,
	.max_operands = 1,
	.summary = "the SHA-256 of a file",
	.details = "Asked by greta-orch for what it has uploaded, before the file gets its name.",
	.opts = options,
};

/* Whoever sends has closed our input, or is gone with the connection. */
static bool is_alone(void)
{
	struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
	char byte;
	return poll(&in, 1, LOOK_AGAIN_MS) > 0 && read(STDIN_FILENO, &byte, 1) <= 0;
}

/* What has come goes to the disk while the rest comes, and whoever syncs the file at the end has little to wait for. */
static void write_back(int fd, int64_t *from, int64_t to)
{
	if (to - *from < WRITE_BYTES)
		return;
	sync_file_range(fd, *from, to - *from, SYNC_FILE_RANGE_WRITE);
	*from = to;
}

static int hash_growing(const char *path, int64_t bytes, char hex[GRETA_SHA256_HEX + 1], struct greta_err *e)
{
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	cleanup_free char *chunk = greta_alloc(CHUNK_BYTES);
	struct greta_sha256 h;
	int64_t written = 0;
	if (fd < 0)
		return greta_err_sys(e, "can't open %s", path);
	greta_sha256_init(&h);
	for (int64_t left = bytes; left > 0;) {
		ssize_t n = read(fd, chunk, left < (int64_t)CHUNK_BYTES ? (size_t)left : CHUNK_BYTES);
		if (n < 0)
			return greta_err_sys(e, "can't read %s", path);
		if (n == 0 && is_alone())
			return greta_err_set(e, GRETA_ECLOSED, "%s: %lld bytes are missing, and whoever sent them is gone", path,
					     (long long)left);
		greta_sha256_add(&h, chunk, (size_t)n);
		left -= n;
		write_back(fd, &written, bytes - left);
	}
	greta_sha256_hex(&h, hex);
	return 0;
}

/* Not by the remembered hash: a disk that gave back something else than what was written must be noticed. */
static int run(const struct agent_paths *paths, int argc, char **argv, struct greta_err *e)
{
	cleanup_strs struct greta_strs files = {0};
	char hex[GRETA_SHA256_HEX + 1];
	struct values v = {.bytes = -1};
	int rc = cmd_parse(&opts, argc, argv, &v, &files, false, e);
	(void)paths;
	if (rc != 0)
		return rc > 0 ? 0 : rc;
	if ((v.bytes < 0 ? greta_sha256_file(files.items[0], hex, e) : hash_growing(files.items[0], v.bytes, hex, e)) != 0)
		return -1;
	puts(hex);
	return 0;
}

const struct agent_cmd cmd_hash = {.name = "hash", .summary = "the SHA-256 of a file", .internal = true, .exec = run};
