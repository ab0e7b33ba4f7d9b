#include "base/sha256.h"
#include "base/cleanup.h"
#include "base/mem.h"
#include <errno.h>
#include <fcntl.h>

void greta_sha256_init(struct greta_sha256 *h)
{
	sha256_init(&h->ctx);
}

void greta_sha256_add(struct greta_sha256 *h, const void *data, size_t n)
{
	if (n)
		sha256_update(&h->ctx, n, data);
}

char *greta_sha256_hex(struct greta_sha256 *h, char out[GRETA_SHA256_HEX + 1])
{
	static const char hex[] = "0123456789abcdef";
	uint8_t digest[SHA256_DIGEST_SIZE];
	sha256_digest(&h->ctx, sizeof digest, digest);
	for (size_t i = 0; i < sizeof digest; i++) {
		out[2 * i] = hex[digest[i] >> 4];
		out[2 * i + 1] = hex[digest[i] & 15];
	}
	out[GRETA_SHA256_HEX] = '\0';
	return out;
}

char *greta_sha256_of(const void *data, size_t n, char out[GRETA_SHA256_HEX + 1])
{
	struct greta_sha256 h;
	greta_sha256_init(&h);
	greta_sha256_add(&h, data, n);
	return greta_sha256_hex(&h, out);
}

int greta_sha256_file(const char *path, char out[GRETA_SHA256_HEX + 1], struct greta_err *e)
{
	const size_t chunk_bytes = 256 * 1024;
	struct greta_sha256 h;
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return greta_err_sys(e, "can't open %s", path);
	cleanup_free char *chunk = greta_alloc(chunk_bytes);
	greta_sha256_init(&h);
	for (;;) {
		ssize_t n = read(fd, chunk, chunk_bytes);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return greta_err_sys(e, "can't read %s", path);
		if (n == 0)
			break;
		greta_sha256_add(&h, chunk, (size_t)n);
	}
	greta_sha256_hex(&h, out);
	return 0;
}
