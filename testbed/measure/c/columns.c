/* Makes columns of rows, some rows at a time so that they stay in the processor's cache. */
#include "packets.h"

enum { TILE = 2048 };

/* A column to make: where in a row it is, how many bytes it has, and where it goes. */
typedef struct {
	uint32_t offset, size;
	void *out;
} Column;

EXPORT const uint32_t column_size = sizeof(Column);

#define COPY(kind)                                                                         \
	for (int64_t row = 0; row < count; row++)                                          \
		((kind *)column->out + first)[row] =                                       \
			*(const kind *)((const uint8_t *)&rows[first + row] + column->offset)

EXPORT void columns(const Row *rows, int64_t all, const Column *wanted, int32_t columns)
{
	for (int64_t first = 0; first < all; first += TILE) {
		int64_t count = all - first < TILE ? all - first : TILE;

		for (const Column *column = wanted; column < wanted + columns; column++) {
			switch (column->size) {
			case 1: COPY(uint8_t); break;
			case 2: COPY(uint16_t); break;
			case 4: COPY(uint32_t); break;
			default: COPY(uint64_t);
			}
		}
	}
}

/* Which rows have all of `what`, a bit each, the first in the lowest; how many have. `has` is that column. */
EXPORT int64_t bitmap(const uint16_t *has, int64_t count, uint32_t what, uint8_t *bits)
{
	int64_t found = 0, row = 0;

	for (; row + 8 <= count; row += 8) {
		uint32_t byte = 0, sum = 0;

		for (int bit = 0; bit < 8; bit++) {
			uint32_t one = (has[row + bit] & what) == what;

			byte |= one << bit;
			sum += one;
		}
		bits[row / 8] = (uint8_t)byte;
		found += sum;
	}
	if (row < count)
		bits[row / 8] = 0;
	for (; row < count; row++) {
		uint8_t one = (has[row] & what) == what;

		bits[row / 8] |= (uint8_t)(one << row % 8);
		found += one;
	}
	return found;
}

/* How many rows are in the order of time and so old that nothing before them is expected; all but `most`
 * are that. -1: they are not in the order of time.
 */
EXPORT int64_t settled(const Row *rows, int64_t count, int64_t disorder_ns, int64_t most)
{
	int64_t done = count;

	for (int64_t row = 1; row < count; row++)
		if (rows[row].t_ns < rows[row - 1].t_ns)
			return -1;
	while (done && rows[done - 1].t_ns > rows[count - 1].t_ns - disorder_ns)
		done--;
	return done > count - most ? done : count - most;
}
