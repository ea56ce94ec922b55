/* Finds the packets in a capture file that is given piece by piece: pcap and pcapng, either byte order.
 *
 * Formats: draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng.
 */
#include "packets.h"

enum { UNKNOWN, PCAP, PCAPNG };
enum { SECTION = 0x0A0D0D0A, INTERFACE = 1, OLD_PACKET = 2, SIMPLE = 3, ENHANCED = 6 };
enum { FINE, DAMAGED, NO_MEMORY };

typedef struct {
	uint16_t link_type;
	uint8_t resolution;	/* if_tsresol: a power of ten, or of two with the high bit */
	uint8_t known;
	uint32_t snap;
	int64_t offset_s;
	char name[64];
} Interface;

typedef struct {
	int32_t format;
	int32_t swapped;
	int32_t state;
	uint32_t scale;		/* pcap: nanoseconds of a fraction's unit */
	uint32_t link_type;	/* pcap */
	uint32_t first;		/* pcapng: where the section's interfaces begin */
	uint64_t skip;		/* bytes of a block that nobody needs, beyond what was given */
	Interface *interfaces;
	size_t count, room;
} Scan;

static uint32_t u32(const Scan *scan, const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, 4);
	return scan->swapped ? __builtin_bswap32(value) : value;
}

static uint16_t u16(const Scan *scan, const uint8_t *at)
{
	uint16_t value;

	memcpy(&value, at, 2);
	return scan->swapped ? __builtin_bswap16(value) : value;
}

EXPORT const uint32_t record_size = sizeof(Record);

EXPORT Scan *scan_new(void) { return calloc(1, sizeof(Scan)); }

EXPORT void scan_free(Scan *scan)
{
	if (scan)
		free(scan->interfaces);
	free(scan);
}

EXPORT int32_t scan_state(const Scan *scan) { return scan->state; }
EXPORT int32_t scan_format(const Scan *scan) { return scan->format; }
EXPORT uint64_t scan_interfaces(const Scan *scan) { return scan->count; }
EXPORT const char *scan_name(const Scan *scan, uint64_t number) { return scan->interfaces[number].name; }

static int readable(uint32_t link_type)
{
	switch (link_type) {
	case 0: case 1: case 12: case 14: case 101: case 113: case 228: case 229: case 276:
		return 1;
	}
	return 0;
}

/* Begin to read: how many bytes the file's header takes; 0 if there are too few, -1 if it is none. */
static int64_t begin(Scan *scan, const uint8_t *data, int64_t size)
{
	uint32_t magic;

	if (size < 4)
		return 0;
	memcpy(&magic, data, 4);
	if (magic == SECTION) {
		scan->format = PCAPNG;
		return 0;
	}
	for (int swapped = 0; swapped < 2; swapped++) {
		uint32_t known = swapped ? __builtin_bswap32(magic) : magic;

		if (known != 0xA1B23C4D && known != 0xA1B2C3D4)
			continue;
		if (size < 24)
			return 0;
		scan->swapped = swapped;
		scan->scale = known == 0xA1B23C4D ? 1 : 1000;
		scan->link_type = u32(scan, data + 20) & 0xFFFF;
		if (!readable(scan->link_type))
			return -1;
		scan->format = PCAP;
		return 24;
	}
	return -1;
}

static int64_t scan_pcap(Scan *scan, const uint8_t *data, int64_t size, uint32_t largest, Record *out,
			 int64_t room, int64_t *used)
{
	int64_t at = *used, found = 0;

	while (at + 16 <= size && found < room) {
		uint32_t captured = u32(scan, data + at + 8);

		if (captured > largest) {
			scan->state = DAMAGED;
			break;
		}
		if (at + 16 + captured > size)
			break;
		out[found++] = (Record){
			.offset = at + 16,
			.unix_ns = (int64_t)u32(scan, data + at) * 1000000000 +
				   (int64_t)u32(scan, data + at + 4) * scan->scale,
			.captured = captured,
			.wire = u32(scan, data + at + 12),
			.link_type = (uint16_t)scan->link_type,
		};
		at += 16 + captured;
	}
	*used = at;
	return found;
}

static int64_t nanoseconds(const Interface *interface, uint64_t stamp)
{
	unsigned __int128 ns = stamp;
	int power = interface->resolution & 0x7F;

	if (interface->resolution & 0x80) {
		ns = power < 64 ? ns * 1000000000 >> power : 0;
	} else if (power <= 9) {
		for (; power < 9; power++)
			ns *= 10;
	} else {
		for (; power > 9 && ns; power--)
			ns /= 10;
	}
	return (int64_t)(((uint64_t)ns + (uint64_t)interface->offset_s * 1000000000u) & INT64_MAX);
}

/* Note an interface description block: its link type, resolution and name. */
static void describe(Scan *scan, const uint8_t *block, uint32_t length)
{
	if (length < 20 || !grow((void **)&scan->interfaces, &scan->room, scan->count + 1, sizeof(Interface))) {
		scan->state = length < 20 ? DAMAGED : NO_MEMORY;
		return;
	}
	Interface *made = &scan->interfaces[scan->count++];

	*made = (Interface){.link_type = u16(scan, block + 8), .resolution = 6, .snap = u32(scan, block + 12)};
	made->known = (uint8_t)readable(made->link_type);
	for (uint32_t at = 16; at + 4 <= length - 4;) {
		uint32_t code = u16(scan, block + at), size = u16(scan, block + at + 2);

		if (code == 0 || at + 4 + size > length - 4)
			break;
		if (code == 9 && size >= 1)
			made->resolution = block[at + 4];
		if (code == 14 && size == 8) {
			uint64_t both[2] = {u32(scan, block + at + 4), u32(scan, block + at + 8)};

			made->offset_s = (int64_t)(scan->swapped ? both[0] << 32 | both[1] : both[1] << 32 | both[0]);
		}
		if (code == 2)
			memcpy(made->name, block + at + 4, size < 63 ? size : 63);
		at += 4 + (size + 3) / 4 * 4;
	}
}

/* Read a packet block; 0 if it is damaged. */
static int packet(const Scan *scan, uint32_t kind, const uint8_t *block, uint32_t length, uint32_t largest,
		  int64_t at, Record *out)
{
	uint32_t head = kind == SIMPLE ? 12 : 28, number = 0;

	if (length < head + 4)
		return 0;
	if (kind == ENHANCED)
		number = u32(scan, block + 8);
	else if (kind == OLD_PACKET)
		number = u16(scan, block + 8);
	if (number >= scan->count - scan->first)
		return 0;
	const Interface *interface = &scan->interfaces[scan->first + number];
	uint32_t space = length - head - 4, wire = u32(scan, block + (kind == SIMPLE ? 8 : 24));
	uint32_t captured = kind == SIMPLE ? wire : u32(scan, block + 20);

	if (kind == SIMPLE) {
		captured = interface->snap && interface->snap < captured ? interface->snap : captured;
		captured = captured < space ? captured : space;
	}
	if (captured > space || captured > largest)
		return 0;
	*out = (Record){
		.offset = at + head,
		.captured = captured,
		.wire = wire,
		.interface = scan->first + number,
		.link_type = interface->known ? interface->link_type : 0xFFFF,
	};
	if (kind != SIMPLE) {
		uint64_t stamp = (uint64_t)u32(scan, block + 12) << 32 | u32(scan, block + 16);

		out->unix_ns = nanoseconds(interface, stamp);
	}
	for (uint32_t option = head + (captured + 3) / 4 * 4; kind == ENHANCED && option + 8 <= length - 4;) {
		uint32_t code = u16(scan, block + option), size = u16(scan, block + option + 2);

		if (code == 0)
			break;
		if (code == 2 && size == 4)
			out->direction = u32(scan, block + option + 4) & 3;
		option += 4 + (size + 3) / 4 * 4;
	}
	return 1;
}

static int64_t scan_pcapng(Scan *scan, const uint8_t *data, int64_t size, uint32_t largest, Record *out,
			   int64_t room, int64_t *used)
{
	int64_t at = *used, found = 0;

	while (at + 12 <= size && found < room && scan->state == FINE) {
		uint32_t kind = u32(scan, data + at);

		if (kind == SECTION) { /* the same in either order; its byte order may be another */
			uint32_t order;

			memcpy(&order, data + at + 8, 4);
			if (order != 0x1A2B3C4D && order != 0x4D3C2B1A) {
				scan->state = DAMAGED;
				break;
			}
			scan->swapped = order == 0x4D3C2B1A;
		}
		uint32_t length = u32(scan, data + at + 4);
		int ours = kind == SECTION || kind == INTERFACE || kind == SIMPLE || kind == ENHANCED ||
			   kind == OLD_PACKET;

		if (length < 12 || length % 4 || (ours && length > largest + 65536)) {
			scan->state = DAMAGED;
			break;
		}
		if (at + length > size) {
			if (ours)
				break;
			scan->skip = (uint64_t)(at + length - size);
			at = size;
			break;
		}
		if (kind == SECTION)
			scan->first = (uint32_t)scan->count;
		else if (kind == INTERFACE)
			describe(scan, data + at, length);
		else if (ours && packet(scan, kind, data + at, length, largest, at, &out[found]))
			found++;
		else if (ours)
			scan->state = DAMAGED;
		if (scan->state == FINE)
			at += length;
	}
	*used = at;
	return found;
}

/* Find the packets in the next piece of a file. `used` becomes how much of it is done with; what is
 * left comes again at the start of the next piece.
 */
EXPORT int64_t scan_next(Scan *scan, const uint8_t *data, int64_t size, uint32_t largest, Record *out,
			 int64_t room, int64_t *used)
{
	*used = 0;
	if (scan->state != FINE)
		return 0;
	if (scan->skip) {
		uint64_t skipped = scan->skip < (uint64_t)size ? scan->skip : (uint64_t)size;

		scan->skip -= skipped;
		*used = (int64_t)skipped;
	}
	if (scan->format == UNKNOWN) {
		int64_t header = begin(scan, data, size);

		if (header < 0)
			scan->state = DAMAGED;
		if (header <= 0 && scan->format == UNKNOWN)
			return 0;
		*used = header;
	}
	return (scan->format == PCAP ? scan_pcap : scan_pcapng)(scan, data, size, largest, out, room, used);
}
