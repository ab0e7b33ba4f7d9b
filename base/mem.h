/* mem: allocation policy.
 *
 * Small allocations whose size is ours never fail: greta_alloc and friends abort with a message instead, since no
 * caller could do better. A size that comes from input goes through greta_try_alloc, which returns NULL.
 */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stddef.h>

void *greta_alloc(size_t bytes);                          /* zeroed */
void *greta_realloc(void *p, size_t bytes);               /* new bytes are not zeroed */
void *greta_try_alloc(size_t n, size_t size);             /* zeroed n*size; NULL on overflow or refusal */
char *greta_strdup(const char *s);                        /* NULL stays NULL */
char *greta_strndup(const char *s, size_t len);
char *greta_format(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* For a process that takes and frees megabytes all day: the heap keeps 16 MiB of what was freed. As a rule malloc gives it back
 * from 128 KiB on, and each page is faulted in anew; that was a fifth of what it costs to store an outcome. */
void greta_mem_keep(void);

/* Appends one zeroed element to a growing array and returns it: GRETA_PUSH(v->items, v->n, v->cap). */
void *greta_array_grow(void *items, size_t size, size_t n, size_t *cap);
#define GRETA_PUSH(items, n, cap) \
	((items) = greta_array_grow((items), sizeof *(items), (n), &(cap)), &(items)[(n)++])

#define GRETA_COUNT(array) (sizeof(array) / sizeof(array)[0])

#endif
