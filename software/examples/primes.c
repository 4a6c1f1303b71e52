/* Counts the primes below 1000 and leaves the first 16 in the signature.
   Returns 0 when the count is right, 1 when it is not. */
#include <stdint.h>

#define LIMIT 1000

__attribute__((section(".signature"))) uint32_t first_primes[16];

static uint8_t composite[LIMIT];

int main(void)
{
    int count = 0;
    for (int n = 2; n < LIMIT; n++) {
        if (composite[n])
            continue;
        if (count < 16)
            first_primes[count] = n;
        count++;
        for (int m = n * n; m < LIMIT; m += n)
            composite[m] = 1;
    }
    return count == 168 ? 0 : 1;
}
