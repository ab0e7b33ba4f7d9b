/* guarded: memory that ends where a page without access begins, so that reading or writing one byte too far ends the
 * test, also in code that no sanitizer watches. */
#ifndef TESTS_GUARDED_H
#define TESTS_GUARDED_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static inline size_t guarded_bytes_(size_t n)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	return (n + page - 1) / page * page + page;
}

static inline void *guarded_alloc(size_t n)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), bytes = guarded_bytes_(n);
	char *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED || mprotect(at + bytes - page, page, PROT_NONE))
		abort();
	return at + bytes - page - n;
}

static inline void guarded_free(const void *p, size_t n)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), bytes = guarded_bytes_(n);
	munmap((void *)((uintptr_t)p + n + page - bytes), bytes);
}

#endif
