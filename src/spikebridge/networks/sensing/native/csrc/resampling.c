/* A patch is interpolated along x in all rows of the picture, and then along y. */

#include <math.h>
#include <stdlib.h>

#include "resampling.h"

#if defined(__GNUC__)

#include "clones.h"

CLONES static void read_columns(const Sampling *job, const float *picture, Line columns, float *rows)
{
    for (int64_t y = 0; y < job->height; y++)
        for (int64_t k = 0; k < job->columns; k++) {
            const float *at = picture + y * job->width + columns.before[k];
            rows[y * job->columns + k] = at[0] + columns.share[k] * (at[columns.next] - at[0]);
        }
}

CLONES static void read_rows(const Sampling *job, Line lines, const float *rows, float *restrict patch)
{
    for (int64_t k = 0; k < job->rows; k++) {
        const float *before = rows + lines.before[k] * job->columns, *after = before + lines.next * job->columns;
        for (int64_t i = 0; i < job->columns; i++)
            patch[k * job->columns + i] = before[i] + lines.share[k] * (after[i] - before[i]);
    }
}

int spikebridge_sample_patches(const Sampling *job)
{
    const int64_t longest = job->columns > job->rows ? job->columns : job->rows;
    float *memory = malloc((size_t)(job->height * job->columns + 4 * longest) * sizeof(float));
    if (memory == NULL)
        return 1;
    float *rows = memory + 4 * longest;
    Line columns = {(int32_t *)memory, memory + longest, 0};
    Line lines = {(int32_t *)(memory + 2 * longest), memory + 3 * longest, 0};
    for (int64_t k = 0; k < job->num_patches; k++) {
        find_places(job->x + k * job->columns, job->columns, job->width, &columns);
        find_places(job->y + k * job->rows, job->rows, job->height, &lines);
        for (int64_t channel = 0; channel < job->channels; channel++) {
            read_columns(job, job->picture + channel * job->height * job->width, columns, rows);
            read_rows(job, lines, rows, job->patches + (k * job->channels + channel) * job->rows * job->columns);
        }
    }
    free(memory);
    return 0;
}

/* The positions of a row in the picture: the pixel before, the shares of the next ones, and 1 inside, else 0. */
typedef struct {
    int32_t *pixel;
    float *share_x, *share_y, *is_inside;
} Places;

static inline __attribute__((always_inline)) void find_row(const MovedSampling *job, float y, Places to)
{
    /* copies, which no store can change */
    const int64_t width = job->width, height = job->height, columns = job->columns;
    const float *m = job->motion, of_x = m[0], of_y = m[3], from_x = m[1] * y + m[2], from_y = m[4] * y + m[5];
    const float *x = job->x;
    for (int64_t k = 0; k < columns; k++) {
        const float to_x = from_x + of_x * x[k], to_y = from_y + of_y * x[k];
        const float at_x = nearest(((to_x + 1.0f) * (float)width - 1.0f) / 2.0f, width);
        const float at_y = nearest(((to_y + 1.0f) * (float)height - 1.0f) / 2.0f, height);
        const int32_t left = pixel_before(at_x, width), top = pixel_before(at_y, height);
        to.pixel[k] = top * (int32_t)width + left;
        to.share_x[k] = at_x - (float)left, to.share_y[k] = at_y - (float)top;
        to.is_inside[k] = (fabsf(to_x) < 1.0f) & (fabsf(to_y) < 1.0f) ? 1.0f : 0.0f;
    }
}

/* Two neighbouring pixels of two numbers each. */
typedef float Pixels __attribute__((vector_size(4 * sizeof(float)), aligned(sizeof(float)), may_alias));

CLONES static void read_moved(const MovedSampling *job, Places places)
{
    for (int64_t row = 0; row < job->rows; row++) {
        float *to = job->output + row * job->columns * job->step;
        find_row(job, job->y[row], places);
        for (int64_t k = 0; k < job->columns; k++, to += job->step) {
            const float *at = job->picture + 2 * places.pixel[k];
            const Pixels above = *(const Pixels *)at, below = *(const Pixels *)(at + 2 * job->width);
            const Pixels both = above + places.share_y[k] * (below - above);
            to[0] = both[0] + places.share_x[k] * (both[2] - both[0]);
            to[1] = (both[1] + places.share_x[k] * (both[3] - both[1])) * places.is_inside[k];
        }
    }
}

int spikebridge_sample_moved(const MovedSampling *job)
{
    const int64_t number = job->columns;
    float *memory = malloc((size_t)(4 * number) * sizeof(float));
    if (memory == NULL)
        return 1;
    read_moved(job, (Places){(int32_t *)memory, memory + number, memory + 2 * number, memory + 3 * number});
    free(memory);
    return 0;
}

#endif
