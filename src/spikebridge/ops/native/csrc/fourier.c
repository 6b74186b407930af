/* A transform runs along the columns of a plane, for as many of them as a vector has numbers; then the plane is turned
   over, and the other axis follows in the same way. Two real maps a and b are transformed as a + i b. Of the product of
   such a pair with the conjugate of another one, a' + i b', the real part is what a with a' and b with b' give, and the
   imaginary part is not read: so pairs are never taken apart. */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fourier.h"

#if defined(__GNUC__)

#include "clones.h"

/* Real and imaginary parts: [row][column], a row of whole vectors. */
typedef struct {
    float *re, *im;
} Plane;

/* cos and -sin of all angles of a transform, and how long a row of a plane is. */
typedef struct {
    int64_t size, row;
    float *cosine, *sine;
} Waves;

static inline __attribute__((always_inline)) Block *at(float *numbers, int64_t place)
{
    return (Block *)(numbers + place);
}

/* The transform of so few values, in place. */
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

/* Along the columns of a plane; `other` is memory to work in, and both change their places with each step. */
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

/* Columns become rows: `columns` of them, and zeros behind. */
static inline __attribute__((always_inline)) void turn_over(const Waves *waves, int64_t columns, Plane *plane,
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

/* Of a plane whose columns behind the first ones are 0: frequencies along x in its rows, those along y in its columns. */
static inline __attribute__((always_inline)) void transform(const Waves *waves, int64_t columns, Plane *plane,
                                                            Plane *other)
{
    transform_columns(waves, columns, plane, other);
    turn_over(waves, columns, plane, other);
    transform_columns(waves, waves->size, plane, other);
}

/* The other way round, without the division by the number of places. */
static inline __attribute__((always_inline)) void transform_back(const Waves *waves, Plane *plane, Plane *other)
{
    *plane = (Plane){plane->im, plane->re};
    transform(waves, waves->size, plane, other);
    *plane = (Plane){plane->im, plane->re};
}

static inline __attribute__((always_inline)) void load(const Waves *waves, const float *map, int64_t height,
                                                       int64_t width, int64_t row_step, int64_t column_step, float *to)
{
    memset(to, 0, (size_t)(waves->size * waves->row) * sizeof(float));
    for (int64_t y = 0; map != NULL && y < height; y++)
        for (int64_t x = 0; x < width; x++)
            to[y * waves->row + x] = map[y * row_step + x * column_step];
}

/* sum += one times the conjugate of the other. */
static inline __attribute__((always_inline)) void add_product(int64_t number, Plane one, Plane other, Plane sum)
{
    for (int64_t k = 0; k < number; k += LANES) {
        const Block a = *at(one.re, k), b = *at(one.im, k), c = *at(other.re, k), d = *at(other.im, k);
        *at(sum.re, k) += a * c + b * d;
        *at(sum.im, k) += b * c - a * d;
    }
}

/* What the template has with itself, and its transform, of each pair of channels. */
CLONES static double transform_template(const TemplateFits *job, const Waves *waves, float *spectra, Plane plane,
                                        Plane other)
{
    const int64_t side = job->side, number = waves->size * waves->row;
    double own = 0.0;
    for (int64_t k = 0; k < job->channels * side * side; k++)
        own += (double)job->template[k] * (double)job->template[k];
    for (int64_t channel = 0; channel < job->channels; channel += 2, spectra += 2 * number) {
        const float *map = job->template + channel * side * side;
        load(waves, map, side, side, side, 1, plane.re);
        load(waves, channel + 1 < job->channels ? map + side * side : NULL, side, side, side, 1, plane.im);
        transform(waves, side, &plane, &other);
        memcpy(spectra, plane.re, (size_t)number * sizeof(float));
        memcpy(spectra + number, plane.im, (size_t)number * sizeof(float));
    }
    return own;
}

/* The fits of a picture; `planes` is memory to work in. */
CLONES static void fit(const TemplateFits *job, const Waves *waves, int64_t picture, float *spectra, float scale,
                       const Plane *planes)
{
    const int64_t size = waves->size, row = waves->row, number = size * row, half = job->side / 2;
    Plane sum = planes[0], plane = planes[1], other = planes[2];
    memset(sum.re, 0, (size_t)number * sizeof(float));
    memset(sum.im, 0, (size_t)number * sizeof(float));
    for (int64_t channel = 0; channel < job->channels; channel += 2, spectra += 2 * number) {
        const float *map = job->pictures + picture * job->picture_step + channel * job->channel_step;
        const float *next = channel + 1 < job->channels ? map + job->channel_step : NULL;
        load(waves, map, job->height, job->width, job->row_step, job->column_step, plane.re);
        load(waves, next, job->height, job->width, job->row_step, job->column_step, plane.im);
        transform(waves, job->width, &plane, &other);
        add_product(number, plane, (Plane){spectra, spectra + number}, sum);
    }
    transform_back(waves, &sum, &other);
    for (int64_t y = 0; y < job->height; y++)
        for (int64_t x = 0; x < job->width; x++) /* what comes before the first place stands at the end */
            job->fits[(picture * job->height + y) * job->width + x] =
                scale * sum.re[(y + size - half) % size * row + (x + size - half) % size];
}

int spikebridge_template_fits(const TemplateFits *job)
{
    const int64_t size = job->size, row = (size + LANES - 1) / LANES * LANES, number = size * row;
    const int64_t pairs = (job->channels + 1) / 2;
    float *memory = malloc((size_t)(2 * number * (pairs + 3) + 2 * size) * sizeof(float));
    if (memory == NULL)
        return 1;
    float *spectra = memory + 6 * number;
    const Waves waves = {size, row, spectra + 2 * number * pairs, spectra + 2 * number * pairs + size};
    for (int64_t k = 0; k < size; k++) {
        const double angle = 2.0 * 3.14159265358979323846 * (double)k / (double)size;
        waves.cosine[k] = (float)cos(angle), waves.sine[k] = -(float)sin(angle);
    }
    Plane planes[3];
    for (int k = 0; k < 3; k++)
        planes[k] = (Plane){memory + 2 * k * number, memory + (2 * k + 1) * number};
    memset(memory, 0, (size_t)(6 * number) * sizeof(float));
    const double own = transform_template(job, &waves, spectra, planes[1], planes[2]);
    const float scale = (float)(1.0 / ((own + 1e-6) * (double)(size * size)));
    for (int64_t k = 0; k < job->num_pictures; k++)
        fit(job, &waves, k, spectra, scale, planes);
    free(memory);
    return 0;
}

#endif
