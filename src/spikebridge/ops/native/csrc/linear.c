/* Inputs that are not 0 are listed once, by chunk of rows and input; then each block of outputs goes through the list. */

#include <stdlib.h>
#include <string.h>

#include "linear.h"
#include "team.h"

#if defined(__GNUC__)

#include "clones.h"

enum {
    ROWS = 64,     /* of a chunk, so that a byte holds the number of one */
    SEGMENT = 4096 /* rows that are listed at once: the memory of lists does not grow with the batch */
};

/* The active inputs of some rows; those of chunk c and input i begin at starts[c * num_inputs + i]. */
typedef struct {
    int32_t *starts;
    uint8_t *rows; /* inside the chunk */
    float *values;
} Listed;

typedef struct {
    const Linear *job;
    Listed listed;
    int64_t from, num_rows; /* of the segment */
    int64_t next;           /* the next free piece of work */
    int failed;
} Shared;

static int64_t rows_of_chunk(const Shared *shared, int64_t chunk)
{
    const int64_t left = shared->num_rows - chunk * ROWS;
    return left < ROWS ? left : ROWS;
}

static int64_t num_chunks(const Shared *shared)
{
    return (shared->num_rows + ROWS - 1) / ROWS;
}

/* Counts the active rows of each input. */
CLONES static void count_chunk(const float *x, int64_t num_rows, int64_t num_inputs, int32_t *counts)
{
    for (int64_t i = 0; i < num_inputs; i++)
        counts[i] = 0;
    for (int64_t row = 0; row < num_rows; row++, x += num_inputs)
        for (int64_t i = 0; i < num_inputs; i++)
            counts[i] += x[i] != 0.0f;
}

static void count(void *data)
{
    Shared *shared = data;
    const int64_t n = shared->job->num_inputs;
    for (int64_t chunk; (chunk = take_next(&shared->next)) < num_chunks(shared);)
        count_chunk(shared->job->x + (shared->from + chunk * ROWS) * n, rows_of_chunk(shared, chunk), n,
                    shared->listed.starts + chunk * n);
}

/* Lists the active rows of each input from place at[input] on. */
static void list_chunk(const Listed *listed, const float *x, int64_t num_rows, int64_t num_inputs, int32_t *at,
                       int32_t *active)
{
    for (int64_t row = 0; row < num_rows; row++, x += num_inputs) {
        int64_t number = 0;
        for (int64_t i = 0; i < num_inputs; i++) {
            active[number] = (int32_t)i;
            number += x[i] != 0.0f; /* a branch would be predicted wrong at every spike */
        }
        for (int64_t k = 0; k < number; k++) {
            const int32_t place = at[active[k]]++;
            listed->rows[place] = (uint8_t)row;
            listed->values[place] = x[active[k]];
        }
    }
}

static void list(void *data)
{
    Shared *shared = data;
    const int64_t n = shared->job->num_inputs;
    int32_t *at = malloc((size_t)(2 * n) * sizeof(int32_t));
    if (at == NULL) {
        shared->failed = 1;
        return;
    }
    for (int64_t chunk; (chunk = take_next(&shared->next)) < num_chunks(shared);) {
        memcpy(at, shared->listed.starts + chunk * n, (size_t)n * sizeof(int32_t));
        list_chunk(&shared->listed, shared->job->x + (shared->from + chunk * ROWS) * n, rows_of_chunk(shared, chunk), n,
                   at, at + n);
    }
    free(at);
}

/* Adds a chunk's rows of the gradient to the sums of each input, which stay in registers. */
static inline __attribute__((always_inline)) void add_chunk(const Listed *listed, const int32_t *starts,
                                                            int64_t num_inputs, const float *gradient, float *sums,
                                                            const int blocks)
{
    for (int64_t i = 0; i < num_inputs; i++, sums += OUTPUTS) {
        Block total[OUTPUTS / LANES];
        for (int b = 0; b < blocks; b++)
            total[b] = *(const Block *)(sums + b * LANES);
        for (int64_t k = starts[i]; k < starts[i + 1]; k++) {
            const float *row = gradient + listed->rows[k] * OUTPUTS, value = listed->values[k];
            for (int b = 0; b < blocks; b++)
                total[b] += value * *(const Block *)(row + b * LANES);
        }
        for (int b = 0; b < blocks; b++)
            *(Block *)(sums + b * LANES) = total[b];
    }
}

/* A block of outputs: all chunks of the segment, and after the last segment the weights in their own order. */
CLONES static void add_block(const Shared *shared, int64_t block, float *gradient)
{
    const Linear *job = shared->job;
    const int64_t first = block * OUTPUTS, left = job->num_outputs - first, width = left < OUTPUTS ? left : OUTPUTS;
    float *sums = job->sums + first * job->num_inputs;
    if (shared->from == 0)
        memset(sums, 0, (size_t)(job->num_inputs * OUTPUTS) * sizeof(float));
    memset(gradient, 0, ROWS * OUTPUTS * sizeof(float));
    for (int64_t chunk = 0; chunk < num_chunks(shared); chunk++) {
        const float *from = job->gradient + (shared->from + chunk * ROWS) * job->num_outputs + first;
        for (int64_t row = 0; row < rows_of_chunk(shared, chunk); row++)
            memcpy(gradient + row * OUTPUTS, from + row * job->num_outputs, (size_t)width * sizeof(float));
        const int32_t *starts = shared->listed.starts + chunk * job->num_inputs;
        if (width > 3 * LANES)
            add_chunk(&shared->listed, starts, job->num_inputs, gradient, sums, 4);
        else if (width > 2 * LANES)
            add_chunk(&shared->listed, starts, job->num_inputs, gradient, sums, 3);
        else if (width > LANES)
            add_chunk(&shared->listed, starts, job->num_inputs, gradient, sums, 2);
        else
            add_chunk(&shared->listed, starts, job->num_inputs, gradient, sums, 1);
    }
    if (shared->from + shared->num_rows < job->num_rows)
        return;

    float *weights = job->weights + first * job->num_inputs;
    for (int64_t i = 0; i < job->num_inputs; i += LANES)
        for (int64_t o = 0; o < width; o++)
            for (int64_t j = i; j < job->num_inputs && j < i + LANES; j++)
                weights[o * job->num_inputs + j] = sums[j * OUTPUTS + o];
}

static void add(void *data)
{
    Shared *shared = data;
    float *gradient = malloc(ROWS * OUTPUTS * sizeof(float));
    if (gradient == NULL) {
        shared->failed = 1;
        return;
    }
    const int64_t num_blocks = (shared->job->num_outputs + OUTPUTS - 1) / OUTPUTS;
    for (int64_t block; (block = take_next(&shared->next)) < num_blocks;)
        add_block(shared, block, gradient);
    free(gradient);
}

static void together(void (*work)(void *), Shared *shared)
{
    shared->next = 0;
    run_together(shared->job->team, shared->job->num_threads, work, shared);
}

/* Turns the lengths of lists into their beginnings; returns the length of all of them. */
static int64_t starts_of(int32_t *starts, int64_t number)
{
    int32_t total = 0;
    for (int64_t k = 0; k < number; k++) {
        const int32_t length = starts[k];
        starts[k] = total;
        total += length;
    }
    starts[number] = total;
    return total;
}

static void add_segment(Shared *shared)
{
    Listed *listed = &shared->listed;
    const int64_t number = num_chunks(shared) * shared->job->num_inputs;
    together(count, shared);
    const size_t total = (size_t)starts_of(listed->starts, number);
    listed->values = malloc((total + 1) * sizeof(float));
    listed->rows = malloc(total + 1);
    shared->failed = listed->values == NULL || listed->rows == NULL;
    if (!shared->failed)
        together(list, shared);
    if (!shared->failed)
        together(add, shared);
    free(listed->values);
    free(listed->rows);
}

int spikebridge_linear_weights(const Linear *job)
{
    const int64_t longest = job->num_rows < SEGMENT ? job->num_rows : SEGMENT;
    const int64_t chunks = (longest + ROWS - 1) / ROWS;
    Shared shared = {job, {malloc((size_t)(chunks * job->num_inputs + 1) * sizeof(int32_t)), NULL, NULL}, 0, 0, 0, 0};
    if (shared.listed.starts == NULL)
        return 1;
    for (; shared.from < job->num_rows && !shared.failed; shared.from += SEGMENT) {
        const int64_t left = job->num_rows - shared.from;
        shared.num_rows = left < SEGMENT ? left : SEGMENT;
        add_segment(&shared);
    }
    free(shared.listed.starts);
    return shared.failed;
}

#endif
