#include "template_fits.h"

#if defined(__GNUC__)

#include "planes.h"

/* Transforms each pair of channels of the template, and gives its squared norm. */
CLONES static double transform_template(const TemplateFits *job, Work *work)
{
    const int64_t side = job->side, number = work->number;
    double own = 0.0;
    for (int64_t k = 0; k < job->channels * side * side; k++)
        own += (double)job->template[k] * (double)job->template[k];
    for (int64_t channel = 0; channel < job->channels; channel += 2) {
        const float *map = job->template + channel * side * side;
        float *pair = work->pairs + channel * number;
        Plane plane = work->planes[1], other = work->planes[2];
        load(&work->waves, map, side, side, side, 1, plane.re);
        load(&work->waves, channel + 1 < job->channels ? map + side * side : NULL, side, side, side, 1, plane.im);
        transform(&work->waves, side, &plane, &other);
        memcpy(pair, plane.re, (size_t)number * sizeof(float));
        memcpy(pair + number, plane.im, (size_t)number * sizeof(float));
    }
    return own;
}

CLONES static void fit(const TemplateFits *job, const Work *work, int64_t picture, float scale)
{
    const int64_t size = work->waves.size, row = work->waves.row, number = work->number, half = job->side / 2;
    Plane sum = work->planes[0], plane = work->planes[1], other = work->planes[2];
    memset(sum.re, 0, (size_t)number * sizeof(float));
    memset(sum.im, 0, (size_t)number * sizeof(float));
    for (int64_t channel = 0; channel < job->channels; channel += 2) {
        const float *map = job->pictures + picture * job->picture_step + channel * job->channel_step;
        const float *next = channel + 1 < job->channels ? map + job->channel_step : NULL;
        float *pair = work->pairs + channel * number;
        load(&work->waves, map, job->height, job->width, job->row_step, job->column_step, plane.re);
        load(&work->waves, next, job->height, job->width, job->row_step, job->column_step, plane.im);
        transform(&work->waves, job->width, &plane, &other);
        add_product(number, plane, (Plane){pair, pair + number}, sum);
    }
    transform_back(&work->waves, &sum, &other);
    for (int64_t y = 0; y < job->height; y++)
        /* displacements below 0 are at the end of the transform */
        for (int64_t x = 0; x < job->width; x++)
            job->fits[(picture * job->height + y) * job->width + x] =
                scale * sum.re[(y + size - half) % size * row + (x + size - half) % size];
}

int spikebridge_template_fits(const TemplateFits *job)
{
    Work work;
    if (allocate(job->size, (job->channels + 1) / 2, &work) != 0)
        return 1;
    const double own = transform_template(job, &work);
    const float scale = (float)(1.0 / ((own + 1e-6) * (double)(job->size * job->size)));
    for (int64_t k = 0; k < job->num_pictures; k++)
        fit(job, &work, k, scale);
    free(work.memory);
    return 0;
}

#endif
