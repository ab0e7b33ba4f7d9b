#include "db/internal.h"

int db_pack(struct greta_db *db, int level, const void *data, size_t n, struct greta_buf *out, struct greta_err *e)
{
	size_t bound = ZSTD_compressBound(n);
	char *to = greta_buf_reserve(out, bound);
	size_t packed = ZSTD_compressCCtx(db->cctx, to, bound, data, n, level);

	if (ZSTD_isError(packed))
		return greta_err_set(e, GRETA_EFAIL, "zstd: %s", ZSTD_getErrorName(packed));
	out->len += packed;
	return 0;
}

int db_unpack(struct greta_db *db, const void *data, size_t n, size_t raw_bytes, struct greta_buf *out,
	      struct greta_err *e)
{
	unsigned long long said = ZSTD_getFrameContentSize(data, n);
	size_t got;

	if (said != raw_bytes)
		return greta_err_set(e, GRETA_EFAIL, "%s: a compressed chunk is damaged (%zu bytes were put in)",
				     db->path, raw_bytes);
	got = ZSTD_decompressDCtx(db->dctx, greta_buf_reserve(out, raw_bytes), raw_bytes, data, n);
	if (ZSTD_isError(got))
		return greta_err_set(e, GRETA_EFAIL, "%s: a compressed chunk is damaged: %s", db->path,
				     ZSTD_getErrorName(got));
	out->len += got;
	out->data[out->len] = '\0';
	return 0;
}
