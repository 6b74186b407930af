/* Row by row of the output: the sums of a few taps for a few blocks of channels stay in registers. */

#include <stdlib.h>
#include <string.h>

#include "convolution.h"
#include "team.h"

#if defined(__GNUC__)

#include "clones.h"

enum { TAPS = 10 }; /* that are summed at once: with two blocks of channels their sums fill the registers */

/* Adds a row of the output to the sums of TAPS taps for `blocks` blocks of channels. */
static inline __attribute__((always_inline)) void add_row(const float *const *taps, int64_t step, const float *gradient,
                                                          int64_t channels, int64_t width, float *sums, const int blocks)
{
    Block total[TAPS][2];
    for (int k = 0; k < TAPS; k++)
        for (int b = 0; b < blocks; b++)
            total[k][b] = (Block){0};
    for (int64_t x = 0; x < width; x++, gradient += channels)
        for (int k = 0; k < TAPS; k++)
            for (int b = 0; b < blocks; b++)
                total[k][b] += taps[k][x * step] * *(const Block *)(gradient + b * LANES);
    for (int k = 0; k < TAPS; k++)
        for (int b = 0; b < blocks; b++)
            *(Block *)(sums + k * channels + b * LANES) += total[k][b];
}

/* The inputs that taps read for a row of the output; behind the last tap come ones, for the bias, and zeros. */
static void find_taps(const Convolution *job, const float *padded, const float *ones, const float *zeros, int64_t y,
                      int64_t first, const float **taps)
{
    const int64_t size = job->kernel_y * job->kernel_x, num_taps = job->channels * size;
    const int64_t wide = job->width + 2 * job->pad_x, high = job->height + 2 * job->pad_y;
    for (int64_t k = first; k < first + TAPS; k++) {
        const int64_t row = y * job->stride_y + k % size / job->kernel_x;
        if (k < num_taps)
            taps[k - first] = padded + (k / size * high + row) * wide + k % job->kernel_x;
        else
            taps[k - first] = k == num_taps ? ones : zeros;
    }
}

/* Adds a picture to the sums of all taps. */
CLONES static void add_picture(const Convolution *job, const float *padded, const float *ones, const float *zeros,
                               const float *gradient, float *sums)
{
    const int64_t num_taps = job->channels * job->kernel_y * job->kernel_x, channels = job->out_channels;
    const float *taps[TAPS];
    for (int64_t y = 0; y < job->out_height; y++, gradient += job->out_width * channels)
        for (int64_t first = 0; first <= num_taps; first += TAPS) {
            find_taps(job, padded, ones, zeros, y, first, taps);
            int64_t c = 0;
            for (; c + 2 * LANES <= channels; c += 2 * LANES)
                add_row(taps, job->stride_x, gradient + c, channels, job->out_width, sums + first * channels + c, 2);
            for (; c < channels; c += LANES)
                add_row(taps, job->stride_x, gradient + c, channels, job->out_width, sums + first * channels + c, 1);
        }
}

typedef struct {
    const Convolution *job;
    int64_t next;
    int failed;
} Shared;

/* The sums of a part of the pictures, each copied with zeros around it. */
static void add_part(const Convolution *job, int64_t part, float *padded, const float *ones, const float *zeros)
{
    const int64_t wide = job->width + 2 * job->pad_x, high = job->height + 2 * job->pad_y;
    const int64_t num_taps = job->channels * job->kernel_y * job->kernel_x;
    const int64_t size = (num_taps / TAPS + 1) * TAPS * job->out_channels;
    const int64_t from = job->num_pictures * part / job->num_parts, to = job->num_pictures * (part + 1) / job->num_parts;
    float *sums = job->sums + part * size;
    memset(sums, 0, (size_t)size * sizeof(float));
    for (int64_t picture = from; picture < to; picture++) {
        const float *x = job->x + picture * job->channels * job->height * job->width;
        for (int64_t row = 0; row < job->channels * job->height; row++) {
            const int64_t place = row / job->height * high + row % job->height + job->pad_y;
            memcpy(padded + place * wide + job->pad_x, x + row * job->width, (size_t)job->width * sizeof(float));
        }
        const int64_t of_picture = job->out_height * job->out_width * job->out_channels;
        add_picture(job, padded, ones, zeros, job->gradient + picture * of_picture, sums);
    }
}

static void work(void *data)
{
    Shared *shared = data;
    const Convolution *job = shared->job;
    const int64_t wide = job->width + 2 * job->pad_x, high = job->height + 2 * job->pad_y;
    const int64_t row = job->out_width * job->stride_x, padded = job->channels * high * wide;
    float *memory = calloc((size_t)(padded + 2 * row), sizeof(float));
    if (memory == NULL) {
        shared->failed = 1;
        return;
    }
    float *zeros = memory + padded, *ones = zeros + row;
    for (int64_t x = 0; x < row; x++)
        ones[x] = 1.0f;
    for (int64_t part; (part = take_next(&shared->next)) < job->num_parts;)
        add_part(job, part, memory, ones, zeros);
    free(memory);
}

int spikebridge_convolution_weights(const Convolution *job)
{
    Shared shared = {job, 0, 0};
    run_together(job->team, job->num_threads, work, &shared);
    return shared.failed;
}

#endif
