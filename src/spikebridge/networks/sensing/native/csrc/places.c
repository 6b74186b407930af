/* A Gaussian is a product of factors along x and y, so that the sums of several Gaussians over a row run at once. */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "places.h"

#if defined(__GNUC__)

#include "clones.h"

/* Gaussians of a vector; 1, x and x^2 */
enum { WIDE = 8, POWERS = 3 };

typedef double Wide __attribute__((vector_size(WIDE * sizeof(double)), aligned(sizeof(double)), may_alias));

/* Working memory: a map, and Gaussians along an axis, [pixel][Gaussian], in whole vectors. */
typedef struct {
    double *map, *along_x, *along_y;
    int64_t wide; /* number of Gaussians, filled up to whole vectors */
} Work;

/* e^x for x of 0 or less, to two units in the last place: 2^k e^r with |r| of half of ln 2 at most. Unlike that of the
   system it runs for several numbers at once, and needs no new version of the system. */
static inline __attribute__((always_inline)) double exponential(double x)
{
    /* 1.5 * 2^52: a number added to it is rounded to an integer, in the last bits */
    const double shift = 6755399441055744.0;
    const double shifted = x * 1.4426950408889634 + shift, k = shifted - shift;
    const double r = (x - k * 6.93147180369123816490e-01) - k * 1.90821492927058770002e-10;
    double sum = 1.0 / 6227020800.0;
    sum = sum * r + 1.0 / 479001600.0;
    sum = sum * r + 1.0 / 39916800.0;
    sum = sum * r + 1.0 / 3628800.0;
    sum = sum * r + 1.0 / 362880.0;
    sum = sum * r + 1.0 / 40320.0;
    sum = sum * r + 1.0 / 5040.0;
    sum = sum * r + 1.0 / 720.0;
    sum = sum * r + 1.0 / 120.0;
    sum = sum * r + 1.0 / 24.0;
    sum = sum * r + 1.0 / 6.0;
    sum = sum * r + 0.5;
    sum = sum * r + 1.0;
    sum = sum * r + 1.0;
    uint64_t bits;
    memcpy(&bits, &shifted, sizeof(bits));
    bits = (bits << 52) + ((uint64_t)1023 << 52);
    double power;
    memcpy(&power, &bits, sizeof(power));
    return x > -700.0 ? sum * power : 0.0;
}

/* The largest value is 1: the centre may be far outside of the map. */
CLONES static void write_gaussian(double middle, double variance, double first, int64_t number, int64_t step,
                                  double *values)
{
    double nearest = round(middle) < first ? first : round(middle);
    nearest = nearest > first + (double)(number - 1) ? first + (double)(number - 1) : nearest;
    const double least = (nearest - middle) * (nearest - middle);
    for (int64_t k = 0; k < number; k++) {
        const double away = first + (double)k - middle;
        values[k * step] = exponential((least - away * away) / (2.0 * variance));
    }
}

CLONES static void give_map(const Places *job, double a, double b, double *map)
{
    const int64_t size = job->height * job->width;
    double largest = -INFINITY;
    for (int64_t k = 0; k < size; k++) {
        map[k] = a * job->fits[k] + b * job->changes[k];
        largest = map[k] > largest ? map[k] : largest;
    }
    for (int64_t k = 0; k < size; k++)
        map[k] = a == 0.0 && b == 0.0 ? 1.0 : exponential(map[k] - largest);
}

/* The means of a vector of Gaussians. */
CLONES static void give_means(const Places *job, Work work, int64_t from, double *places, double *spreads)
{
    Wide total = {0.0}, x_sum = total, y_sum = total, squares = total;
    for (int64_t y = 0; y < job->height; y++) {
        Wide row[POWERS] = {{0.0}};
        for (int64_t x = 0; x < job->width; x++) {
            const double at = job->left + (double)x;
            const Wide share = work.map[y * job->width + x] * *(const Wide *)(work.along_x + x * work.wide + from);
            row[0] += share;
            row[1] += at * share;
            row[2] += at * at * share;
        }
        const Wide along = *(const Wide *)(work.along_y + y * work.wide + from);
        const double at = job->top + (double)y;
        total += along * row[0];
        x_sum += along * row[1];
        y_sum += at * along * row[0];
        squares += along * (row[2] + at * at * row[0]);
    }
    const Wide x = x_sum / total, y = y_sum / total, spread = (squares / total - x * x - y * y) / 2.0;
    for (int64_t k = 0; k < WIDE && from + k < job->num_priors; k++) {
        places[2 * (from + k)] = x[k];
        places[2 * (from + k) + 1] = y[k];
        spreads[from + k] = spread[k];
    }
}

int spikebridge_places(const Places *job)
{
    const int64_t wide = (job->num_priors + WIDE - 1) / WIDE * WIDE, sides = job->width + job->height;
    double *memory = calloc((size_t)(job->height * job->width + sides * wide), sizeof(double));
    if (memory == NULL)
        return 1;
    double *along_x = memory + job->height * job->width;
    const Work work = {memory, along_x, along_x + job->width * wide, wide};
    for (int64_t k = 0; k < job->num_priors; k++) {
        write_gaussian(job->middles[2 * k], job->variances[k], job->left, job->width, wide, work.along_x + k);
        write_gaussian(job->middles[2 * k + 1], job->variances[k], job->top, job->height, wide, work.along_y + k);
    }
    for (int64_t odds = 0; odds < job->num_odds; odds++) {
        const int64_t first = odds * job->num_priors;
        give_map(job, job->factors[2 * odds], job->factors[2 * odds + 1], work.map);
        for (int64_t from = 0; from < job->num_priors; from += WIDE)
            give_means(job, work, from, job->places + 2 * first, job->spreads + first);
    }
    free(memory);
    return 0;
}

#endif
