/* Reads the time stamp counter by RDTSC and RDTSCP, at every place in a word and at the end of a page; an hour
 * of sleep between two reads each. What it prints is nanoseconds where the counter is the virtual clock. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const unsigned char tail[] = {0x48, 0xc1, 0xe2, 0x20, 0x48, 0x09, 0xd0, 0xc3}; /* rdx:rax to rax; ret */

static void measure(const unsigned char *opcode, size_t length)
{
	long size = sysconf(_SC_PAGESIZE);
	unsigned char *page = mmap(NULL, 2 * size, PROT_READ | PROT_WRITE | PROT_EXEC,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(page + size, size);
	for (int place = 0; place <= 8; place++) {
		unsigned char *code = place < 8 ? page + place : page + size - length - sizeof(tail);
		uint64_t before;

		memcpy(code, opcode, length);
		memcpy(code + length, tail, sizeof(tail));
		before = ((uint64_t (*)(void))code)();
		sleep(3600);
		printf("counted %llu\n", (unsigned long long)(((uint64_t (*)(void))code)() - before));
	}
}

int main(void)
{
	measure((const unsigned char[]){0x0f, 0x31}, 2);
	measure((const unsigned char[]){0x0f, 0x01, 0xf9}, 3);
	fflush(stdout);
	return 1;
}
