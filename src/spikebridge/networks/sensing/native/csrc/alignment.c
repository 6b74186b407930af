/* Sums are in double precision: six numbers are solved for from many nearly dependent equations. */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "alignment.h"

#if defined(__GNUC__)

#include "clones.h"

/* added to the typical difference */
static const float FAINT = 0.01f;
/* added to the curvature: without contrast the motion does not change */
static const double STILL = 1e-3;

/* Working memory: for each place the difference, its weight, and its absolute value, which is partly sorted. */
typedef struct {
    float *difference, *weight, *size;
} Residuals;

static inline float nearest(float at, int64_t number)
{
    const float last = (float)(number - 1);
    return !(at > 0.0f) ? 0.0f : at > last ? last : at; /* 0 also for NaN */
}

/* The difference at each place, bilinear, and its weight, which is 0 outside of the frame. */
CLONES static void compare(const Alignment *job, Residuals residuals)
{
    const float *m = job->motion, *x = job->places, *y = x + job->number;
    for (int64_t k = 0; k < job->number; k++) {
        const float to_x = m[0] * x[k] + m[1] * y[k] + m[2], to_y = m[3] * x[k] + m[4] * y[k] + m[5];
        const float at_x = nearest(((to_x + 1.0f) * job->beyond_x * (float)job->width - 1.0f) / 2.0f, job->width);
        const float at_y = nearest(((to_y + 1.0f) * job->beyond_y * (float)job->height - 1.0f) / 2.0f, job->height);
        const int64_t left = (int64_t)at_x, top = (int64_t)at_y;
        const float share_x = at_x - (float)left, share_y = at_y - (float)top;
        const float *above = job->picture + top * job->width;
        const float *below = top + 1 < job->height ? above + job->width : above;
        const int64_t right = left + 1 < job->width ? left + 1 : left;
        const float first = above[left] + share_x * (above[right] - above[left]);
        const float second = below[left] + share_x * (below[right] - below[left]);
        residuals.difference[k] = first + share_y * (second - first) - job->values[k];
        residuals.weight[k] = fabsf(to_x) < 1.0f && fabsf(to_y) < 1.0f ? job->weights[k] : 0.0f;
    }
}

static double misfit(const Alignment *job, Residuals residuals)
{
    double sum = 0.0;
    for (int64_t k = 0; k < job->number; k++) {
        const float size = fabsf(residuals.difference[k]);
        sum += residuals.weight[k] * (size < 1.0f ? size : 1.0f) + (1.0f - residuals.weight[k]);
    }
    return sum / (double)job->number;
}

/* The value of rank `at`, by Hoare's selection, which partly sorts the values. */
static float select_value(float *values, int64_t number, int64_t at)
{
    int64_t first = 0, last = number - 1;
    while (first < last) {
        const float middle = values[(first + last) / 2];
        int64_t i = first, j = last;
        while (i <= j) {
            while (values[i] < middle)
                i++;
            while (middle < values[j])
                j--;
            if (i <= j) {
                const float kept = values[i];
                values[i++] = values[j];
                values[j--] = kept;
            }
        }
        if (at <= j)
            last = j;
        else if (at >= i)
            first = i;
        else
            break;
    }
    return values[at];
}

/* Solves a x = b by elimination, with a symmetric and positive definite; x is written over b. */
static void solve(double a[NUM_OF_MOTION][NUM_OF_MOTION], double *b)
{
    for (int i = 0; i < NUM_OF_MOTION; i++)
        for (int row = i + 1; row < NUM_OF_MOTION; row++) {
            const double factor = a[row][i] / a[i][i];
            for (int column = i; column < NUM_OF_MOTION; column++)
                a[row][column] -= factor * a[i][column];
            b[row] -= factor * b[i];
        }
    for (int i = NUM_OF_MOTION - 1; i >= 0; i--) {
        for (int column = i + 1; column < NUM_OF_MOTION; column++)
            b[i] -= a[i][column] * b[column];
        b[i] /= a[i][i];
    }
}

static void step(const Alignment *job, Residuals residuals)
{
    const int64_t number = job->number;
    for (int64_t k = 0; k < number; k++)
        residuals.size[k] = fabsf(residuals.difference[k]);
    const float typical = 2.0f * select_value(residuals.size, number, number / 2) + FAINT;
    double a[NUM_OF_MOTION][NUM_OF_MOTION] = {{0.0}}, b[NUM_OF_MOTION] = {0.0};
    for (int64_t k = 0; k < number; k++) {
        const double ratio = (double)(residuals.difference[k] / typical);
        const double weight = (double)residuals.weight[k] / (1.0 + ratio * ratio);
        double slopes[NUM_OF_MOTION];
        for (int i = 0; i < NUM_OF_MOTION; i++)
            slopes[i] = (double)job->slopes[i * number + k];
        for (int i = 0; i < NUM_OF_MOTION; i++) {
            for (int j = 0; j <= i; j++)
                a[i][j] += weight * slopes[i] * slopes[j];
            b[i] += weight * slopes[i] * (double)residuals.difference[k];
        }
    }
    for (int i = 0; i < NUM_OF_MOTION; i++) {
        a[i][i] += STILL;
        for (int j = 0; j < i; j++)
            a[j][i] = a[i][j];
    }
    solve(a, b);
    float *m = job->motion;
    for (int row = 0; row < 2; row++) {
        const double p = (double)m[3 * row], q = (double)m[3 * row + 1];
        for (int column = 0; column < 3; column++)
            m[3 * row + column] -= (float)(p * b[column] + q * b[3 + column]);
    }
}

int spikebridge_align(Alignment *job)
{
    float *memory = malloc((size_t)(3 * job->number + 1) * sizeof(float));
    if (memory == NULL)
        return 1;
    const Residuals residuals = {memory, memory + job->number, memory + 2 * job->number};
    compare(job, residuals);
    job->misfit = misfit(job, residuals);
    for (int64_t k = 0; k < job->num_steps; k++) {
        if (k > 0)
            compare(job, residuals);
        step(job, residuals);
    }
    free(memory);
    return 0;
}

#endif
