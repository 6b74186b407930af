/* Transforms of planes of complex numbers: along the columns, a vector of columns at a time; then the plane is
   transposed, and the other axis is transformed in the same way. A size has only the factors 2 and 3.

   Two real maps a and b are transformed as a + i b. The real part of the product of such a pair with the conjugate of
   another one, a' + i b', is the sum of the products of a with a' and of b with b': sums need no separate maps. */
#ifndef SPIKEBRIDGE_PLANES_H
#define SPIKEBRIDGE_PLANES_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "clones.h"

/* Real and imaginary parts: [row][column], a row of whole vectors. */
typedef struct {
    float *re, *im;
} Plane;

/* cos and -sin of all angles of a transform, and the length of a row of a plane. */
typedef struct {
    int64_t size, row;
    float *cosine, *sine;
} Waves;

/* The angles of transforms of a size, in memory for twice as many numbers. */
static inline Waves waves_of(int64_t size, float *memory)
{
    const Waves waves = {size, (size + LANES - 1) / LANES * LANES, memory, memory + size};
    for (int64_t k = 0; k < size; k++) {
        const double angle = 2.0 * 3.14159265358979323846 * (double)k / (double)size;
        waves.cosine[k] = (float)cos(angle), waves.sine[k] = -(float)sin(angle);
    }
    return waves;
}

/* Working memory: planes, and a constant plane for each pair of maps. */
typedef struct {
    float *memory, *pairs;
    Waves waves;
    Plane planes[3];
    int64_t number; /* numbers of a plane */
} Work;

/* Gives 0, or 1 if there is not enough memory; all numbers are 0. */
static inline int allocate(int64_t size, int64_t num_pairs, Work *work)
{
    work->number = size * ((size + LANES - 1) / LANES * LANES);
    const int64_t numbers = (6 + 2 * num_pairs) * work->number;
    work->memory = calloc((size_t)(numbers + 2 * size), sizeof(float));
    if (work->memory == NULL)
        return 1;
    for (int k = 0; k < 3; k++)
        work->planes[k] = (Plane){work->memory + 2 * k * work->number, work->memory + (2 * k + 1) * work->number};
    work->pairs = work->memory + 6 * work->number;
    work->waves = waves_of(size, work->memory + numbers);
    return 0;
}

static inline __attribute__((always_inline)) Block *at(float *numbers, int64_t place)
{
    return (Block *)(numbers + place);
}

/* The transform of 2, 3 or 4 values, in place. */
static inline __attribute__((always_inline)) void transform_few(Block *re, Block *im, const int number)
{
    if (number == 2) {
        const Block x = re[1], y = im[1];
        re[1] = re[0] - x, im[1] = im[0] - y;
        re[0] += x, im[0] += y;
    } else if (number == 3) {
        const float half_of_root = 0.8660254037844386f;
        const Block x = re[1] + re[2], y = im[1] + im[2];
        const Block turned_x = half_of_root * (im[1] - im[2]), turned_y = half_of_root * (re[2] - re[1]);
        const Block middle_x = re[0] - 0.5f * x, middle_y = im[0] - 0.5f * y;
        re[0] += x, im[0] += y;
        re[1] = middle_x + turned_x, im[1] = middle_y + turned_y;
        re[2] = middle_x - turned_x, im[2] = middle_y - turned_y;
    } else {
        const Block even_x = re[0] + re[2], even_y = im[0] + im[2], odd_x = re[1] + re[3], odd_y = im[1] + im[3];
        const Block away_x = re[0] - re[2], away_y = im[0] - im[2], turned_x = im[1] - im[3], turned_y = re[3] - re[1];
        re[0] = even_x + odd_x, im[0] = even_y + odd_y;
        re[1] = away_x + turned_x, im[1] = away_y + turned_y;
        re[2] = even_x - odd_x, im[2] = even_y - odd_y;
        re[3] = away_x - turned_x, im[3] = away_y - turned_y;
    }
}

/* One step of T. Stockham's algorithm: `done` is the product of the factors of the steps before. */
static inline __attribute__((always_inline)) void step(const Waves *waves, int64_t columns, Plane from, Plane to,
                                                       int64_t done, const int factor)
{
    const int64_t groups = waves->size / done / factor, row = waves->row;
    for (int64_t group = 0; group < groups; group++)
        for (int64_t k = 0; k < done; k++)
            for (int64_t column = 0; column < columns; column += LANES) {
                Block re[4], im[4];
                for (int i = 0; i < factor; i++) {
                    const int64_t place = (k + done * (group + groups * i)) * row + column;
                    re[i] = *at(from.re, place), im[i] = *at(from.im, place);
                }
                transform_few(re, im, factor);
                for (int i = 0; i < factor; i++) {
                    const int64_t place = (k + done * (factor * group + i)) * row + column, angle = group * i * done;
                    const float cosine = waves->cosine[angle], sine = waves->sine[angle];
                    *at(to.re, place) = cosine * re[i] - sine * im[i];
                    *at(to.im, place) = cosine * im[i] + sine * re[i];
                }
            }
}

/* Transforms the columns of a plane; `other` is working memory, and the two swap with each step. */
static inline __attribute__((always_inline)) void transform_columns(const Waves *waves, int64_t columns, Plane *plane,
                                                                    Plane *other)
{
    for (int64_t done = 1, left = waves->size; left > 1;) {
        const int64_t factor = left % 4 == 0 ? 4 : left % 3 == 0 ? 3 : 2;
        if (factor == 4)
            step(waves, columns, *plane, *other, done, 4);
        else if (factor == 3)
            step(waves, columns, *plane, *other, done, 3);
        else
            step(waves, columns, *plane, *other, done, 2);
        const Plane kept = *plane;
        *plane = *other, *other = kept;
        done *= factor, left /= factor;
    }
}

/* Transposes a plane of some columns, and fills the rest with zeros. */
static inline __attribute__((always_inline)) void transpose(const Waves *waves, int64_t columns, Plane *plane,
                                                            Plane *other)
{
    const int64_t row = waves->row, size = waves->size;
    for (int part = 0; part < 2; part++) {
        const float *from = part ? plane->im : plane->re;
        float *to = part ? other->im : other->re;
        for (int64_t x = 0; x < columns; x++)
            for (int64_t y = 0; y < size; y++)
                to[x * row + y] = from[y * row + x];
        memset(to + columns * row, 0, (size_t)((size - columns) * row) * sizeof(float));
    }
    const Plane kept = *plane;
    *plane = *other, *other = kept;
}

/* The transform of a plane whose columns behind the first ones are 0: kx along its rows, ky along its columns. */
static inline __attribute__((always_inline)) void transform(const Waves *waves, int64_t columns, Plane *plane,
                                                            Plane *other)
{
    transform_columns(waves, columns, plane, other);
    transpose(waves, columns, plane, other);
    transform_columns(waves, waves->size, plane, other);
}

/* The inverse transform, without the division by the number of places. */
static inline __attribute__((always_inline)) void transform_back(const Waves *waves, Plane *plane, Plane *other)
{
    *plane = (Plane){plane->im, plane->re};
    transform(waves, waves->size, plane, other);
    *plane = (Plane){plane->im, plane->re};
}

/* A map and zeros around it; zeros alone where there is no map. */
static inline __attribute__((always_inline)) void load(const Waves *waves, const float *map, int64_t height,
                                                       int64_t width, int64_t row_step, int64_t column_step, float *to)
{
    memset(to, 0, (size_t)(waves->size * waves->row) * sizeof(float));
    for (int64_t y = 0; map != NULL && y < height; y++)
        for (int64_t x = 0; x < width; x++)
            to[y * waves->row + x] = map[y * row_step + x * column_step];
}

/* sum += one times the conjugate of the other, for whole planes. */
static inline __attribute__((always_inline)) void add_product(int64_t number, Plane one, Plane other, Plane sum)
{
    for (int64_t k = 0; k < number; k += LANES) {
        const Block a = *at(one.re, k), b = *at(one.im, k), c = *at(other.re, k), d = *at(other.im, k);
        *at(sum.re, k) += a * c + b * d;
        *at(sum.im, k) += b * c - a * d;
    }
}

#endif
