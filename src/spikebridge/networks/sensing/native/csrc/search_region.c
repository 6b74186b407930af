/* Channels are last, so that one vector operation interpolates all channels between two pixels. */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "search_region.h"

#if defined(__GNUC__)

#include "clones.h"
#include "means.h"

enum { FRAME, BEFORE, ON, OFF, GREY, KNOWN, NUM_CHANNELS, WIDTH = 8 };

typedef float Pixel __attribute__((vector_size(WIDTH * sizeof(float)), aligned(sizeof(float)), may_alias));

/* ln x of a normal number above 0, to rounding: x = 2^n m with m from root 1/2 to root 2, and ln m = 2 artanh s. */
static inline __attribute__((always_inline)) float logarithm(float x)
{
    int32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    const int32_t n = (bits - 0x3f3504f3) >> 23; /* the bits of the root of 1/2 */
    bits -= n * (1 << 23);
    float m;
    memcpy(&m, &bits, sizeof(m));
    const float s = (m - 1.0f) / (m + 1.0f), z = s * s;
    const float sum = 1.0f + z * (1.0f / 3.0f + z * (1.0f / 5.0f + z * (1.0f / 7.0f + z * (1.0f / 9.0f))));
    return (float)n * 0.6931471805599453f + 2.0f * s * sum;
}

/* Writes the part as [y][x][channel]; a pixel with any event has 1. */
CLONES static void fill(const SearchRegion *job, float *part)
{
    const int64_t rows = job->background.rows, columns = job->background.columns;
    for (int64_t y = 0; y < rows; y++) {
        const int64_t from = (job->top + y) * job->width + job->left;
        for (int64_t x = 0; x < columns; x++) {
            float *pixel = part + (y * columns + x) * WIDTH;
            pixel[FRAME] = (float)job->frame[from + x], pixel[BEFORE] = (float)job->before[from + x];
            pixel[ON] = pixel[OFF] = 0.0f;
        }
    }
    for (int64_t k = 0; k < job->num_events; k++) {
        const int64_t x = job->event_x[k] - job->left, y = job->event_y[k] - job->top;
        if ((uint64_t)x < (uint64_t)columns && (uint64_t)y < (uint64_t)rows)
            part[(y * columns + x) * WIDTH + (job->is_on[k] ? ON : OFF)] = 1.0f;
    }
}

/* Reads a row of a patch, channel by channel; `line` is working memory. */
static inline __attribute__((always_inline)) void read_row(const float *part, int64_t part_columns, int64_t row,
                                                           Line lines, Line columns, int64_t side, float *line,
                                                           float *const *channels)
{
    const float *above = part + lines.before[row] * part_columns * WIDTH;
    const float *below = above + lines.next * part_columns * WIDTH, share = lines.share[row];
    const int64_t last = columns.before[side - 1] + columns.next;
    for (int64_t x = columns.before[0]; x <= last; x++) {
        const Pixel one = *(const Pixel *)(above + x * WIDTH), other = *(const Pixel *)(below + x * WIDTH);
        *(Pixel *)(line + x * WIDTH) = one + share * (other - one);
    }
    for (int64_t k = 0; k < side; k++) {
        const float *at = line + columns.before[k] * WIDTH;
        const Pixel one = *(const Pixel *)at, other = *(const Pixel *)(at + columns.next * WIDTH);
        const Pixel between = one + columns.share[k] * (other - one);
        for (int c = 0; c < NUM_CHANNELS; c++)
            channels[c][k] = between[c];
    }
}

/* Adds a row of pixels to the sums of cells, [mean][cell]. */
static inline __attribute__((always_inline)) void add_row(float *const *channels, int64_t side, float dark, float *sums)
{
    const int64_t cells = side / 2;
    float *contrast = channels[GREY];
    for (int64_t k = 0; k < side; k++)
        contrast[k] = channels[KNOWN][k] * logarithm((channels[FRAME][k] + dark) / (channels[GREY][k] + dark));
    for (int64_t k = 0; k < cells; k++) {
        const int64_t one = 2 * k, other = one + 1;
        const float first = contrast[one], second = contrast[other];
        sums[k] += channels[ON][one] + channels[ON][other];
        sums[cells + k] += channels[OFF][one] + channels[OFF][other];
        sums[2 * cells + k] += first + second;
        sums[3 * cells + k] += (first < 0.0f ? -first : first) + (second < 0.0f ? -second : second);
        sums[4 * cells + k] += channels[KNOWN][one] + channels[KNOWN][other];
    }
}

/* `work` is memory for a line of the part, for rows of channels, and for sums of cells. */
CLONES static void read_patch(const SearchRegion *job, const float *part, int64_t patch, Line lines, Line columns,
                              float *work)
{
    const int64_t side = job->side, cells = side / 2, part_columns = job->background.columns;
    float *rows = work + part_columns * WIDTH, *sums = rows + NUM_CHANNELS * side;
    float *shown = job->light + 2 * patch * side * side, *means = job->means + patch * cells * cells * NUM_MEANS;
    float *channels[NUM_CHANNELS];
    for (int c = 0; c < NUM_CHANNELS; c++)
        channels[c] = rows + c * side;
    for (int64_t row = 0; row < side; row++) {
        if (row % 2 == 0)
            memset(sums, 0, (size_t)(NUM_MEANS * cells) * sizeof(float));
        channels[FRAME] = shown + row * side, channels[BEFORE] = shown + (side + row) * side;
        read_row(part, part_columns, row, lines, columns, side, work, channels);
        add_row(channels, side, job->dark, sums);
        for (int64_t k = 0; row % 2 && k < NUM_MEANS * cells; k++)
            means[row / 2 * cells * NUM_MEANS + k] = sums[k % NUM_MEANS * cells + k / NUM_MEANS] / 4.0f;
    }
}

CLONES static void to_light(float *picture, int64_t number, float dark, float faint)
{
    for (int64_t k = 0; k < number; k++)
        picture[k] = logarithm(picture[k] + dark);
    const float middle = (float)mean(picture, number, 0, 0.0f);
    const float scale = 1.0f / (float)sqrt(mean(picture, number, 1, middle) + (double)faint);
    for (int64_t k = 0; k < number; k++)
        picture[k] = scale * (picture[k] - middle);
}

int spikebridge_search_region(const SearchRegion *job)
{
    const int64_t side = job->side, rows = job->background.rows, columns = job->background.columns;
    const int64_t of_part = rows * columns * WIDTH, of_work = columns * WIDTH + (NUM_CHANNELS + NUM_MEANS) * side;
    float *part = malloc((size_t)(of_part + of_work + 4 * side) * sizeof(float));
    if (part == NULL)
        return 1;
    float *work = part + of_part, *places = work + of_work;
    Line across = {(int32_t *)places, places + side, 0}, down = {(int32_t *)(places + 2 * side), places + 3 * side, 0};
    fill(job, part);
    MovedSampling background = job->background;
    background.output = part + GREY, background.step = WIDTH;
    const int failed = spikebridge_sample_moved(&background);
    for (int64_t k = 0; k < job->num_patches && !failed; k++) {
        find_places(job->x + k * side, side, columns, &across);
        find_places(job->y + k * side, side, rows, &down);
        read_patch(job, part, k, down, across, work);
        for (int64_t shown = 2 * k; shown < 2 * k + 2; shown++)
            to_light(job->light + shown * side * side, side * side, job->dark, job->faint);
    }
    free(part);
    return failed;
}

#endif
