/* columns: rows of (time stamp, readings) as a compact column block, before zstd. Stands alone, since the loadable
 * extension has it too.
 *
 *	varint n rows, varint m columns
 *	times:     varint(zigzag) of the first, then of the change of the difference, n in all
 *	a column:  one byte: kind, plus 8 when some readings are missing
 *	           missing: (n + 7) / 8 bytes of bits, bit r of byte r / 8 set where row r has a reading
 *	  kind 0   no reading at all
 *	  kind 1   decimal: one byte k; a reading is v / 10^k; varint(zigzag) of each v's difference to the one before
 *	  kind 2   double: eight planes, plane b holding byte b (little endian) of every reading
 *
 * Decimal is taken when it gives back exactly the same doubles, which it does for nearly all that sensors say.
 */
#ifndef DB_COLUMNS_H
#define DB_COLUMNS_H

#include "base/buf.h"
#include <stddef.h>
#include <stdint.h>

struct columns {
	size_t n, m;
	int64_t *t_ns;   /* n */
	double *values;  /* [n][m]; NAN: missing */
};

void columns_encode(const int64_t *t_ns, const double *values, size_t n, size_t m, struct greta_buf *out);
/* 0, or -1 for bytes that are no such block (out is empty then). Owned: columns_release. */
int columns_decode(const void *data, size_t len, struct columns *out);
void columns_release(struct columns *c);

#endif
