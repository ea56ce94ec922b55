/* Parses packets: Ethernet (RFC 894) with VLAN tags, Linux's cooked and raw captures, ARP (RFC 826), IPv4
 * (RFC 791), IPv6 (RFC 8200) with its extension headers, ICMP (RFC 792, RFC 4443), TCP (RFC 9293) and UDP.
 *
 * No byte beyond what was captured is looked at. A field that the snap length cut off, or that the
 * packet does not have, is absent. Lengths come from the IP header, so they do not depend on the snap length.
 */
#include "packets.h"

enum { DNS_PORT = 53, BGP_PORT = 179, BFD_PORT = 3784, BFD_MULTIHOP_PORT = 4784 };
enum { FRAGMENT_HEADER = 44, AUTHENTICATION = 51 };
enum { V4 = 4, V6 = 6 };
/* What a payload starts with; the names are in packets.py. */
enum {
	NOTHING, DNS_QUERY, DNS_RESPONSE, BGP_OPEN, BGP_UPDATE, BGP_NOTIFICATION, BGP_KEEPALIVE, BGP_REFRESH,
	TLS_CLIENT_HELLO, TLS_SERVER_HELLO, TLS_HANDSHAKE, TLS_CHANGE_CIPHER, TLS_ALERT, TLS_DATA,
	QUIC_INITIAL, QUIC_0RTT, QUIC_HANDSHAKE, QUIC_RETRY, QUIC_NEGOTIATION, QUIC_SHORT,
	BFD_ADMIN_DOWN, BFD_DOWN, BFD_INIT, BFD_UP
};

typedef struct {
	uint8_t bytes[16];
	uint8_t family;
} Address;

typedef struct {
	uint32_t offset, size;
} Kept;

typedef struct {
	uint32_t bytes, number; /* number from 1; 0: none */
} Recent;

enum { RECENT = 1024 };	/* IPv4 addresses met lately, by their last bits */

typedef struct {
	int64_t t0_ns;
	uint8_t mac[6], peer_mac[6];
	uint8_t bridge, peer_bridge, known; /* known: the point's MACs are, so they tell the direction */
	Address *addresses;
	size_t count, room;
	uint32_t *slots;
	size_t slot_count;
	Recent recent[RECENT];
	Extra *extras;		/* of this chunk */
	size_t extra_count, extra_room;
	uint32_t extras_before;
	uint8_t *payloads;	/* of this chunk */
	size_t payload_size, payload_room;
	Kept *kept;
	size_t kept_count, kept_room;
	uint32_t kept_before;
	int32_t failed;
} Parser;

EXPORT const uint32_t row_size = sizeof(Row), extra_size = sizeof(Extra), address_size = sizeof(Address),
		     kept_size = sizeof(Kept);

EXPORT Parser *parser_new(int64_t t0_ns, const uint8_t *mac, const uint8_t *peer_mac, int32_t bridge,
			  int32_t peer_bridge, int32_t known)
{
	Parser *parser = calloc(1, sizeof(Parser));

	if (!parser)
		return NULL;
	parser->t0_ns = t0_ns;
	memcpy(parser->mac, mac, 6);
	memcpy(parser->peer_mac, peer_mac, 6);
	parser->bridge = (uint8_t)bridge;
	parser->peer_bridge = (uint8_t)peer_bridge;
	parser->known = (uint8_t)known;
	return parser;
}

EXPORT void parser_free(Parser *parser)
{
	if (!parser)
		return;
	free(parser->addresses);
	free(parser->slots);
	free(parser->extras);
	free(parser->payloads);
	free(parser->kept);
	free(parser);
}

EXPORT const Address *parser_addresses(const Parser *parser, uint64_t *count)
{
	*count = parser->count;
	return parser->addresses;
}

EXPORT const Extra *parser_extras(const Parser *parser, uint64_t *count)
{
	*count = parser->extra_count;
	return parser->extras;
}

EXPORT const Kept *parser_kept(const Parser *parser, uint64_t *count)
{
	*count = parser->kept_count;
	return parser->kept;
}

EXPORT const uint8_t *parser_payloads(const Parser *parser, uint64_t *size)
{
	*size = parser->payload_size;
	return parser->payloads;
}

static uint64_t hash_of(const Address *address)
{
	uint64_t halves[2];

	memcpy(halves, address->bytes, 16);
	return mix(mix(address->family, halves[0]), halves[1]);
}

static int more_slots(Parser *parser)
{
	size_t wanted = parser->slot_count ? parser->slot_count * 2 : 256;
	uint32_t *slots = calloc(wanted, sizeof(*slots));

	if (!slots)
		return 0;
	for (size_t each = 0; each < parser->count; each++) {
		size_t at = hash_of(&parser->addresses[each]) & (wanted - 1);

		while (slots[at])
			at = (at + 1) & (wanted - 1);
		slots[at] = (uint32_t)each + 1;
	}
	free(parser->slots);
	parser->slots = slots;
	parser->slot_count = wanted;
	return 1;
}

/* The number of an address, a new one if need be. */
static uint32_t number_of(Parser *parser, const uint8_t *bytes, uint8_t family)
{
	Address wanted = {.family = family};

	memcpy(wanted.bytes, bytes, family == V4 ? 4 : 16);
	if (parser->count * 2 >= parser->slot_count && !more_slots(parser)) {
		parser->failed = 1;
		return 0;
	}
	size_t at = hash_of(&wanted) & (parser->slot_count - 1);

	while (parser->slots[at]) {
		const Address *met = &parser->addresses[parser->slots[at] - 1];

		if (met->family == family && !memcmp(met->bytes, wanted.bytes, 16))
			return parser->slots[at] - 1;
		at = (at + 1) & (parser->slot_count - 1);
	}
	if (!grow((void **)&parser->addresses, &parser->room, parser->count + 1, sizeof(Address))) {
		parser->failed = 1;
		return 0;
	}
	parser->addresses[parser->count++] = wanted;
	parser->slots[at] = (uint32_t)parser->count;
	return (uint32_t)parser->count - 1;
}

static uint32_t number_of_ipv4(Parser *parser, const uint8_t *bytes)
{
	uint32_t wanted = be32(bytes);
	Recent *recent = &parser->recent[(wanted ^ wanted >> 10) % RECENT];

	if (recent->number && recent->bytes == wanted)
		return recent->number - 1;
	*recent = (Recent){wanted, number_of(parser, bytes, V4) + 1};
	return recent->number - 1;
}

static Extra *extra(Parser *parser, Row *row)
{
	size_t count = parser->extra_count + 1;

	if (!grow((void **)&parser->extras, &parser->extra_room, count, sizeof(Extra))) {
		parser->failed = 1;
		return NULL;
	}
	parser->extra_count = count;
	row->extra = parser->extras_before + (uint32_t)count;
	return &parser->extras[count - 1];
}

static void keep(Parser *parser, Row *row, const uint8_t *from, const uint8_t *to)
{
	size_t size = (size_t)(to - from), count = parser->kept_count + 1;

	if (!grow((void **)&parser->payloads, &parser->payload_room, parser->payload_size + size, 1) ||
	    !grow((void **)&parser->kept, &parser->kept_room, count, sizeof(Kept))) {
		parser->failed = 1;
		return;
	}
	if (size)
		memcpy(parser->payloads + parser->payload_size, from, size);
	parser->kept[count - 1] = (Kept){(uint32_t)parser->payload_size, (uint32_t)size};
	parser->payload_size += size;
	parser->kept_count = count;
	row->payload = parser->kept_before + (uint32_t)count;
}

static uint8_t dns(const uint8_t *header) { return header[2] & 0x80 ? DNS_RESPONSE : DNS_QUERY; }

static uint8_t tcp_payload(const Row *row, const uint8_t *from, const uint8_t *to)
{
	static const uint8_t marker[16] = {255, 255, 255, 255, 255, 255, 255, 255,
					   255, 255, 255, 255, 255, 255, 255, 255};

	if ((row->sport == BGP_PORT || row->dport == BGP_PORT) && to - from >= 19 && !memcmp(from, marker, 16))
		return from[18] >= 1 && from[18] <= 5 ? (uint8_t)(BGP_OPEN + from[18] - 1) : NOTHING;
	if ((row->sport == DNS_PORT || row->dport == DNS_PORT) && to - from >= 14)
		return dns(from + 2);
	if (to - from < 5 || from[0] < 20 || from[0] > 23 || from[1] != 3 || from[2] > 4)
		return NOTHING;
	switch (from[0]) {
	case 20: return TLS_CHANGE_CIPHER;
	case 21: return TLS_ALERT;
	case 23: return TLS_DATA;
	}
	if (to - from >= 6 && from[5] == 1)
		return TLS_CLIENT_HELLO;
	return to - from >= 6 && from[5] == 2 ? TLS_SERVER_HELLO : TLS_HANDSHAKE;
}

/* QUIC by RFC 9000, section 17; RFC 9369 shifts the types of version 2 by one. BFD by RFC 5880, section 4.1. */
static uint8_t udp_payload(const Row *row, const uint8_t *from, const uint8_t *to)
{
	if ((row->sport == DNS_PORT || row->dport == DNS_PORT) && to - from >= 12)
		return dns(from);
	if ((row->dport == BFD_PORT || row->dport == BFD_MULTIHOP_PORT) && to - from >= 24 && from[0] >> 5 == 1)
		return (uint8_t)(BFD_ADMIN_DOWN + (from[1] >> 6));
	if ((row->sport != 443 && row->dport != 443) || to - from < 1)
		return NOTHING;
	if (!(from[0] & 0x80))
		return from[0] & 0x40 ? QUIC_SHORT : NOTHING;
	if (to - from < 5)
		return NOTHING;
	uint32_t version = be32(from + 1);

	if (!version)
		return QUIC_NEGOTIATION;
	if (!(from[0] & 0x40))
		return NOTHING;
	return (uint8_t)(QUIC_INITIAL + ((from[0] >> 4 & 3) + (version == 0x6B3343CF ? 3 : 0)) % 4);
}

/* Read TCP's options: a malformed one ends the walk, as it does in Linux. */
static void options(Parser *parser, Row *row, const uint8_t *at, const uint8_t *end)
{
	if (end - at >= 12 && at[0] == 1 && at[1] == 1 && at[2] == 8 && at[3] == 10) { /* what Linux sends */
		row->has |= STAMPS;
		row->ts_val = be32(at + 4);
		row->ts_ecr = be32(at + 8);
		at += 12;
	}
	while (at < end && at[0]) {
		if (at[0] == 1) {
			at++;
			continue;
		}
		if (end - at < 2 || at[1] < 2 || at[1] > end - at)
			return;
		if (at[0] == 2 && at[1] == 4) {
			row->has |= MSS;
			row->mss = be16(at + 2);
		} else if (at[0] == 3 && at[1] == 3) {
			row->has |= SCALE;
			row->scale = at[2];
		} else if (at[0] == 8 && at[1] == 10) {
			row->has |= STAMPS;
			row->ts_val = be32(at + 2);
			row->ts_ecr = be32(at + 6);
		} else if (at[0] == 5 && at[1] >= 10 && at[1] <= 34 && at[1] % 8 == 2 && !row->extra) {
			Extra *blocks = extra(parser, row);

			if (!blocks)
				return;
			*blocks = (Extra){.count = (at[1] - 2u) / 4};
			for (uint32_t edge = 0; edge < blocks->count; edge++)
				blocks->words[edge] = be32(at + 2 + 4 * edge);
			for (uint32_t edge = 0; edge < blocks->count; edge += 2)
				if ((int32_t)(blocks->words[edge] - row->ack) > 0)
					row->sacked += blocks->words[edge + 1] - blocks->words[edge];
		}
		at += at[1];
	}
}

/* Skip IPv6's extension headers; what follows is the protocol. Fragments but the first end the walk. */
static const uint8_t *extensions(const uint8_t *at, const uint8_t *end, uint16_t *proto, uint32_t *ident,
				 uint16_t *fragment, int *fragmented)
{
	while (at && end - at >= 8) {
		switch (*proto) {
		case 0: case 43: case 60: case 135:
			*proto = at[0];
			at += 8 * (at[1] + 1u);
			break;
		case AUTHENTICATION:
			*proto = at[0];
			at += 4 * (at[1] + 2u);
			break;
		case FRAGMENT_HEADER:
			*proto = at[0];
			*fragment = be16(at + 2) >> 3;
			*ident = be32(at + 4);
			*fragmented = 1;
			at += 8;
			if (*fragment)
				return at;
			break;
		default:
			return at;
		}
	}
	return at;
}

/* The packet that an ICMP error is about, as far as it quotes it. */
static void quoted(Parser *parser, Row *row, const uint8_t *at, const uint8_t *end)
{
	int version6 = row->proto == ICMP6_PROTO;
	uint16_t proto, fragment = 0;
	uint32_t ident = 0;
	int fragmented = 0;
	const uint8_t *transport;

	if (end - at < (version6 ? 40 : 20) || at[0] >> 4 != (version6 ? 6 : 4))
		return;
	Extra *quote = extra(parser, row);

	if (!quote)
		return;
	*quote = (Extra){.count = 0};
	quote->words[0] = number_of(parser, at + (version6 ? 8 : 12), version6 ? V6 : V4);
	quote->words[1] = number_of(parser, at + (version6 ? 24 : 16), version6 ? V6 : V4);
	if (version6) {
		proto = at[6];
		transport = extensions(at + 40, end, &proto, &ident, &fragment, &fragmented);
	} else {
		proto = at[9];
		ident = be16(at + 4);
		fragment = be16(at + 6) & 0x1FFF;
		transport = at + 4 * (at[0] & 15);
	}
	quote->words[2] = proto;
	quote->words[5] = ident;
	if ((proto != TCP_PROTO && proto != UDP_PROTO) || fragment || end - transport < 8)
		return;
	quote->words[3] = be16(transport);
	quote->words[4] = be16(transport + 2);
	quote->words[6] = proto == TCP_PROTO ? be32(transport + 4) : 0;
	quote->words[7] = 1;
}

/* Everything from the transport header on; `last` is where the packet ends by its IP header. */
static void transport(Parser *parser, Row *row, const uint8_t *at, const uint8_t *end, const uint8_t *last)
{
	const uint8_t *reach = last < end ? last : end, *payload;

	if (row->proto == TCP_PROTO && reach - at >= 20) {
		row->has |= PORTS | TCP;
		row->seq = be32(at + 4);
		row->ack = be32(at + 8);
		row->tcp_flags = be16(at + 12) & 0x1FF;
		row->tcp_window = be16(at + 14);
		payload = at + (at[12] >> 4) * 4;
		options(parser, row, at + 20, payload < reach ? payload : reach);
	} else if (row->proto == UDP_PROTO && reach - at >= 8) {
		row->has |= PORTS;
		payload = at + 8;
	} else {
		if ((row->proto == ICMP4_PROTO || row->proto == ICMP6_PROTO) && reach - at >= 8) {
			int error = row->proto == ICMP6_PROTO ? at[0] >= 1 && at[0] <= 4 :
				    at[0] == 3 || at[0] == 4 || at[0] == 5 || at[0] == 11 || at[0] == 12;

			row->has |= ICMP;
			row->icmp_type = at[0];
			row->icmp_code = at[1];
			if (error)
				quoted(parser, row, at + 8, reach);
		}
		return;
	}
	row->sport = be16(at);
	row->dport = be16(at + 2);
	row->payload_length = last > payload ? (uint32_t)(last - payload) : 0;
	row->control = row->sport == DNS_PORT || row->dport == DNS_PORT || row->sport == BGP_PORT || row->dport == BGP_PORT;
	if (payload < reach) {
		row->starts_with = (row->has & TCP ? tcp_payload : udp_payload)(row, payload, reach);
		if (row->control)
			keep(parser, row, payload, reach);
	} else if (row->control && row->payload_length) {
		keep(parser, row, reach, reach);
	}
}

/* A hash of what stays the same from hop to hop. Left out are MAC addresses, TTL, ECN, the IP checksum and
 * what lies beyond the transport's header, for which its checksum stands; so the snap length does not count.
 */
static uint64_t fingerprint(const Row *row, const uint8_t *ends, size_t size, uint32_t ident,
			    uint32_t length, const uint8_t *at, const uint8_t *end)
{
	uint64_t state = (uint64_t)row->proto << 32 | length, word;
	size_t first = row->fragment || !(row->has & TCP) ? 8 : 20;

	for (size_t each = 0; each < size; each += 8) {
		memcpy(&word, ends + each, 8);
		state = mix(state, word);
	}
	state = mix(state, (uint64_t)ident << 16 | (uint64_t)row->fragment << 1 | !!(row->has & FRAGMENT));
	if (at > end)
		at = end;
	if ((size_t)(end - at) < first)
		first = (size_t)(end - at);
	if (!(row->has & PORTS) || (row->proto == UDP_PROTO && !be16(at + 6)))
		first = (size_t)(end - at) < 16 ? (size_t)(end - at) : 16; /* no checksum to go by */
	for (size_t each = 0; each < first; each += 8) {
		word = 0;
		memcpy(&word, at + each, first - each < 8 ? first - each : 8);
		state = mix(state, word);
	}
	return mix(state, (uint64_t)row->ts_val << 32 | row->ts_ecr);
}

static void ipv4(Parser *parser, Row *row, const uint8_t *at, const uint8_t *end, uint32_t wire)
{
	int header = (at[0] & 15) * 4;
	uint32_t total = be16(at + 2), fragment = be16(at + 6);

	row->has |= IP | IPV4 | ADDRESSES;
	row->tos = at[1];
	row->ecn = row->tos & 3;
	row->ip_id = be16(at + 4);
	row->ttl = at[8];
	row->proto = at[9];
	row->src = number_of_ipv4(parser, at + 12);
	row->dst = number_of_ipv4(parser, at + 16);
	row->fragment = fragment & 0x1FFF;
	if (fragment & 0x3FFF)
		row->has |= FRAGMENT;
	if (!total) /* an offloaded segment longer than 64 KiB */
		total = wire;
	const uint8_t *above = at + header, *last = at + total;

	if (!row->fragment && above <= end)
		transport(parser, row, above, end, last);
	row->fingerprint = fingerprint(row, at + 12, 8, row->ip_id, total, above, last < end && last > above ? last : end);
}

static void ipv6(Parser *parser, Row *row, const uint8_t *at, const uint8_t *end, uint32_t wire)
{
	uint32_t length = be16(at + 4), ident = 0;
	int fragmented = 0;

	row->has |= IP | ADDRESSES;
	row->tos = (uint8_t)(be16(at) >> 4);
	row->ecn = row->tos & 3;
	row->ttl = at[7];
	row->proto = at[6];
	row->src = number_of(parser, at + 8, V6);
	row->dst = number_of(parser, at + 24, V6);
	if (!length && wire > 40 && (row->proto == TCP_PROTO || row->proto == UDP_PROTO))
		length = wire - 40;
	const uint8_t *last = at + 40 + length, *reach = last < end ? last : end;
	const uint8_t *above = extensions(at + 40, reach, &row->proto, &ident, &row->fragment, &fragmented);

	if (fragmented)
		row->has |= FRAGMENT;
	if (!row->fragment && above <= reach)
		transport(parser, row, above, end, last);
	row->fingerprint = fingerprint(row, at + 8, 32, ident, length, above, reach);
}

/* Which way the packet goes, and whether the receiving end takes it. What a switch sends has the MAC of
 * the station behind it, what it receives that of the peer.
 */
static void direct(const Parser *parser, Row *row, const uint8_t *frame)
{
	const uint8_t *dst = frame, *src = frame + 6;
	int out = parser->bridge ? memcmp(src, parser->peer_mac, 6) != 0 : memcmp(src, parser->mac, 6) == 0;
	int taken = out ? parser->peer_bridge || !memcmp(dst, parser->peer_mac, 6)
			: parser->bridge || !memcmp(dst, parser->mac, 6);

	row->has |= DIRECTION | (out ? OUT : 0) | (taken ? ADDRESSED : 0);
}

/* Where the network header starts, and its EtherType; NULL if what there is does not say. */
static const uint8_t *network(const Parser *parser, Row *row, const Record *record, const uint8_t *at,
			      const uint8_t *end, uint16_t *kind)
{
	switch (record->link_type) {
	case 1:
		if (end - at >= 12 && parser->known)
			direct(parser, row, at);
		if (end - at < 14)
			return NULL;
		*kind = be16(at + 12);
		at += 14;
		break;
	case 113: /* Linux cooked: the type at the end; what this host sent has packet type 4 */
		if (end - at < 16)
			return NULL;
		row->has |= DIRECTION | (be16(at) == 4 ? OUT : 0);
		*kind = be16(at + 14);
		at += 16;
		break;
	case 276: /* Linux cooked, version 2 */
		if (end - at < 20)
			return NULL;
		row->has |= DIRECTION | (at[10] == 4 ? OUT : 0);
		*kind = be16(at);
		at += 20;
		break;
	case 0: /* BSD's loopback, the address family in the byte order of whoever captured */
		if (end - at < 4)
			return NULL;
		at += 4;
		/* fallthrough */
	case 12: case 14: case 101: case 228: case 229:
		if (end - at < 1)
			return NULL;
		*kind = at[0] >> 4 == 4 ? 0x0800 : at[0] >> 4 == 6 ? 0x86DD : 0;
		return at;
	default:
		return NULL;
	}
	for (int tags = 0; tags < 3 && (*kind == 0x8100 || *kind == 0x88A8); tags++) {
		if (end - at < 4)
			return NULL;
		if (!(row->has & VLAN))
			row->vlan = be16(at) & 0xFFF;
		row->has |= VLAN;
		*kind = be16(at + 2);
		at += 4;
	}
	return at;
}

/* Parse the packets of a chunk; 0 if there was no memory. Extras and payloads are those of this chunk. */
EXPORT int32_t parse(Parser *parser, const uint8_t *buffer, const Record *records, int64_t count, Row *rows)
{
	parser->extras_before += (uint32_t)parser->extra_count;
	parser->kept_before += (uint32_t)parser->kept_count;
	parser->extra_count = parser->kept_count = parser->payload_size = 0;
	for (int64_t each = 0; each < count && !parser->failed; each++) {
		const Record *record = &records[each];
		const uint8_t *frame = buffer + record->offset, *end = frame + record->captured, *at;
		Row *row = &rows[each];
		uint16_t kind = 0;

		memset(row, 0, sizeof(*row));
		row->t_ns = record->unix_ns - parser->t0_ns;
		row->length = record->wire;
		row->interface = record->interface;
		row->rtt_ns = -1;
		row->proto = OTHER_PROTO;
		at = network(parser, row, record, frame, end, &kind);
		if (record->direction && !(row->has & DIRECTION))
			row->has |= DIRECTION | (record->direction == 2 ? OUT : 0);
		uint32_t before = at ? (uint32_t)(at - frame) : 0;
		uint32_t wire = record->wire > before ? record->wire - before : 0;

		if (at && kind == 0x0800 && end - at >= 20 && at[0] >> 4 == 4 && (at[0] & 15) >= 5) {
			ipv4(parser, row, at, end, wire);
		} else if (at && kind == 0x86DD && end - at >= 40 && at[0] >> 4 == 6) {
			ipv6(parser, row, at, end, wire);
		} else if (kind == 0x0806) {
			row->proto = ARP_PROTO;
			if (end - at >= 28) {
				row->has |= ADDRESSES;
				row->src = number_of(parser, at + 14, V4);
				row->dst = number_of(parser, at + 24, V4);
			}
		}
	}
	return !parser->failed;
}
