/* Maps are loaded transposed, so that frequencies are [ky][kx]. */

#include "ridge_filter.h"

#if defined(__GNUC__)

#include "planes.h"

/* The transform of a pair of maps; the second one may be missing. */
static inline __attribute__((always_inline)) void transform_pair(const Waves *waves, const float *first,
                                                                 const float *second, Plane *plane, Plane *other)
{
    const int64_t size = waves->size;
    load(waves, first, size, size, 1, size, plane->re);
    load(waves, second, size, size, 1, size, plane->im);
    transform(waves, size, plane, other);
}

/* The factor a - i b of a pair of maps, with a and b of the filter, over the power; conjugate, for `add_product`. */
static inline __attribute__((always_inline)) void pair_up(const FilterResponse *job, int64_t row, int64_t channel,
                                                          Plane to)
{
    const int64_t size = job->size, half = size / 2 + 1;
    for (int64_t y = 0; y < size; y++)
        for (int64_t x = 0; x < size; x++) {
            /* only half of the frequencies are stored: the others are conjugates of the opposite ones */
            const int is_mirrored = x >= half;
            const int64_t at = is_mirrored ? (size - y) % size * half + size - x : y * half + x;
            const float power = job->power[at] + job->first_share * (job->first_power[at] - job->power[at]);
            const float gain = 1.0f / (power + job->ridge), sign = is_mirrored ? -1.0f : 1.0f;
            float both[4] = {0.0f};
            for (int64_t c = 0; c < 2 && channel + c < job->channels; c++)
                for (int part = 0; part < 2; part++) {
                    const int64_t k = 2 * ((channel + c) * size * half + at) + part;
                    const float sum = job->numerator[k];
                    both[2 * c + part] = sum + job->first_share * (job->first_numerator[k] - sum);
                }
            to.re[y * row + x] = gain * (both[0] + sign * both[3]);
            to.im[y * row + x] = gain * (both[2] - sign * both[1]);
        }
}

CLONES static void respond(const FilterResponse *job, Work *work)
{
    const int64_t size = job->size, row = work->waves.row, number = work->number, map = size * size;
    for (int64_t c = 0; c < job->channels; c += 2)
        pair_up(job, row, c, (Plane){work->pairs + c * number, work->pairs + (c + 1) * number});
    for (int64_t patch = 0; patch < job->num_patches; patch++) {
        Plane sum = work->planes[0], plane = work->planes[1], other = work->planes[2];
        memset(sum.re, 0, (size_t)number * sizeof(float));
        memset(sum.im, 0, (size_t)number * sizeof(float));
        for (int64_t c = 0; c < job->channels; c += 2) {
            const float *first = job->features + (patch * job->channels + c) * map;
            transform_pair(&work->waves, first, c + 1 < job->channels ? first + map : NULL, &plane, &other);
            add_product(number, plane, (Plane){work->pairs + c * number, work->pairs + (c + 1) * number}, sum);
        }
        transform_back(&work->waves, &sum, &other);
        for (int64_t y = 0; y < size; y++)
            for (int64_t x = 0; x < size; x++)
                job->response[patch * map + y * size + x] = sum.re[x * row + y] / (float)map;
    }
}

/* Writes the conjugate of a transform times the transform of the label, and gives its squared magnitude. */
static inline __attribute__((always_inline)) float write_product(float re, float im, const float *label,
                                                                 float *numerator)
{
    numerator[0] = re * label[0] + im * label[1];
    numerator[1] = re * label[1] - im * label[0];
    return re * re + im * im;
}

CLONES static void add_up(const FilterSums *job, Work *work)
{
    const int64_t size = job->size, half = size / 2 + 1, row = work->waves.row, map = size * size;
    memset(job->power, 0, (size_t)(size * half) * sizeof(float));
    for (int64_t c = 0; c < job->channels; c += 2) {
        const int is_pair = c + 1 < job->channels;
        const float *first = job->features + c * map;
        float *numerator = job->numerator + 2 * c * size * half, unused[2];
        transform_pair(&work->waves, first, is_pair ? first + map : NULL, &work->planes[0], &work->planes[1]);
        const Plane z = work->planes[0];
        for (int64_t y = 0; y < size; y++)
            for (int64_t x = 0; x < half; x++) {
                /* with z at this and c, the conjugate at the opposite frequency: a = (z + c) / 2, b = (z - c) / 2i */
                const int64_t here = y * row + x, there = (size - y) % size * row + (size - x) % size;
                const int64_t at = y * half + x;
                const float a_re = (z.re[here] + z.re[there]) / 2.0f, a_im = (z.im[here] - z.im[there]) / 2.0f;
                const float b_re = (z.im[here] + z.im[there]) / 2.0f, b_im = (z.re[there] - z.re[here]) / 2.0f;
                job->power[at] += write_product(a_re, a_im, job->label + 2 * at, numerator + 2 * at);
                float *second = is_pair ? numerator + 2 * (size * half + at) : unused;
                job->power[at] += write_product(b_re, b_im, job->label + 2 * at, second);
            }
    }
}

int spikebridge_filter_response(const FilterResponse *job)
{
    Work work;
    if (allocate(job->size, (job->channels + 1) / 2, &work) != 0)
        return 1;
    respond(job, &work);
    free(work.memory);
    return 0;
}

int spikebridge_filter_sums(const FilterSums *job)
{
    Work work;
    if (allocate(job->size, 0, &work) != 0)
        return 1;
    add_up(job, &work);
    free(work.memory);
    return 0;
}

#endif
