#include <stdlib.h>

#include "template_fits.h"

#if defined(__GNUC__)

#include "planes.h"

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
    const Waves waves = waves_of(size, spectra + 2 * number * pairs);
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
