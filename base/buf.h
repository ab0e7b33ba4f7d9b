/* buf: a growable byte buffer. Zero is a valid empty one. `data` is always NUL-terminated once anything was added,
 * so text in it can be used as a string. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

struct greta_buf {
	char *data;
	size_t len;
	size_t cap;
};

void greta_buf_add(struct greta_buf *b, const void *bytes, size_t n);
void greta_buf_adds(struct greta_buf *b, const char *s);
void greta_buf_addc(struct greta_buf *b, char c);
void greta_buf_addi(struct greta_buf *b, int64_t n); /* in decimal */
void greta_buf_addf(struct greta_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void greta_buf_vaddf(struct greta_buf *b, const char *fmt, va_list ap);
void greta_buf_add_word(struct greta_buf *b, const char *s); /* quoted, as one word of a POSIX shell */
char *greta_buf_reserve(struct greta_buf *b, size_t n);  /* room for n more bytes; len grows by the caller's hand */
void greta_buf_consume(struct greta_buf *b, size_t n);   /* drops the first n bytes */
void greta_buf_clear(struct greta_buf *b);               /* len = 0, memory kept */
void greta_buf_release(struct greta_buf *b);             /* frees; leaves a valid empty buffer */
char *greta_buf_steal(struct greta_buf *b);              /* the caller owns it ("" if empty); b is empty after */
const char *greta_buf_str(const struct greta_buf *b);    /* never NULL */

#define cleanup_buf __attribute__((cleanup(greta_buf_release)))

#endif
