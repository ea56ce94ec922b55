/* Makes pcap records of the packets in a block of a packet socket's ring (TPACKET_V3). */
#include <linux/if_packet.h>

#include "packets.h"

enum { MACS = 12, TAG = 4, HEAD = 16, TPID = 0x8100 };	/* TPID: where the kernel does not say which (802.1Q) */

/* Write the records of a block of `size` bytes that announces so many packets; how many it gave. `out` has
 * room for `size` bytes too, which is enough for any that the kernel made; `written` becomes how many it took.
 */
EXPORT int64_t unring(const uint8_t *block, uint64_t size, uint32_t announced, uint8_t *out, uint64_t *written)
{
	struct tpacket_block_desc description;
	struct tpacket3_hdr packet;
	int64_t found = 0;

	*written = 0;
	if (size < sizeof(description))
		return 0;
	memcpy(&description, block, sizeof(description));
	uint64_t at = description.hdr.bh1.offset_to_first_pkt;

	for (uint32_t each = 0; each < announced && at % 4 == 0 && at + sizeof(packet) <= size; each++) {
		memcpy(&packet, block + at, sizeof(packet));
		const uint8_t *frame = block + at + packet.tp_mac;
		uint64_t kept = packet.tp_snaplen;
		int tagged = packet.tp_status & TP_STATUS_VLAN_VALID && kept >= MACS;
		uint32_t tag = tagged ? TAG : 0;

		if (at + packet.tp_mac + kept <= size && *written + HEAD + tag + kept <= size) {
			uint32_t head[] = {packet.tp_sec, packet.tp_nsec, packet.tp_snaplen + tag, packet.tp_len + tag};
			uint64_t before = tagged ? MACS : 0;

			out = (uint8_t *)memcpy(out, head, HEAD) + HEAD;
			memcpy(out, frame, before);
			out += before;
			if (tagged) {
				int said = packet.tp_status & TP_STATUS_VLAN_TPID_VALID;
				uint16_t tpid = said ? packet.hv1.tp_vlan_tpid : TPID;
				uint16_t tci = (uint16_t)packet.hv1.tp_vlan_tci;
				uint16_t words[2] = {__builtin_bswap16(tpid), __builtin_bswap16(tci)};

				out = (uint8_t *)memcpy(out, words, TAG) + TAG;
			}
			memcpy(out, frame + before, kept - before);
			out += kept - before;
			*written += HEAD + tag + kept;
			found++;
		}
		if (packet.tp_next_offset < sizeof(packet)) /* 0 in the last one */
			break;
		at += packet.tp_next_offset;
	}
	return found;
}
