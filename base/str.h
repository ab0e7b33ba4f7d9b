/* str: the few string helpers that libc lacks. */
#ifndef BASE_STR_H
#define BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool greta_str_eq(const char *a, const char *b);                 /* NULL equals NULL only */
bool greta_str_starts(const char *s, const char *prefix);
bool greta_str_ends(const char *s, const char *suffix);
int greta_str_i64(const char *s, int64_t *out);                  /* whole string, decimal; -1 if it is not one */
int greta_str_f64(const char *s, double *out);                   /* whole string, finite, C locale */
void greta_str_copy(char *dst, size_t cap, const char *src);     /* always terminated, cut if too long */
bool greta_str_in(const char *s, const char *const *list, size_t n);

/* How many bytes from s on stand in a JSON string as they are, and stand for themselves: ASCII but for control characters, the
 * quote and the backslash. */
size_t greta_str_plain(const char *s, size_t n);
/* Length of the well-formed UTF-8 character at s (at most n bytes, one at least), 0 if there is none: overlong forms,
 * surrogates and what lies above U+10FFFF are not. */
size_t greta_str_utf8_len(const char *s, size_t n);

/* A list of owned strings; zero is empty. `items` is NULL-terminated once it holds one, so it serves as an argv. */
struct greta_strs {
	char **items;
	size_t n, cap;
};

void greta_strs_add(struct greta_strs *v, const char *s);        /* copies */
void greta_strs_addf(struct greta_strs *v, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool greta_strs_has(const struct greta_strs *v, const char *s);
void greta_strs_release(struct greta_strs *v);
#define cleanup_strs __attribute__((cleanup(greta_strs_release)))

/* Human sizes and times into a caller's buffer, returning it: "13.5 GB" (powers of 1000), "22.8 s", "1 h 04 min". */
char *greta_str_bytes(char *out, size_t cap, double bytes);
char *greta_str_seconds(char *out, size_t cap, double s);

/* Edit distance, for "did you mean". */
int greta_str_distance(const char *a, const char *b);

#endif
