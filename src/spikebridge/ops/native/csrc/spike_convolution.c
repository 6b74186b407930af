/* A place of the output reads some columns of a row of the input, side by side: one piece of that row's list. */

#include <stdlib.h>
#include <string.h>

#include "spike_convolution.h"
#include "team.h"

#if defined(__GNUC__)

#include "clones.h"

/* The active values in the rows of a picture: their places in their row, and the beginning of each column's list. */
typedef struct {
    int32_t *active, *starts;
} Listed;

/* The active places of a row that a place of the output reads, and the place in the row of its first tap. */
typedef struct {
    const int32_t *active;
    int64_t number, shift;
} Window;

typedef struct {
    const SpikeConvolution *job;
    int64_t next;
    int failed;
} Shared;

CLONES static void list_picture(const SpikeConvolution *job, const float *picture, Listed listed)
{
    const int64_t size = job->width * job->channels;
    for (int64_t y = 0; y < job->height; y++) {
        const float *row = picture + y * size;
        int32_t *active = listed.active + y * size, *starts = listed.starts + y * (job->width + 1);
        int64_t number = 0, i = 0;
        for (int64_t x = 0; x < job->width; x++) {
            starts[x] = (int32_t)number;
            for (const int64_t end = i + job->channels; i < end; i++) {
                active[number] = (int32_t)i;
                number += row[i] != 0.0f; /* a branch would be predicted wrong at every spike */
            }
        }
        starts[job->width] = (int32_t)number;
    }
}

/* The window of column x of the output in row y of the input. */
static inline Window window_of(const SpikeConvolution *job, Listed listed, int64_t y, int64_t x)
{
    const int64_t first = x * job->stride_x - job->pad_x, last = first + job->kernel_x;
    const int32_t *starts = listed.starts + y * (job->width + 1);
    const int64_t from = starts[first < 0 ? 0 : first > job->width ? job->width : first];
    const int64_t to = starts[last < 0 ? 0 : last > job->width ? job->width : last];
    return (Window){listed.active + y * job->width * job->channels + from, to - from, first * job->channels};
}

static inline __attribute__((always_inline)) void add_to_output(Window window, const float *row, const float *weights,
                                                                float *output, const int blocks)
{
    Block total[OUTPUTS / LANES];
    for (int b = 0; b < blocks; b++)
        total[b] = *(const Block *)(output + b * LANES);
    for (int64_t k = 0; k < window.number; k++) {
        const float value = row[window.active[k]];
        const float *of_tap = weights + (window.active[k] - window.shift) * blocks * LANES;
        for (int b = 0; b < blocks; b++)
            total[b] += value * *(const Block *)(of_tap + b * LANES);
    }
    for (int b = 0; b < blocks; b++)
        *(Block *)(output + b * LANES) = total[b];
}

static inline __attribute__((always_inline)) void add_to_weights(Window window, const float *row, const float *gradient,
                                                                 float *weights, const int blocks)
{
    Block row_gradient[OUTPUTS / LANES];
    for (int b = 0; b < blocks; b++)
        row_gradient[b] = *(const Block *)(gradient + b * LANES);
    for (int64_t k = 0; k < window.number; k++) {
        const float value = row[window.active[k]];
        float *of_tap = weights + (window.active[k] - window.shift) * blocks * LANES;
        for (int b = 0; b < blocks; b++)
            *(Block *)(of_tap + b * LANES) += value * row_gradient[b];
    }
}

/* One row of the kernel over a whole picture, for a block of outputs: its weights stay in the nearest cache. `outputs` is
   that block of y, or of the gradient of y, which gives the gradient of the weights. */
static inline __attribute__((always_inline)) void run_row(const SpikeConvolution *job, Listed listed, const float *picture,
                                                          int64_t ky, float *weights, float *outputs, const int backward,
                                                          const int blocks)
{
    for (int64_t y = 0; y < job->out_height; y++) {
        const int64_t at = y * job->stride_y + ky - job->pad_y;
        if (at < 0 || at >= job->height)
            continue;
        const float *row = picture + at * job->width * job->channels;
        float *output = outputs + y * job->out_width * job->out_channels;
        for (int64_t x = 0; x < job->out_width; x++, output += job->out_channels)
            if (backward)
                add_to_weights(window_of(job, listed, at, x), row, output, weights, blocks);
            else
                add_to_output(window_of(job, listed, at, x), row, weights, output, blocks);
    }
}

#define RUN(blocks) \
    for (int64_t ky = 0; ky < job->kernel_y; ky++) \
        run_row(job, listed, picture, ky, weights + ky * taps_of_row * (blocks) * LANES, outputs, backward, blocks)

static inline __attribute__((always_inline)) void run_picture(const SpikeConvolution *job, Listed listed,
                                                              const float *picture, float *all_weights,
                                                              float *all_outputs, const int backward)
{
    const int64_t taps_of_row = job->kernel_x * job->channels;
    for (int64_t first = 0; first < job->out_channels; first += OUTPUTS) {
        const int64_t left = job->out_channels - first;
        float *weights = all_weights + first * job->kernel_y * taps_of_row, *outputs = all_outputs + first;
        if (left > 3 * LANES)
            RUN(4);
        else if (left > 2 * LANES)
            RUN(3);
        else if (left > LANES)
            RUN(2);
        else
            RUN(1);
    }
}

CLONES static void compute_outputs(const SpikeConvolution *job, Listed listed, const float *picture, float *y)
{
    const int64_t num_places = job->out_height * job->out_width;
    if (job->bias == NULL)
        memset(y, 0, (size_t)(num_places * job->out_channels) * sizeof(float));
    for (int64_t place = 0; job->bias != NULL && place < num_places; place++)
        memcpy(y + place * job->out_channels, job->bias, (size_t)job->out_channels * sizeof(float));
    run_picture(job, listed, picture, (float *)job->weights, y, 0);
}

CLONES static void compute_weights(const SpikeConvolution *job, Listed listed, const float *picture, const float *gradient,
                                float *sums)
{
    run_picture(job, listed, picture, sums, (float *)gradient, 1);
}

static void run_part(const SpikeConvolution *job, int64_t part, Listed listed)
{
    const int64_t of_picture = job->out_height * job->out_width * job->out_channels;
    const int64_t num_weights = job->kernel_y * job->kernel_x * job->channels * job->out_channels;
    const int64_t from = job->num_pictures * part / job->num_parts, to = job->num_pictures * (part + 1) / job->num_parts;
    float *sums = job->y == NULL ? job->sums + part * num_weights : NULL;
    if (sums != NULL)
        memset(sums, 0, (size_t)num_weights * sizeof(float));
    for (int64_t n = from; n < to; n++) {
        const float *picture = job->x + n * job->height * job->width * job->channels;
        list_picture(job, picture, listed);
        if (sums != NULL)
            compute_weights(job, listed, picture, job->gradient + n * of_picture, sums);
        else
            compute_outputs(job, listed, picture, job->y + n * of_picture);
    }
}

static void work(void *data)
{
    Shared *shared = data;
    const SpikeConvolution *job = shared->job;
    const int64_t places = job->height * job->width * job->channels, columns = job->height * (job->width + 1);
    int32_t *memory = malloc((size_t)(places + columns) * sizeof(int32_t));
    if (memory == NULL) {
        shared->failed = 1;
        return;
    }
    for (int64_t part; (part = take_next(&shared->next)) < job->num_parts;)
        run_part(job, part, (Listed){memory, memory + places});
    free(memory);
}

int spikebridge_spike_convolution(const SpikeConvolution *job)
{
    Shared shared = {job, 0, 0};
    run_together(job->team, job->num_threads, work, &shared);
    return shared.failed;
}

#endif
