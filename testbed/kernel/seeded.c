/*
 * Preloaded into the guest kernel's process: all randomness comes from a seed, and the guest dies
 * with the program that started it.
 *
 * User-Mode Linux asks the C library's getrandom for every random bit it has, so answering that
 * from SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) makes everything the guest draws a function
 * of TESTBED_SEED. Predictable by intention: nothing in a guest is secret.
 */

#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <unistd.h>

static uint64_t state;

static uint64_t draw(void)
{
	uint64_t z = state += 0x9E3779B97F4A7C15ull;

	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
	z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
	return z ^ (z >> 31);
}

static void fill(unsigned char *bytes, size_t length)
{
	uint64_t word = 0;

	for (size_t i = 0; i < length; i++) {
		if (i % sizeof(word) == 0)
			word = draw();
		bytes[i] = word >> (8 * (i % sizeof(word)));
	}
}

ssize_t getrandom(void *buffer, size_t length, unsigned int flags)
{
	(void)flags;
	fill(buffer, length);
	return length;
}

int getentropy(void *buffer, size_t length)
{
	fill(buffer, length);
	return 0;
}

__attribute__((constructor)) static void begin(void)
{
	const struct rlimit none = {0, 0};
	const char *seed = getenv("TESTBED_SEED");
	const char *parent = getenv("TESTBED_PARENT");

	state = seed ? strtoull(seed, NULL, 10) : 0;
	/* A panic ends in abort(): the console says why, and a core would be as big as the guest. */
	setrlimit(RLIMIT_CORE, &none);
	/* Survives exec, so setarch may come between; the parent may have died before we asked. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (parent && getppid() != atoi(parent))
		_exit(1);
}
