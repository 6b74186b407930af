/* Gradients of a patch are read a row at a time. */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "orientation.h"
#include "resampling.h"

#if defined(__GNUC__)

#include "clones.h"
#include "means.h"

static inline __attribute__((always_inline)) void take_roots(Block *x)
{
    float numbers[LANES];
    memcpy(numbers, x, sizeof(numbers));
    for (int i = 0; i < LANES; i++)
        numbers[i] = sqrtf(numbers[i]);
    memcpy(x, numbers, sizeof(numbers));
}

/* Adds the values of neighbouring pixels of a row: the strength m of the gradient, m cos(n a) and m sin(n a) for
   multiples n of twice its angle, each from the two before, and grey. */
static inline __attribute__((always_inline)) void add_pixels(const float *above, const float *here, const float *below,
                                                             float faint, Block *sums)
{
    const Block along = *(const Block *)(here + 1) - *(const Block *)(here - 1);
    const Block down = *(const Block *)below - *(const Block *)above;
    Block strength = along * along + down * down;
    take_roots(&strength);
    strength += faint;
    const Block share = 1.0f / strength;
    Block cosine = (along * along - down * down) * share, sine = 2.0f * along * down * share;
    Block cosine_before = strength, sine_before = {0.0f};
    const Block doubled = 2.0f * cosine * share;
    sums[0] += strength;
    for (int n = 0; n < HARMONICS; n++) {
        sums[1 + 2 * n] += cosine, sums[2 + 2 * n] += sine;
        const Block next_cosine = doubled * cosine - cosine_before, next_sine = doubled * sine - sine_before;
        cosine_before = cosine, sine_before = sine, cosine = next_cosine, sine = next_sine;
    }
    sums[NUM_FEATURES - 1] += *(const Block *)here;
}

/* Numbers from a row of a padded patch to the next: a pixel before and behind, filled up to whole vectors. */
static inline int64_t wide_row(int64_t side)
{
    return (side + LANES - 1) / LANES * LANES + 2;
}

/* Writes the weighted means of cells to `features`. */
CLONES static void add_cells(const Orientation *job, const float *wide, float *features)
{
    const int64_t side = job->side, row = wide_row(side), cells = side / CELL;
    for (int64_t cell = 0; cell < cells; cell++)
        for (int64_t column = 0; column < side; column += LANES) {
            Block sums[NUM_FEATURES] = {{0.0f}};
            for (int64_t y = cell * CELL; y < (cell + 1) * CELL; y++) {
                const float *here = wide + y * row + 1 + column;
                add_pixels(y > 0 ? here - row : here, here, y + 1 < side ? here + row : here, job->faint, sums);
            }
            for (int64_t feature = 0; feature < NUM_FEATURES; feature++)
                for (int64_t k = 0; k < LANES / CELL && column / CELL + k < cells; k++) {
                    const float *four = (const float *)(sums + feature) + k * CELL;
                    features[(feature * cells + cell) * cells + column / CELL + k] =
                        job->weights[feature] * (four[0] + four[1] + four[2] + four[3]) / (float)(CELL * CELL);
                }
        }
}

/* Scales gradients, and grey without its mean, to a root mean square of 1; then applies the window. */
CLONES static void scale(const Orientation *job, float *features)
{
    const int64_t number = job->side / CELL * (job->side / CELL);
    float *grey = features + (NUM_FEATURES - 1) * number;
    const float middle = (float)mean(grey, number, 0, 0.0f);
    for (int64_t k = 0; k < number; k++)
        grey[k] -= middle;
    const double power = (NUM_FEATURES - 1) * mean(features, (NUM_FEATURES - 1) * number, 1, 0.0f);
    const float gradient_factor = 1.0f / ((float)sqrt(power) + job->flat);
    const float grey_factor = 1.0f / (3.0f * (float)sqrt(mean(grey, number, 1, 0.0f)) + job->flat);
    for (int64_t feature = 0; feature < NUM_FEATURES; feature++) {
        const float factor = feature < NUM_FEATURES - 1 ? gradient_factor : grey_factor;
        for (int64_t k = 0; k < number; k++)
            features[feature * number + k] *= factor * job->window[k];
    }
}

/* Copies a patch and repeats the pixels at its left and right edge. */
static void widen(const float *patch, int64_t side, float *wide)
{
    const int64_t row = wide_row(side);
    for (int64_t y = 0; y < side; y++) {
        const float *from = patch + y * side;
        float *to = wide + y * row;
        memcpy(to + 1, from, (size_t)side * sizeof(float));
        to[0] = from[0];
        for (int64_t k = side + 1; k < row; k++)
            to[k] = from[side - 1];
    }
}

static void read_levels(const Orientation *job, float *part)
{
    for (int64_t y = 0; y < job->height; y++)
        for (int64_t x = 0; x < job->width; x++)
            part[y * job->width + x] = job->levels[job->frame[(job->top + y) * job->frame_width + job->left + x]];
}

int spikebridge_orientation(const Orientation *job)
{
    const int64_t side = job->side, size = side * side, patch_numbers = NUM_FEATURES * (size / (CELL * CELL));
    const int64_t part_numbers = job->height * job->width, wide_numbers = side * wide_row(side);
    float *part = malloc((size_t)(part_numbers + job->num_patches * size + wide_numbers) * sizeof(float));
    if (part == NULL)
        return 1;
    float *patches = part + part_numbers, *wide = patches + job->num_patches * size;
    read_levels(job, part);
    const Sampling sampling = {1, job->height, job->width, job->num_patches, side, side, part, job->x, job->y, patches};
    const int failed = spikebridge_sample_patches(&sampling);
    for (int64_t k = 0; k < job->num_patches && !failed; k++) {
        widen(patches + k * size, side, wide);
        add_cells(job, wide, job->features + k * patch_numbers);
        scale(job, job->features + k * patch_numbers);
    }
    free(part);
    return failed;
}

#endif
