/* What the C files of the analysis share: records of a capture, rows of packets, and hashing.
 *
 * Layouts are mirrored by numpy structures in native.py, which checks their sizes when it loads.
 */
#ifndef PACKETS_H
#define PACKETS_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

/* A packet in a capture file: where its bytes lie in the buffer, and when it was seen. */
typedef struct {
	int64_t offset, unix_ns;
	uint32_t captured, wire;
	uint32_t interface;
	uint16_t link_type;
	uint16_t direction; /* 0 not said, 1 in, 2 out (pcapng's epb_flags) */
} Record;

/* What a packet has, and what was found out about it. */
enum {
	OUT = 1, ADDRESSED = 2, IP = 4, IPV4 = 8, PORTS = 16, TCP = 32, ADDRESSES = 64, STAMPS = 128,
	RETRANSMISSION = 256, FORWARD = 512, DIRECTION = 1024, FRAGMENT = 2048, ICMP = 4096, VLAN = 8192,
	MSS = 16384, SCALE = 32768
};

/* A packet; all flows and addresses are numbered within the capture. */
typedef struct {
	int64_t t_ns;
	uint64_t fingerprint;
	int64_t rtt_ns;		/* -1: no sample */
	uint32_t src, dst;
	uint32_t length;
	uint32_t seq, ack;
	uint32_t payload_length;
	uint32_t ts_val, ts_ecr;
	uint32_t flow;		/* 0: none */
	uint32_t extra;		/* 0: none; else the number of an Extra, from 1 */
	uint32_t payload;	/* 0: not kept; else its number, from 1 */
	uint32_t in_flight;	/* after this segment; 0 unless it carries data */
	uint32_t interface;
	uint32_t sacked;	/* bytes in SACK blocks beyond the acknowledgement */
	uint16_t has;
	uint16_t sport, dport;
	uint16_t proto;
	uint16_t ip_id;
	uint16_t fragment;	/* in units of 8 bytes */
	uint16_t tcp_flags;
	uint16_t tcp_window;
	uint16_t mss;
	uint16_t vlan;
	uint16_t analysis;
	uint8_t ttl, tos;
	uint8_t icmp_type, icmp_code;
	uint8_t scale;
	uint8_t starts_with;	/* what the payload starts with */
	uint8_t ecn;
	uint8_t control;	/* 1: of a port whose payload is kept */
} Row;

/* What few packets have: the edges of SACK blocks, or the packet that an ICMP error quotes. */
typedef struct {
	uint32_t count;		/* of edges; 0: a quoted packet */
	uint32_t words[8];	/* src, dst, proto, sport, dport, ip_id, seq, 1 if there are ports */
} Extra;

enum { ICMP4_PROTO = 1, TCP_PROTO = 6, UDP_PROTO = 17, ICMP6_PROTO = 58, ARP_PROTO = 256, OTHER_PROTO = 257 };
enum { FIN = 1, SYN = 2, RST = 4, ACK = 16 };

static inline uint16_t be16(const uint8_t *at) { return (uint16_t)(at[0] << 8 | at[1]); }
static inline uint32_t be32(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* Fold a value into a hash: the two halves of a 128-bit product, the same on every machine. */
static inline uint64_t mix(uint64_t state, uint64_t value)
{
	unsigned __int128 product = (unsigned __int128)(state ^ value ^ 0x9E3779B97F4A7C15u) *
				    (value ^ 0xD1B54A32D192ED03u);

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Room for `wanted` elements; 0 if there is no memory. */
static inline int grow(void **array, size_t *room, size_t wanted, size_t size)
{
	if (wanted <= *room)
		return 1;
	size_t more = *room * 2 > wanted ? *room * 2 : wanted + 3;
	void *moved = realloc(*array, more * size);
	if (!moved)
		return 0;
	*array = moved;
	*room = more;
	return 1;
}

#endif
