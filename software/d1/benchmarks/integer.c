/* Integer benchmark: linked lists, matrices, a state machine and cyclic redundancy checks, on one
   thread or on several at once, each with data of its own.

   main(threads) returns 0 when every thread found what it must, n + 1 when thread n did not, and
   99 when the node has fewer threads. The checks of all threads are in the signature.
   tests/software/test_benchmarks.py computes them a second time, in Python.

   THREAD_BASE, THREAD_STRIDE, REGISTER_* , COMMAND_START, STATUS_* and THREADS_ADDRESS come from
   d1_golden.memory_map through tools/build_benchmarks.py. */
#include <stdint.h>

#define MAX_THREADS 4
#define ROUNDS 3
#define RECORDS 48
#define SEARCHES 24
#define SIZE 10
#define TEXT_BYTES 256

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
    char text[TEXT_BYTES];
} __attribute__((aligned(64)));

static struct workspace workspaces[MAX_THREADS];

/* What each thread must find. */
static const uint32_t expected[MAX_THREADS] = {0x831db816, 0xb3b11f88, 0xdc38422f, 0xba4dba8d};

__attribute__((section(".signature"))) volatile uint32_t checks[MAX_THREADS];

void _start(void);

/* Next number of a linear congruential sequence. */
static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525 + 1013904223;
    return *state >> 8;
}

/* CRC-32 of one more word: polynomial 0x04c11db7, most significant bit first. */
static uint32_t crc_word(uint32_t crc, uint32_t word)
{
    crc ^= word;
    for (int bit = 0; bit < 32; bit++)
        crc = crc << 1 ^ (0x04c11db7 & (uint32_t)((int32_t)crc >> 31));
    return crc;
}

/* ---- lists ---- */

/* Link records with random keys: even ones to the back, odd ones to the front. */
static struct record *make_list(struct record *records, uint32_t *random)
{
    struct record *first = 0, **end = &first;
    for (uint32_t n = 0; n < RECORDS; n++) {
        struct record *record = &records[n];
        record->key = next_random(random) % 1000;
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
        if (record->key % 16 == class) {
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
        struct record **least = b->key < a->key ? &b : &a;
        *end = *least;
        end = &(*least)->next;
        *least = (*least)->next;
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
        first = search(first, next_random(random) % 16, &found);
    first = sort(reverse(first));
    for (struct record *record = first; record; record = record->next)
        found = found * 31 + (record->key << 8 ^ record->value);
    return crc_word(crc, found);
}

/* ---- matrices ---- */

static uint32_t matrices(struct workspace *work, uint32_t *random, uint32_t crc)
{
    for (int i = 0; i < SIZE; i++)
        for (int j = 0; j < SIZE; j++) {
            work->a[i][j] = (int16_t)(next_random(random) % 2000 - 1000);
            work->b[i][j] = (int16_t)(next_random(random) % 2000 - 1000);
        }
    for (int i = 0; i < SIZE; i++)
        for (int j = 0; j < SIZE; j++) {
            int32_t sum = 0;
            for (int k = 0; k < SIZE; k++)
                sum += work->a[i][k] * work->b[k][j];
            work->c[i][j] = sum;
        }
    /* What is over and under a threshold, row by row, and the trace. */
    int32_t over = 0, sum = 0;
    for (int i = 0; i < SIZE; i++) {
        int32_t row = 0;
        for (int j = 0; j < SIZE; j++) {
            int32_t value = work->c[i][j];
            row += value;
            over += value > 500000 ? j : value < -500000 ? -i : 1;
        }
        sum += row / (i + 1) + work->c[i][i] % 127;
    }
    crc = crc_word(crc, (uint32_t)over);
    return crc_word(crc, (uint32_t)sum);
}

/* ---- state machine ---- */

enum state { START, ZERO, DECIMAL, HEX, FRACTION, NAME, INVALID, STATES };

/* Fill the text with words of random characters, separated by blanks. */
static void make_text(char *text, uint32_t *random)
{
    static const char letters[] = "0123456789abcdefx.x._  ";
    for (int n = 0; n < TEXT_BYTES; n++)
        text[n] = letters[next_random(random) % (sizeof letters - 1)];
}

static int is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || c == '_';
}

static enum state step(enum state state, char c)
{
    switch (state) {
    case START:
        return c == '0' ? ZERO : is_digit(c) ? DECIMAL : is_letter(c) ? NAME : INVALID;
    case ZERO:
        return c == 'x' ? HEX : c == '.' ? FRACTION : INVALID;
    case DECIMAL:
        return is_digit(c) ? DECIMAL : c == '.' ? FRACTION : INVALID;
    case HEX:
        return is_digit(c) || (c >= 'a' && c <= 'f') ? HEX : INVALID;
    case FRACTION:
        return is_digit(c) ? FRACTION : INVALID;
    case NAME:
        return is_letter(c) || is_digit(c) ? NAME : INVALID;
    default:
        return INVALID;
    }
}

/* Count the words of the text by the state in which they end. */
static uint32_t words(struct workspace *work, uint32_t *random, uint32_t crc)
{
    uint32_t counts[STATES] = {0};
    enum state state = START;
    make_text(work->text, random);
    for (int n = 0; n < TEXT_BYTES; n++) {
        char c = work->text[n];
        if (c == ' ') {
            counts[state]++;
            state = START;
        } else {
            state = step(state, c);
        }
    }
    counts[state]++;
    uint32_t sum = 0;
    for (int n = 0; n < STATES; n++)
        sum = sum * 37 + counts[n];
    return crc_word(crc, sum);
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
