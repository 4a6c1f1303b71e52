/* Integer benchmark: linked lists, matrices, a state machine and cyclic redundancy checks, on one
   thread or on several at once, each with data of its own.

   main(threads) returns 0 when every thread found what it must, n + 1 when thread n did not, and
   99 when the node has fewer threads. The checks of all threads are in the signature.
   tests/software/test_benchmarks.py computes them a second time, in Python.

   THREAD_BASE, THREAD_STRIDE, REGISTER_* , COMMAND_START, STATUS_* and THREADS_ADDRESS come from
   d1_golden.memory_map through tools/build_benchmarks.py. */
#include <stdint.h>

#define MAX_THREADS 4
#define ROUNDS 2
#define RECORDS 64
#define SEARCHES 32
#define SIZE 14
#define TEXT_BYTES 384
#define CHANGES 48

struct record {
    struct record *next;
    uint32_t key;
    uint32_t value;
};

/* What one thread works on; a whole number of lines. */
struct workspace {
    struct record records[RECORDS];
    int16_t a[SIZE][SIZE], b[SIZE][SIZE];
    int32_t c[SIZE][SIZE];
    uint8_t text[TEXT_BYTES];
} __attribute__((aligned(64)));

static struct workspace workspaces[MAX_THREADS];

/* What each thread must find. */
static const uint32_t expected[MAX_THREADS] = {0x94598ea2, 0x90bcd87e, 0x6d08596b, 0x170725e5};

__attribute__((section(".signature"))) volatile uint32_t checks[MAX_THREADS];

void _start(void);

/* The high bits of the next number of a linear congruential sequence. */
static uint32_t next_random(uint32_t *state, int bits)
{
    *state = *state * 1664525 + 1013904223;
    return *state >> (32 - bits);
}

/* ---- cyclic redundancy check ---- */

/* CRC-32 of one more word, eight bits at a time: polynomial 0x04c11db7, most significant first. */
static uint32_t crc_word(uint32_t crc, uint32_t word)
{
    /* What is left of the upper and of the lower four of eight bits that are shifted out. */
    static const uint32_t upper[16] = {
        0x00000000, 0x4c11db70, 0x9823b6e0, 0xd4326d90, 0x34867077, 0x7897ab07,
        0xaca5c697, 0xe0b41de7, 0x690ce0ee, 0x251d3b9e, 0xf12f560e, 0xbd3e8d7e,
        0x5d8a9099, 0x119b4be9, 0xc5a92679, 0x89b8fd09,
    };
    static const uint32_t lower[16] = {
        0x00000000, 0x04c11db7, 0x09823b6e, 0x0d4326d9, 0x130476dc, 0x17c56b6b,
        0x1a864db2, 0x1e475005, 0x2608edb8, 0x22c9f00f, 0x2f8ad6d6, 0x2b4bcb61,
        0x350c9b64, 0x31cd86d3, 0x3c8ea00a, 0x384fbdbd,
    };
    crc ^= word;
    for (int n = 0; n < 4; n++)
        crc = crc << 8 ^ upper[crc >> 28] ^ lower[crc >> 24 & 15];
    return crc;
}

/* ---- lists ---- */

/* Link records with random keys: even ones to the back, odd ones to the front. */
static struct record *make_list(struct record *records, uint32_t *random)
{
    struct record *first = 0, **end = &first;
    for (uint32_t n = 0; n < RECORDS; n++) {
        struct record *record = &records[n];
        record->key = next_random(random, 10);
        record->value = n;
        if (n & 1) {
            record->next = first;
            first = record;
        } else {
            record->next = 0;
            *end = record;
            end = &record->next;
        }
    }
    return first;
}

/* Find the first record with a key in a class and move it to the front. */
static struct record *search(struct record *first, uint32_t class, uint32_t *found)
{
    for (struct record **link = &first; *link; link = &(*link)->next) {
        struct record *record = *link;
        if ((record->key & 31) == class) {
            *found += record->value;
            *link = record->next;
            record->next = first;
            return record;
        }
    }
    *found += 1000;
    return first;
}

static struct record *reverse(struct record *first)
{
    struct record *done = 0;
    while (first) {
        struct record *rest = first->next;
        first->next = done;
        done = first;
        first = rest;
    }
    return done;
}

/* Merge two sorted lists; of equal keys those of `a` come first. */
static struct record *merge(struct record *a, struct record *b)
{
    struct record *first, **end = &first;
    while (a && b) {
        if (b->key < a->key) {
            *end = b;
            end = &b->next;
            b = b->next;
        } else {
            *end = a;
            end = &a->next;
            a = a->next;
        }
    }
    *end = a ? a : b;
    return first;
}

/* Sort by key: runs of 2^n records wait in place n until there are two of them. */
static struct record *sort(struct record *first)
{
    struct record *runs[8] = {0};
    while (first) {
        struct record *run = first;
        first = first->next;
        run->next = 0;
        int n = 0;
        for (; runs[n]; n++) {
            run = merge(runs[n], run);
            runs[n] = 0;
        }
        runs[n] = run;
    }
    for (int n = 0; n < 8; n++)
        first = merge(runs[n], first);
    return first;
}

static uint32_t lists(struct workspace *work, uint32_t *random, uint32_t crc)
{
    uint32_t found = 0;
    struct record *first = make_list(work->records, random);
    for (int n = 0; n < SEARCHES; n++)
        first = search(first, next_random(random, 5), &found);
    crc = crc_word(crc, found);
    first = sort(reverse(first));
    for (struct record *record = first; record; record = record->next)
        crc = crc_word(crc, record->key << 8 ^ record->value);
    return crc;
}

/* ---- matrices ---- */

static void multiply(const int16_t a[SIZE][SIZE], const int16_t b[SIZE][SIZE], int32_t c[SIZE][SIZE])
{
    for (int i = 0; i < SIZE; i++)
        for (int j = 0; j < SIZE; j++) {
            int32_t sum = 0;
            for (int k = 0; k < SIZE; k++)
                sum += a[i][k] * b[k][j];
            c[i][j] = sum;
        }
}

/* Multiply random matrices, then their product, cut to 16 bits, by the second one again. */
static uint32_t matrices(struct workspace *work, uint32_t *random, uint32_t crc)
{
    for (int i = 0; i < SIZE; i++)
        for (int j = 0; j < SIZE; j++) {
            uint32_t number = next_random(random, 32);
            work->a[i][j] = (int16_t)((int32_t)number >> 21);
            work->b[i][j] = (int16_t)((int32_t)(number << 11) >> 21);
        }
    multiply(work->a, work->b, work->c);
    for (int i = 0; i < SIZE; i++)
        for (int j = 0; j < SIZE; j++)
            work->a[i][j] = (int16_t)(work->c[i][j] >> 8);
    multiply(work->a, work->b, work->c);
    for (int i = 0; i < SIZE; i++) {
        int32_t sum = 0, over = 0;
        for (int j = 0; j < SIZE; j++) {
            sum += work->c[i][j];
            over += work->c[i][j] > 0;
        }
        crc = crc_word(crc, (uint32_t)(sum / (i + 1) + over));
    }
    return crc;
}

/* ---- state machine ---- */

enum class { OTHER, BLANK, NOUGHT, DIGIT, POINT, X, A_TO_F, LETTER, CLASSES };
enum state { START, ZERO, DECIMAL, HEX, FRACTION, NAME, INVALID, STATES };

static const uint8_t class_of[128] = {
    [' '] = BLANK, ['0'] = NOUGHT, ['1' ... '9'] = DIGIT, ['.'] = POINT, ['a' ... 'f'] = A_TO_F,
    ['g' ... 'w'] = LETTER, ['x'] = X, ['y' ... 'z'] = LETTER, ['_'] = LETTER,
};

/* A blank ends a word: it leads back to the start. */
static const uint8_t following[STATES][CLASSES] = {
    /*            other    blank  0         1..9      .         x        a..f     letter */
    [START] =    {INVALID, START, ZERO,     DECIMAL,  INVALID,  NAME,    NAME,    NAME},
    [ZERO] =     {INVALID, START, INVALID,  INVALID,  FRACTION, HEX,     INVALID, INVALID},
    [DECIMAL] =  {INVALID, START, DECIMAL,  DECIMAL,  FRACTION, INVALID, INVALID, INVALID},
    [HEX] =      {INVALID, START, HEX,      HEX,      INVALID,  INVALID, HEX,     INVALID},
    [FRACTION] = {INVALID, START, FRACTION, FRACTION, INVALID,  INVALID, INVALID, INVALID},
    [NAME] =     {INVALID, START, NAME,     NAME,     INVALID,  NAME,    NAME,    NAME},
    [INVALID] =  {INVALID, START, INVALID,  INVALID,  INVALID,  INVALID, INVALID, INVALID},
};

static const char sentence[] =
    "mass 12.75 x1 0x7fe0 speed 3.14159 of_light 299792458 0 node 7 0xdeadbeef +5 ";

/* Count the words of a text by the state in which they end, and their letters. */
static uint32_t words(struct workspace *work, uint32_t *random, uint32_t crc)
{
    uint32_t counts[STATES] = {0}, letters[STATES] = {0};
    uint8_t *text = work->text;
    for (int n = 0, from = 0; n < TEXT_BYTES; n++) {
        text[n] = (uint8_t)sentence[from++];
        if (from == sizeof sentence - 1)
            from = 0;
    }
    for (int n = 0; n < CHANGES; n++) {
        uint32_t place = next_random(random, 8);
        text[place] = text[place + next_random(random, 7)];
    }
    uint32_t state = START;
    for (int n = 0; n < TEXT_BYTES; n++) {
        uint32_t next = following[state][class_of[text[n]]];
        letters[next]++;
        if (next == START)
            counts[state]++;
        state = next;
    }
    for (int n = 0; n < STATES; n++)
        crc = crc_word(crc, counts[n] << 16 | letters[n]);
    return crc;
}

/* ---- threads ---- */

/* Do the work of a thread and note its check. */
void work(uint64_t thread)
{
    uint32_t random = 12345 + (uint32_t)thread, crc = 0xffffffff;
    for (int round = 0; round < ROUNDS; round++) {
        crc = lists(&workspaces[thread], &random, crc);
        crc = matrices(&workspaces[thread], &random, crc);
        crc = words(&workspaces[thread], &random, crc);
    }
    checks[thread] = crc;
}

static volatile uint64_t *thread_register(uint64_t thread, uint64_t index)
{
    return (volatile uint64_t *)(THREAD_BASE + THREAD_STRIDE * thread + 8 * index);
}

int main(uint64_t threads)
{
    if (threads == 0)
        threads = 1;
    if (threads > MAX_THREADS || threads > *(volatile uint64_t *)THREADS_ADDRESS)
        return 99;
    for (uint64_t n = 1; n < threads; n++) {
        *thread_register(n, REGISTER_PC) = (uint64_t)_start;
        *thread_register(n, REGISTER_COMMAND) = COMMAND_START;
    }
    work(0);
    for (uint64_t n = 1; n < threads; n++)
        while (*thread_register(n, REGISTER_STATUS) == STATUS_RUNNING)
            ;
    for (uint64_t n = 0; n < threads; n++)
        if (checks[n] != expected[n])
            return (int)n + 1;
    return 0;
}
