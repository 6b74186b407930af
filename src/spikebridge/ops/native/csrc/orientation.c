/* Gradients of a patch are read a row at a time. */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "orientation.h"
#include "resampling.h"

#if defined(__GNUC__)

#include "clones.h"

/* Rows to work in: of a multiple n of the angle, m cos(n a) and m sin(n a), and of n - 1 instead; and 2 cos(2 a). */
typedef struct {
    float *cosine, *sine, *cosine_before, *sine_before, *doubled;
} Angles;

static inline __attribute__((always_inline)) void add(float *restrict to, const float *restrict from, int64_t number)
{
    for (int64_t i = 0; i < number; i++)
        to[i] += from[i];
}

static inline __attribute__((always_inline)) void gradients(const float *restrict above, const float *restrict here,
                                                            const float *restrict below, int64_t side, float faint,
                                                            float *restrict cosine, float *restrict sine,
                                                            float *restrict strength, float *restrict none,
                                                            float *restrict doubled)
{
    for (int64_t i = 0; i < side; i++) {
        const float along = here[i + 1] - here[i - 1], down = below[i] - above[i];
        const float length = sqrtf(along * along + down * down) + faint, share = 1.0f / length;
        strength[i] = length;
        none[i] = 0.0f;
        cosine[i] = (along * along - down * down) * share;
        sine[i] = 2.0f * along * down * share;
        doubled[i] = 2.0f * cosine[i] * share;
    }
}

/* The next multiple takes the place of the one before. */
static inline __attribute__((always_inline)) void turn(const float *restrict now, float *restrict before,
                                                       const float *restrict doubled, int64_t side)
{
    for (int64_t i = 0; i < side; i++)
        before[i] = doubled[i] * now[i] - before[i];
}

/* Adds what the pixels of a row show to sums of columns, [feature][side]. */
static inline __attribute__((always_inline)) void add_row(const float *above, const float *here, const float *below,
                                                          int64_t side, float faint, Angles a, float *sums)
{
    gradients(above, here, below, side, faint, a.cosine, a.sine, a.cosine_before, a.sine_before, a.doubled);
    add(sums, a.cosine_before, side);
    for (int n = 0; n < HARMONICS; n++) {
        add(sums + (1 + 2 * n) * side, a.cosine, side);
        add(sums + (2 + 2 * n) * side, a.sine, side);
        turn(a.cosine, a.cosine_before, a.doubled, side);
        turn(a.sine, a.sine_before, a.doubled, side);
        a = (Angles){a.cosine_before, a.sine_before, a.cosine, a.sine, a.doubled};
    }
    add(sums + (NUM_FEATURES - 1) * side, here, side);
}

/* `patch` has a pixel more on each side of a row; `features` are sums of cells. */
CLONES static void add_cells(const Orientation *job, const float *patch, float *sums, float *features)
{
    const int64_t side = job->side, row = side + 2, cells = side / CELL;
    for (int64_t cell = 0; cell < cells; cell++) {
        memset(sums, 0, (size_t)(NUM_FEATURES * side) * sizeof(float));
        float *work = sums + NUM_FEATURES * side;
        const Angles angles = {work, work + side, work + 2 * side, work + 3 * side, work + 4 * side};
        for (int64_t y = cell * CELL; y < (cell + 1) * CELL; y++) {
            const float *here = patch + y * row + 1;
            add_row(y > 0 ? here - row : here, here, y + 1 < side ? here + row : here, side, job->faint, angles, sums);
        }
        for (int64_t feature = 0; feature < NUM_FEATURES; feature++)
            for (int64_t k = 0; k < cells; k++) {
                const float *four = sums + feature * side + k * CELL;
                features[(feature * cells + cell) * cells + k] =
                    job->weights[feature] * (four[0] + four[1] + four[2] + four[3]) / (float)(CELL * CELL);
            }
    }
}

enum { AT_ONCE = 8 }; /* sums side by side, which need not wait for each other */

CLONES static double mean(const float *values, int64_t number, int squared)
{
    double sums[AT_ONCE] = {0.0}, sum = 0.0;
    for (int64_t k = 0; k < number; k++)
        sums[k % AT_ONCE] += squared ? (double)values[k] * (double)values[k] : (double)values[k];
    for (int64_t k = 0; k < AT_ONCE; k++)
        sum += sums[k];
    return sum / (double)number;
}

/* To one root mean square of the gradients, and one of grey around its mean; then the window. */
CLONES static void scale(const Orientation *job, float *features)
{
    const int64_t number = job->side / CELL * (job->side / CELL);
    float *grey = features + (NUM_FEATURES - 1) * number;
    const float middle = (float)mean(grey, number, 0);
    for (int64_t k = 0; k < number; k++)
        grey[k] -= middle;
    const double power = (NUM_FEATURES - 1) * mean(features, (NUM_FEATURES - 1) * number, 1);
    const float of_gradients = 1.0f / ((float)sqrt(power) + job->flat);
    const float of_grey = 1.0f / (3.0f * (float)sqrt(mean(grey, number, 1)) + job->flat);
    for (int64_t feature = 0; feature < NUM_FEATURES; feature++) {
        const float factor = feature < NUM_FEATURES - 1 ? of_gradients : of_grey;
        for (int64_t k = 0; k < number; k++)
            features[feature * number + k] *= factor * job->window[k];
    }
}

/* The same with the first and the last pixel of each row once more. */
static void widen(const float *patch, int64_t side, float *wide)
{
    for (int64_t y = 0; y < side; y++) {
        const float *from = patch + y * side;
        float *to = wide + y * (side + 2);
        memcpy(to + 1, from, (size_t)side * sizeof(float));
        to[0] = from[0];
        to[side + 1] = from[side - 1];
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
    const int64_t side = job->side, size = side * side, of_patch = NUM_FEATURES * (size / (CELL * CELL));
    const int64_t of_part = job->height * job->width, of_work = side * (side + 2) + (NUM_FEATURES + 5) * side;
    float *part = malloc((size_t)(of_part + job->num_patches * size + of_work) * sizeof(float));
    if (part == NULL)
        return 1;
    float *patches = part + of_part, *wide = patches + job->num_patches * size, *sums = wide + side * (side + 2);
    read_levels(job, part);
    const Sampling sampling = {1, job->height, job->width, job->num_patches, side, side, part, job->x, job->y, patches};
    const int failed = spikebridge_sample_patches(&sampling);
    for (int64_t k = 0; k < job->num_patches && !failed; k++) {
        widen(patches + k * size, side, wide);
        add_cells(job, wide, sums, job->features + k * of_patch);
        scale(job, job->features + k * of_patch);
    }
    free(part);
    return failed;
}

#endif
