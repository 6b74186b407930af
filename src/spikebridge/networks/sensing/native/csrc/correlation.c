/* Most of a change of features is 0: the other parts are listed once, and used for several displacements at a time. */

#include <stdlib.h>

#include "correlation.h"

#if defined(__GNUC__)

#include "clones.h"

/* numbers of a vector, and displacements at a time, whose sums stay in registers */
enum { WIDTH = 8, AT_ONCE = 8 };

typedef float Part __attribute__((vector_size(WIDTH * sizeof(float)), aligned(sizeof(float)), may_alias));

/* The offsets of a part that is not all 0, in the picture and in the template. */
typedef struct {
    int64_t picture, template;
} Active;

static inline __attribute__((always_inline)) double total(Part part)
{
    double sum = 0.0;
    for (int k = 0; k < WIDTH; k++)
        sum += (double)part[k];
    return sum;
}

static inline __attribute__((always_inline)) void fit(const float *picture, const float *template, const Active *active,
                                                      int64_t number, int64_t step, double *fits, const int columns)
{
    Part sums[AT_ONCE];
    for (int j = 0; j < columns; j++)
        sums[j] = (Part){0.0f};
    for (int64_t k = 0; k < number; k++) {
        const Part here = *(const Part *)(picture + active[k].picture);
        const float *there = template + active[k].template;
        for (int j = 0; j < columns; j++)
            sums[j] += here * *(const Part *)(there + j * step);
    }
    for (int j = 0; j < columns; j++)
        fits[j] = total(sums[j]);
}

/* Adds the ends of rows, which are shorter than a part. */
static void add_rest(const Correlation *job, int64_t whole)
{
    const int64_t row = job->width * job->channels, template_row = job->template_width * job->channels;
    for (int64_t i = 0; i < job->rows; i++)
        for (int64_t j = 0; j < job->columns; j++)
            for (int64_t y = 0; y < job->height; y++)
                for (int64_t k = whole; k < row; k++)
                    job->fits[i * job->columns + j] += (double)job->picture[y * row + k] *
                        (double)job->template[(y + i) * template_row + k + j * job->channels];
}

static int64_t list_active(const Correlation *job, int64_t whole, Active *active)
{
    const int64_t row = job->width * job->channels, template_row = job->template_width * job->channels;
    int64_t number = 0;
    for (int64_t y = 0; y < job->height; y++)
        for (int64_t from = 0; from < whole; from += WIDTH) {
            const float *part = job->picture + y * row + from;
            int any = 0;
            for (int k = 0; k < WIDTH; k++)
                any |= part[k] != 0.0f;
            active[number] = (Active){y * row + from, y * template_row + from};
            number += any;
        }
    return number;
}

CLONES static void fit_all(const Correlation *job, int64_t whole, Active *active)
{
    const int64_t step = job->channels, template_row = job->template_width * step;
    const int64_t number = list_active(job, whole, active);
    for (int64_t i = 0; i < job->rows; i++) {
        const float *template = job->template + i * template_row;
        double *fits = job->fits + i * job->columns;
        for (int64_t j = 0; j < job->columns; j += AT_ONCE) {
            /* the last block may overlap the one before */
            const int64_t last = job->columns - AT_ONCE, from = j < last ? j : last;
            if (last >= 0)
                fit(job->picture, template + from * step, active, number, step, fits + from, AT_ONCE);
        }
        for (int64_t j = 0; job->columns < AT_ONCE && j < job->columns; j++)
            fit(job->picture, template + j * step, active, number, step, fits + j, 1);
    }
    add_rest(job, whole);
}

int spikebridge_correlate(const Correlation *job)
{
    const int64_t whole = job->width * job->channels / WIDTH * WIDTH;
    Active *active = malloc((size_t)(job->height * whole / WIDTH + 1) * sizeof(Active));
    if (active == NULL)
        return 1;
    fit_all(job, whole, active);
    free(active);
    return 0;
}

#endif
