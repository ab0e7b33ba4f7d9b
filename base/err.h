/* err: one small error value, kept on the caller's stack.
 *
 * A function that can fail takes `struct greta_err *e` last and returns 0 or -1 (or a pointer or NULL).
 * On success *e is left untouched; on failure it holds what went wrong, where, and the way out, in one line
 * that a user can read. Setters return -1, so `return greta_err_set(e, ...)` reads well. `e` may be NULL.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdbool.h>

/* A code exists only where some caller acts on it differently. */
#define GRETA_CODES(X)                                                                                                 \
	X(OK)                                                                                                          \
	X(EFAIL)        /* went wrong; nothing but the text to tell */                                                 \
	X(EINVAL)       /* the input is wrong: a bad file, a bad argument (exit code 2) */                             \
	X(ENOENT)       /* the named thing does not exist */                                                           \
	X(EEXIST)       /* it exists already */                                                                        \
	X(EAGAIN)       /* nothing yet; try again when the loop says so */                                             \
	X(EBUSY)        /* somebody else holds it; the text says who */                                                \
	X(ETIMEOUT)     /* a deadline passed */                                                                        \
	X(EPROTO)       /* the peer broke the protocol */                                                              \
	X(EVERSION)     /* the peer or file is of a version we do not speak */                                         \
	X(EAUTH)        /* host key or user authentication refused */                                                  \
	X(EFENCED)      /* a newer controller owns this */                                                             \
	X(ENOSPC)       /* disk or quota full */                                                                       \
	X(ENOMEM)       /* memory refused for a size that came from input */                                           \
	X(EUNSUPPORTED) /* a valid request that this build or machine can't serve */                                   \
	X(ECLOSED)      /* end of stream */                                                                            \
	X(ECANCELLED)   /* a person asked to stop */

enum greta_code {
#define X(name) GRETA_##name,
	GRETA_CODES(X)
#undef X
};

struct greta_err {
	enum greta_code code;
	int sys; /* errno, where one was the cause; else 0 */
	char text[480];
};

int greta_err_set(struct greta_err *e, enum greta_code code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* As greta_err_set, with errno's words appended ("...: No space left on device") and the code chosen by errno. */
int greta_err_sys(struct greta_err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Puts context in front of the text that is there: "node gpu3: " + text. */
int greta_err_wrap(struct greta_err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* "EINVAL" and so on, for logs and JSON. */
const char *greta_code_name(enum greta_code code);

#endif
